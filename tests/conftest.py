"""Owns where tests run: a private home for each, the real `inv` as a program, the check that nothing is left behind.

What a test module may count on, without asking for it:

- HOME, XDG_STATE_HOME, XDG_CACHE_HOME, XDG_RUNTIME_DIR and TMPDIR lie in a folder of the test's own with a short name
  (a unix socket's path must stay under 108 bytes); the folder is removed afterwards.
- None of our settings and no CI is inherited from whoever runs the tests.
- A process or a listening socket that outlives its test is an error of that test; the process is ended.

And what it may ask for: `home` (the folders), `inv` (the runner), `real_programs` (the variables by which the suite
finds the real tailscale and headscale), `real_bw` (the real bw), `programs_cache` (where the person who runs the tests
has them), `session_home` (the folders of fixtures that serve many tests). A test that lacks something calls `lacking`.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import pytest

from tasks import console
from tasks.errors import Unavailable
from tasks.programs.pins import pinned
from tasks.programs.provision import ensure

ROOT = Path(__file__).resolve().parent.parent
INV = Path(sys.executable).with_name("inv")
# What somebody who runs the tests may have set for their own use of the suite.
NOT_INHERITED = ("TS_", "TAILNET", "VAULT", "BW_", "BITWARDENCLI_", "INVENTORY", "PROGRAMS_", "PLATFORM_DEBUG", "CI")
# What would send a test's traffic, its colours or its SSH logins another way.
NOT_INHERITED_EITHER = {
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "NO_COLOR",
    "FORCE_COLOR",
    "SSH_AUTH_SOCK",
}
LEAK_GRACE = 15.0  # seconds that a process which is already ending may take; only a failure needs them all


@dataclass(frozen=True)
class Home:
    """The folders of one test; all lie in `folder`."""

    folder: Path
    home: Path
    state: Path
    cache: Path
    runtime: Path
    temporary: Path


@dataclass(frozen=True)
class Ended:
    """How a run of `inv` ended: its exit status (128 + n for a signal) and what it printed, as text."""

    exit_status: int
    stdout: str
    stderr: str


SESSION_HOME = pytest.StashKey[Home]()


class Inv(Protocol):
    """Runs the real `inv` of this virtual environment in the checkout, in the test's own home."""

    def __call__(
        self,
        *words: str,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        folder: Path = ROOT,
        deadline: float = 30.0,
    ) -> Ended:
        """Run `inv WORDS…`; `environment` goes over the test's own; more than `deadline` seconds fails the test."""
        ...


# The real cache, as the suite itself would find it, before the session's home takes HOME's place.
_REAL_SOURCE = os.environ.get("PROGRAMS_SOURCE") or "auto"
_REAL_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "platform-manager"
IN_CI = console.in_ci()


def pytest_configure(config: pytest.Config) -> None:
    """Put a private home in place before any test module is imported: the real one is never written."""
    folder = Path(tempfile.mkdtemp(prefix="pm-", dir="/tmp"))
    config.stash[SESSION_HOME] = make_home(folder)
    for name in [name for name in os.environ if name.startswith(NOT_INHERITED) or name.upper() in NOT_INHERITED_EITHER]:
        del os.environ[name]
    os.environ.update(variables(config.stash[SESSION_HOME]))
    # Where `tmp_path` lies: paths in there are short.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/tmp")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast ones first, those of the real programs last: what is broken shows early."""
    items.sort(key=lambda item: item.get_closest_marker("real") is not None)


@pytest.fixture(scope="session", autouse=True)
def session_home(pytestconfig: pytest.Config) -> Iterator[Home]:
    """Give fixtures that serve many tests their home, and see that nothing of it is alive in the end."""
    own = pytestconfig.stash[SESSION_HOME]
    children = _children()
    yield own
    assert _end_what_is_left(own.folder, children) == [], "a fixture left something behind"


@pytest.fixture(scope="session")
def programs_cache() -> Path:
    """Return where the person who runs the tests has installed the real programs."""
    return _REAL_CACHE


@pytest.fixture(scope="session")
def real_programs() -> dict[str, str]:
    """Return the variables by which a suite started by a test finds the real tailscale and headscale.

    They come as the suite itself gets them, into the cache of whoever runs the tests, so that a build happens once.
    """
    names = ("tailscale", "headscale")
    found = [ensure(pinned(name), source=_REAL_SOURCE, cache=_REAL_CACHE, say=print) for name in names]
    folders = {str(program.executable(program.name).parent) for program in found}
    return {"PATH": os.pathsep.join([*sorted(folders), os.environ["PATH"]]), "PROGRAMS_SOURCE": "path"}


