"""Private files: their modes, whole under kill -9, and a lock that one process holds at a time."""

import os
import random
import select
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tasks import files
from tasks.errors import Busy, ConfigurationFailure, NotSaved
from tests.conftest import ROOT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
not_root = pytest.mark.skipif(os.geteuid() == 0, reason="no mode keeps root out")
SOMEBODY = 12345  # a user id that is not ours


def mode(path: Path) -> str:
    """Return the permission bits as chmod takes them."""
    return oct(stat.S_IMODE(path.lstat().st_mode))


@contextmanager
def python(code: str, *arguments: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Python code, with `files` imported, in a process of its own that does not survive the block."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys, os\nfrom pathlib import Path\nfrom tasks import files\n{code}"]
        + [str(argument) for argument in arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def first_line(child: "subprocess.Popen[bytes]") -> bytes:
    """Wait for the child's first line."""
    assert child.stdout is not None
    return child.stdout.readline()


def test_a_private_folder_is_ours_alone_and_so_are_the_parents_it_made(tmp_path: Path) -> None:
    """0700 each, whatever the umask; a folder that was there before keeps its mode."""
    tmp_path.chmod(0o755)
    saved = os.umask(0)
    try:
        made = files.private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(saved)

    assert made == tmp_path / "a" / "b" / "c"
    assert [mode(tmp_path / name) for name in ("", "a", "a/b", "a/b/c")] == ["0o755", "0o700", "0o700", "0o700"]


@pytest.mark.parametrize("wide", [0o755, 0o770, 0o701, 0o777])
def test_a_wider_folder_is_tightened(tmp_path: Path, wide: int) -> None:
    """Ours with a wider mode becomes 0700."""
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(wide)
    files.private_folder(folder)

    assert mode(folder) == "0o700"


@needs_root
def test_somebody_elses_folder_is_refused(tmp_path: Path) -> None:
    """Its owner could read whatever we put there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigurationFailure) as caught:
        files.private_folder(folder)

    assert str(caught.value) == f"{folder} belongs to user {SOMEBODY}, not to us (0)"


@needs_root
def test_a_parent_that_somebody_planted_in_a_shared_folder_is_refused(tmp_path: Path) -> None:
    """In /tmp anybody may make our folder's parent before us, and swap our folder later."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    planted = shared / "platform-manager-0"
    planted.mkdir()
    os.chown(planted, SOMEBODY, SOMEBODY)
    with pytest.raises(ConfigurationFailure) as caught:
        files.private_folder(planted / "boot" / "default")

    assert str(caught.value) == f"{planted} belongs to user {SOMEBODY}, not to us (0)"


def test_a_symlink_is_not_taken_for_a_private_folder(tmp_path: Path) -> None:
    """Whoever made the link chooses where it leads."""
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationFailure) as caught:
        files.private_folder(link)

    assert str(caught.value) == f"{link} is not a folder\n  next: move it away: mv {link} {link}.old"


def test_a_file_where_the_folder_should_be_is_a_configuration_failure(tmp_path: Path) -> None:
    """In the kernel's own words."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationFailure) as caught:
        files.private_folder(tmp_path / "file" / "folder")

    assert str(caught.value) == f"cannot use the folder {tmp_path / 'file' / 'folder'}: not a directory"


@not_root
def test_a_folder_that_cannot_be_made_is_a_configuration_failure(tmp_path: Path) -> None:
    """In the kernel's own words."""
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigurationFailure) as caught:
        files.private_folder(tmp_path / "folder")

    assert str(caught.value) == f"cannot use the folder {tmp_path / 'folder'}: permission denied"


def test_a_private_file_is_0600_whatever_was_there_and_whatever_the_umask(tmp_path: Path) -> None:
    """A wider mode of the old file does not live on."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o666)
    saved = os.umask(0)
    try:
        files.write_private(path, b"new")
    finally:
        os.umask(saved)

    assert (path.read_bytes(), mode(path)) == (b"new", "0o600")
    assert list(tmp_path.iterdir()) == [path]


def test_a_symlink_is_replaced_not_followed(tmp_path: Path) -> None:
    """What it pointed at stays as it was."""
    target = tmp_path / "target"
    target.write_bytes(b"not ours")
    path = tmp_path / "file"
    path.symlink_to(target)
    files.write_private(path, b"new")

    assert (path.is_symlink(), path.read_bytes(), target.read_bytes()) == (False, b"new", b"not ours")


def test_a_file_that_cannot_be_written_is_not_saved_and_nothing_is_left(tmp_path: Path) -> None:
    """Here a folder has the file's name; a full disk ends the same way."""
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(NotSaved) as caught:
        files.write_private(path, b"new")

    assert str(caught.value) == f"cannot write {path}: is a directory"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    """A file size limit stands for it: the write stops in the middle."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    code = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    files.write_private(Path(sys.argv[1]), b"n" * 5000)
except Exception as error:
    print(type(error).__name__, error)
"""
    with python(code, path) as child:
        assert first_line(child).decode() == f"NotSaved cannot write {path}: file too large\n"

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_swept_when_it_is_old(tmp_path: Path) -> None:
    """A young one may belong to a writer at work."""
    path = tmp_path / "file"
    old, young, another = (tmp_path / name for name in (".file.old", ".file.young", ".other.old"))
    for leftover in (old, young, another):
        leftover.touch()
    ago = time.time() - files.LEFTOVER_AGE - 60
    os.utime(old, (ago, ago))
    os.utime(another, (ago, ago))
    files.write_private(path, b"new")

    assert sorted(tmp_path.iterdir()) == sorted([path, young, another])


