"""Owns private files: folders of 0700, atomic and fsynced writes of 0600, the lock between processes.

The only file that knows filelock.
"""

import errno
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.errors import Busy, ConfigurationFailure, NotSaved, reason

LEFTOVER_AGE = 3600.0  # seconds after which a temporary file of a killed writer is swept away


def private_folder(path: Path) -> Path:
    """Make the folder, and the parents it lacks, for their owner alone; refuse one that is or lies in somebody else's.

    A folder of ours with a wider mode is tightened.
    """
    try:
        for folder in reversed([folder for folder in (path, *path.parents) if not folder.exists()]):
            folder.mkdir(mode=0o700, exist_ok=True)
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise ConfigurationFailure(f"{path} is not a folder", next_step=f"move it away: mv {path} {path}.old")
        _refuse_strangers(path)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise ConfigurationFailure(f"cannot use the folder {path}", why=reason(error)) from None
    return path


def _refuse_strangers(path: Path) -> None:
    # In a folder like /tmp anybody may have made a parent of ours before us, and could swap ours for another later.
    shared = [folder for folder in path.parents if folder.parent.stat().st_mode & stat.S_IWOTH]
    for folder, owners in [(path, {os.geteuid()}), *((folder, {0, os.geteuid()}) for folder in shared)]:
        owner = folder.lstat().st_uid
        if owner not in owners:
            raise ConfigurationFailure(f"{folder} belongs to user {owner}, not to us ({os.geteuid()})")


def write_private(path: Path, content: bytes) -> None:
    """Replace the file in one step: the old content or the new one is there at any moment, and it is on the disk."""
    try:
        _sweep(path)
        _replace(path, content)
        _sync_folder(path.parent)
    except OSError as error:
        raise NotSaved(f"cannot write {path}", why=reason(error)) from None


def _replace(path: Path, content: bytes) -> None:
    import tempfile  # brings random and bz2 along, which `inv --list` can do without

    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sweep(path: Path) -> None:
    for leftover in path.parent.glob(f".{path.name}.*"):
        try:
            if time.time() - leftover.stat().st_mtime > LEFTOVER_AGE:
                leftover.unlink()
        except FileNotFoundError:
            continue


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cap_log(path: Path, limit: int) -> None:
    """Keep a log that another program appends to under `limit` bytes: what is above moves to `<name>.old`.

    The writer has it open with O_APPEND, so truncating it leaves no hole.
    """
    try:
        if path.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    with path.open("rb+") as log:
        # Another command may cut it at this moment; what is short already needs no second cut.
        size = log.seek(0, os.SEEK_END)
        if size > limit:
            log.seek(size - limit)
            write_private(path.with_name(f"{path.name}.old"), log.read(limit))
            log.truncate(0)


@contextmanager
def lock(path: Path, *, deadline: float) -> Iterator[None]:
    """Hold the lock file, or fail after `deadline` seconds with the pid of who holds it.

    flock: the kernel frees it when its holder dies, however that happens. The file itself is never removed.
    """
    from filelock import FileLock, Timeout

    guard = FileLock(path, timeout=deadline, mode=0o600)
    try:
        guard.acquire(poll_interval=0.02)
    except Timeout:
        raise Busy(
            f"another command holds {path} (pid {_holder(path)})",
            next_step="wait for it, or end it, then run this again",
        ) from None
    except OSError as error:
        why = "the file system has no locks" if error.errno == errno.ENOLCK else reason(error)
        raise ConfigurationFailure(f"cannot lock {path}", why=why) from None
    try:
        yield
    finally:
        guard.release()


def _holder(path: Path) -> str:
    # /proc/locks: "1: FLOCK  ADVISORY  WRITE 4242 fd:00:131 0 EOF"
    inode = str(path.stat().st_ino)
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return "unknown"
    for fields in (line.split() for line in lines):
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
            return fields[4]
    return "unknown"