@pytest.fixture(scope="session")
def real_bw() -> Path:
    """Return the bw that the suite itself would run; skip where there is no Node for it."""
    try:
        return ensure(pinned("bw"), source=_REAL_SOURCE, cache=_REAL_CACHE, say=print).executable("bw")
    except Unavailable as failure:
        lacking(f"{failure.what}: {failure.why}")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Give each test a home of its own, and see that nothing of it is alive afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pm-", dir="/tmp"))
    own = make_home(folder)
    for name, value in variables(own).items():
        monkeypatch.setenv(name, value)
    # Asked once, it does not look at TMPDIR again; a lab of whoever runs the tests would be found.
    monkeypatch.setattr(tempfile, "tempdir", str(own.temporary))
    children, sockets = _children(), _listening()
    try:
        yield own
        left = _end_what_is_left(folder, children)
        left += [f"a listening socket: {line}" for line in sorted(_listening() - sockets)]
        assert left == [], "the test left something behind"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def inv() -> Inv:
    """Return the runner of the real `inv`."""
    return run_inv


def lacking(what: str) -> NoReturn:
    """Skip a test for what this machine lacks. In CI, where nothing that matters is skipped, fail it."""
    (pytest.fail if IN_CI else pytest.skip)(what)


def make_home(folder: Path) -> Home:
    """Make the folders of a home."""
    own = Home(folder, *(folder / name for name in ("home", "state", "cache", "run", "tmp")))
    for path in (own.home, own.state, own.cache, own.runtime, own.temporary):
        path.mkdir(mode=0o700)
    return own


def variables(own: Home) -> dict[str, str]:
    """Return the variables that put a program into that home."""
    return {
        "HOME": str(own.home),
        "XDG_STATE_HOME": str(own.state),
        "XDG_CACHE_HOME": str(own.cache),
        "XDG_RUNTIME_DIR": str(own.runtime),
        "TMPDIR": str(own.temporary),
    }


def run_inv(
    *words: str,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    folder: Path = ROOT,
    deadline: float = 30.0,
) -> Ended:
    """Run the real `inv`: what the fixture `inv` gives, for fixtures of more than one test."""
    # COVERAGE_… passes through as part of our environment, so that coverage counts the child (`patch = subprocess`).
    with subprocess.Popen(
        [str(INV), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
        cwd=folder,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    ) as child:
        try:
            stdout, stderr = child.communicate(stdin, timeout=deadline)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            stdout, stderr = child.communicate()
            pytest.fail(f"inv {' '.join(words)} did not end within {deadline:g} s\n{stdout}\n{stderr}")
    status = child.returncode if child.returncode >= 0 else 128 - child.returncode
    return Ended(status, stdout, stderr)


def _end_what_is_left(folder: Path, before: set[int]) -> list[str]:
    """Name and end the processes that live in this test's home, wherever they hang, and our own new children."""
    end = time.monotonic() + LEAK_GRACE
    while (left := _living_in(folder) | (_children() - before)) and time.monotonic() < end:
        time.sleep(0.02)
    named = [f"pid {pid}: {_argv(pid)}" for pid in sorted(left)]
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return named


def _living_in(folder: Path) -> set[int]:
    """Return the processes, detached ones too, that were started with an environment or with words of this home.

    sshd writes its title over its environment.
    """
    marker = str(folder).encode()
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                if any(marker in (entry / name).read_bytes() for name in ("environ", "cmdline")):
                    found.add(int(entry.name))
            except OSError:
                continue  # it is gone, or somebody else's
    return found


def _children() -> set[int]:
    found: set[int] = set()
    for thread in Path("/proc/self/task").iterdir():
        try:
            found.update(int(pid) for pid in (thread / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def _argv(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "gone"
    return b" ".join(words).decode(errors="replace") or "a zombie: nobody waited for it"


def _listening() -> set[str]:
    """Return the listening TCP sockets of this process, as /proc/net/tcp has them (address in hexadecimal)."""
    ours = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            ours.add(descriptor.readlink().name)
        except OSError:
            continue
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for fields in (line.split() for line in Path(table).read_text().splitlines()[1:]):
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours:
                found.add(fields[1])
    return found


def path_without(program: str, folder: Path) -> str:
    """Make a folder of links to every program on PATH but one, and return it as a PATH."""
    folder.mkdir()
    for place in map(Path, os.environ["PATH"].split(os.pathsep)):
        for found in place.iterdir() if place.is_dir() else ():
            with contextlib.suppress(FileExistsError):
                (folder / found.name).symlink_to(found)
    (folder / program).unlink(missing_ok=True)
    return str(folder)