def test_a_file_is_whole_at_whatever_moment_its_writer_is_killed(tmp_path: Path) -> None:
    """The old content or the new one, never a part: kill -9 at random moments."""
    path = tmp_path / "file"
    contents = {letter * 300_000 for letter in (b"a", b"b")}
    files.write_private(path, b"a" * 300_000)
    code = """
print("ready", flush=True)
while True:
    for letter in (b"a", b"b"):
        files.write_private(Path(sys.argv[1]), letter * 300_000)
"""
    for _ in range(20):
        with python(code, path) as child:
            first_line(child)
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(timeout=random.uniform(0.0, 0.03))
            child.kill()
        assert path.read_bytes() in contents


def test_a_log_under_its_limit_is_left_alone(tmp_path: Path) -> None:
    """One that is not there, too."""
    log = tmp_path / "log"
    files.cap_log(log, 10)
    log.write_bytes(b"0123456789")
    files.cap_log(log, 10)

    assert log.read_bytes() == b"0123456789"
    assert list(tmp_path.iterdir()) == [log]


def test_a_log_over_its_limit_moves_its_end_aside_and_starts_again(tmp_path: Path) -> None:
    """The program that appends to it goes on writing at the start: no hole of zeros."""
    log = tmp_path / "log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"0123456789abc")
        files.cap_log(log, 10)
        writer.write(b"more")

    assert log.read_bytes() == b"more"
    assert (tmp_path / "log.old").read_bytes() == b"3456789abc"
    assert mode(tmp_path / "log.old") == "0o600"


HOLD = """
with files.lock(Path(sys.argv[1]), deadline=10):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_busy_lock_names_who_holds_it(tmp_path: Path) -> None:
    """By pid, as the kernel has it; the wait ends at its deadline."""
    path = tmp_path / "lock"
    with python(HOLD, path) as child:
        first_line(child)
        started = time.monotonic()
        with pytest.raises(Busy) as caught, files.lock(path, deadline=0.2):
            pass

        assert 0.2 <= time.monotonic() - started < 20
        assert str(caught.value) == (
            f"another command holds {path} (pid {child.pid})\n  next: wait for it, or end it, then run this again"
        )


def test_a_lock_is_free_when_its_holder_was_killed(tmp_path: Path) -> None:
    """The kernel frees it; the file that stays behind means nothing."""
    path = tmp_path / "lock"
    with python(HOLD, path) as child:
        first_line(child)
        child.kill()
    with files.lock(path, deadline=0):
        assert mode(path) == "0o600"


def test_a_lock_is_free_after_a_failure_inside(tmp_path: Path) -> None:
    """However the block ends."""
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), files.lock(path, deadline=0):
        raise ZeroDivisionError
    with files.lock(path, deadline=0):
        pass

    assert path.exists()


def test_a_waiter_gets_the_lock_as_soon_as_it_is_free(tmp_path: Path) -> None:
    """Within its deadline, and without being told."""
    path = tmp_path / "lock"
    with ExitStack() as holding:
        holding.enter_context(files.lock(path, deadline=0))
        with python(HOLD, path) as waiter:
            assert waiter.stdout is not None
            assert select.select([waiter.stdout], [], [], 0.3) == ([], [], [])
            holding.close()
            assert first_line(waiter) == b"held\n"


def test_a_lock_behind_a_symlink_is_a_configuration_failure(tmp_path: Path) -> None:
    """In the kernel's own words: whoever made the link chooses what would be locked."""
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationFailure) as caught, files.lock(path, deadline=0):
        pass

    assert str(caught.value) == f"cannot lock {path}: too many levels of symbolic links"


def test_twenty_processes_never_hold_the_lock_together(tmp_path: Path) -> None:
    """Each makes a file that must not be there yet while it holds the lock, and takes it away again, five times."""
    code = """
inside = Path(sys.argv[1]) / "inside"
for _ in range(5):
    with files.lock(Path(sys.argv[1]) / "lock", deadline=30):
        os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
        os.sched_yield()
        inside.unlink()
print("never two", flush=True)
"""
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import sys, os\nfrom pathlib import Path\nfrom tasks import files\n{code}",
                tmp_path,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
        )
        for _ in range(20)
    ]
    said = [child.communicate(timeout=30)[0] for child in children]

    assert said == [b"never two\n"] * 20
