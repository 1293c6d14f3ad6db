"""Owns Python environments beside our own, for tools that must not share ours: each made from its lock at first use.

The lock has a hash for every file and no address; a changed lock makes the environment anew.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tasks import files, process
from tasks.errors import Unavailable

STAMP = "lock.sha256"
DEADLINE = 900.0  # seconds; Ansible alone is fifty megabytes
LOCK_DEADLINE = DEADLINE
UV = {"UV_SYSTEM_CERTS": "1", "UV_PYTHON_DOWNLOADS": "never"}  # as `inv` has it: the machine's own


def ensure(lock: Path, *, cache: Path, say: Callable[[str], None]) -> Path:
    """Return the folder of the programs that the lock names, installed first where they are not."""
    folder = files.private_folder(cache) / "environments" / lock.stem.removeprefix("requirements-")
    files.private_folder(folder.parent)
    wanted = f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.version_info[:2]}"
    with files.lock(folder.with_name(f"{folder.name}.lock"), deadline=LOCK_DEADLINE):
        if _stamp(folder) != wanted:
            say(f"installing {lock.name} into an environment of its own, once")
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, lock)
            (folder / STAMP).write_text(wanted)
    return folder / "bin"


def _make(folder: Path, lock: Path) -> None:
    python = str(folder / "bin" / "python")
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv:
        _run(uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder))
        _run(uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", str(lock))
    else:
        _run(sys.executable, "-m", "venv", str(folder))
        _run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock))


def _run(*argv: str) -> None:
    # All of our environment: it says where the packages come from.
    ended = process.run(*argv, deadline=DEADLINE, environment={**os.environ, **UV})
    if ended.exit_status != 0:
        raise Unavailable(
            "the packages cannot be installed", why=ended.complaint, next_step="look at your pip settings"
        )


def _stamp(folder: Path) -> str:
    try:
        return (folder / STAMP).read_text()
    except FileNotFoundError:
        return ""
