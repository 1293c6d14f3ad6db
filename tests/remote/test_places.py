"""Files on a host, copied both ways: a real shell stands for the host."""

import io
import os
import stat
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tasks.errors import Failure, NotSaved, Refused, Unavailable, UsageFailure
from tasks.remote import fetching, places, sending
from tasks.remote.feeding import Feed
from tasks.remote.following import Ended
from tasks.remote.output import Sink
from tasks.remote.places import Copied, Storage

ODD = ["plain", "a b", "-dash", "new\nline", "back\\slash", "$(id)", "é", "\udcff"]


@dataclass
class Shell:
    """A host whose commands run here, in a folder. `tamper` changes what a command reads, or what it says."""

    folder: Path
    commands: list[str] = field(default_factory=list)
    fed: int = 0
    tamper_in: Callable[[bytes], bytes] = bytes
    tamper_out: Callable[[bytes], bytes] = bytes

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run a shell line."""
        self.commands.append(command)
        read = bytearray()
        if feed:
            feed(read.extend)
        self.fed += len(read)
        ended = subprocess.run(
            ["sh", "-c", command], input=self.tamper_in(bytes(read)), capture_output=True, cwd=self.folder, check=False
        )
        out(self.tamper_out(ended.stdout))
        err(ended.stderr)
        return Ended(ended.returncode)


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return the host, whose login starts in an empty folder."""
    (tmp_path / "there").mkdir()
    return Shell(tmp_path / "there")


@pytest.fixture
def storage(shell: Shell) -> Storage:
    """Return its files."""
    return Storage(shell, "web")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with files of odd names, a folder in it, an empty one and a link."""
    folder = tmp_path / "here"
    (folder / "sub" / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD):
        (folder / name).write_bytes(os.urandom(1000 * number))
        (folder / "sub" / name).write_text(name.encode("ascii", "replace").decode())
    (folder / "plain").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def ignore(_: int) -> None:
    """Hear no progress."""


def content(folder: Path) -> dict[str, bytes | None]:
    """Return every file of a folder with its bytes, and every folder."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def test_a_file_goes_there_once(storage: Storage, shell: Shell, here: Path) -> None:
    heard: list[int] = []
    first = sending.send(storage, here / "é", "new name", heard.append)
    again = sending.send(storage, here / "é", "new name", heard.append)

    assert (first, again) == (Copied("new name", 1, 6000, 0), Copied("new name", 0, 0, 1))
    assert content(shell.folder) == {"new name": (here / "é").read_bytes()}
    assert sum(heard) == 6000


@pytest.mark.parametrize("target", ["folder", "folder/", "./folder", "~/folder"])
def test_a_file_goes_into_a_folder(storage: Storage, shell: Shell, here: Path, target: str) -> None:
    (shell.folder / "folder").mkdir()
    sending.send(storage, here / "plain", target, ignore)

    assert list(content(shell.folder)) == ["folder", "folder/plain"]
    assert stat.S_IMODE((shell.folder / "folder" / "plain").stat().st_mode) == 0o755


def test_a_changed_mode_is_a_change(storage: Storage, shell: Shell, here: Path) -> None:
    sending.send(storage, here / "plain", "x", ignore)
    (here / "plain").chmod(0o644)

    assert sending.send(storage, here / "plain", "x", ignore).files == 1
    assert stat.S_IMODE((shell.folder / "x").stat().st_mode) == 0o644


def test_a_folder_goes_there_and_afterwards_only_what_changed(storage: Storage, shell: Shell, here: Path) -> None:
    first = sending.send(storage, here, "copy", ignore)
    fed = shell.fed
    again = sending.send(storage, here, "copy", ignore)
    unfed = shell.fed - fed
    (here / "sub" / "plain").write_text("other")
    (here / "sub" / "more").mkdir()
    third = sending.send(storage, here, "copy", ignore)

    assert (first.files, first.unchanged, first.left_out) == (2 * len(ODD), 0, ("link",))
    assert (again.files, again.unchanged, unfed) == (0, 2 * len(ODD), 0)
    assert (third.files, third.size, third.unchanged) == (1, 5, 2 * len(ODD) - 1)
    assert content(shell.folder / "copy") == content(here)
    assert list(shell.folder.iterdir()) == [shell.folder / "copy"]


def test_a_folder_comes_here_and_afterwards_only_what_changed(storage: Storage, here: Path, tmp_path: Path) -> None:
    target = tmp_path / "got"
    first = fetching.fetch(storage, str(here), target, ignore)
    again = fetching.fetch(storage, str(here), target, ignore)
    (here / "sub" / "plain").write_text("other")
    third = fetching.fetch(storage, str(here), target, ignore)

    assert (first.files, first.unchanged, first.left_out) == (2 * len(ODD), 0, ("link",))
    assert (again.files, again.unchanged) == (0, 2 * len(ODD))
    assert (third.files, third.size, third.unchanged) == (1, 5, 2 * len(ODD) - 1)
    assert content(target) == content(here)
    assert os.access(target / "plain", os.X_OK)


def test_many_names_come_as_all_of_the_folder(storage: Storage, here: Path, tmp_path: Path) -> None:
    """The shell's one word would be too long for their names."""
    for number in range(2000):
        (here / f"{number:040}").touch()
    copied = fetching.fetch(storage, str(here), tmp_path / "got", ignore)

    assert copied.files == 2000 + 2 * len(ODD)
    assert content(tmp_path / "got") == content(here)


@pytest.mark.parametrize("folder", [False, True])
def test_a_file_comes_here_once(storage: Storage, here: Path, tmp_path: Path, folder: bool) -> None:
    target = tmp_path / "got"
    if folder:
        target.mkdir()
    path = target / "plain" if folder else target
    (here / "plain").write_text("text")

    assert fetching.fetch(storage, str(here / "plain"), target, ignore) == Copied(str(path), 1, 4, 0)
    assert fetching.fetch(storage, str(here / "plain"), target, ignore) == Copied(str(path), 0, 0, 1)
    assert (path.read_text(), os.access(path, os.X_OK)) == ("text", True)


def test_what_arrives_damaged_is_not_put_in_place(storage: Storage, shell: Shell, here: Path, tmp_path: Path) -> None:
    shell.tamper_in = lambda data: data[:-1] + b"x" if data else data
    with pytest.raises(Failure) as failure:
        sending.send(storage, here / "é", "x", ignore)
    assert str(failure.value) == "x on web arrived damaged: its SHA-256 is another one"
    assert content(shell.folder) == {}

    shell.tamper_out = lambda data: data.replace(b"t", b"x") if data == b"text" else data
    (here / "plain").write_text("text")
    with pytest.raises(Failure) as failure:
        fetching.fetch(storage, str(here / "plain"), tmp_path / "got", ignore)
    assert str(failure.value) == f"{here}/plain on web arrived damaged: its SHA-256 is another one"
    assert not (tmp_path / "got").exists()


def test_a_connection_cut_in_a_folder_leaves_nothing(storage: Storage, shell: Shell, here: Path) -> None:
    shell.tamper_in = lambda data: data[: len(data) // 2]
    with pytest.raises(Failure):
        sending.send(storage, here, "copy", ignore)

    assert list(shell.folder.iterdir()) == []


def test_a_missing_folder_is_named_with_the_host(storage: Storage, here: Path, tmp_path: Path) -> None:
    for source in (here, here / "plain"):
        with pytest.raises(Unavailable) as failure:
            sending.send(storage, source, "/no/where", ignore)
        assert str(failure.value) == "cannot copy /no/where on web: its folder is not there"

    with pytest.raises(Unavailable) as failure:
        fetching.fetch(storage, "/no/where", tmp_path, ignore)
    assert str(failure.value) == "cannot copy /no/where from web: there is no plain file or folder there"
    with pytest.raises(NotSaved) as unsaved:
        fetching.fetch(storage, str(here / "plain"), tmp_path / "no" / "where", ignore)
    assert str(unsaved.value) == f"cannot write {tmp_path}/no/where: no such file or directory"
    with pytest.raises(UsageFailure):
        sending.send(storage, here / "nothing", "x", ignore)


def test_a_full_disk_there_is_told_as_one(storage: Storage, here: Path) -> None:
    """As cat says it: /dev/full is a file there that cannot be written."""
    failure = storage.failure("/x", "cat: write error: No space left on device")

    assert (type(failure), failure.cause) == (NotSaved, "disk-full")
    assert str(failure) == "cannot copy /x on web: cat: write error: No space left on device"
    assert isinstance(storage.failure("/x", "sh: 1: cannot create /x: Permission denied"), Refused)


def test_what_is_no_file_there_is_left_alone(storage: Storage, shell: Shell, here: Path) -> None:
    os.mkfifo(shell.folder / "pipe")
    (shell.folder / "file").touch()
    for source, target in ((here / "plain", "pipe"), (here, "file"), (here, "pipe")):
        with pytest.raises(Unavailable):
            sending.send(storage, source, target, ignore)

    assert sorted(path.name for path in shell.folder.iterdir()) == ["file", "pipe"]


def archive(*entries: tuple[str, bytes, bytes]) -> bytes:
    """Return an archive as a hostile host would send it: names, types and contents."""
    stream = io.BytesIO()
    with tarfile.open(mode="w", fileobj=stream) as packing:
        for name, kind, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), "/etc/passwd"
            packing.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


SUM = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "./../x", "a//b", ".", "a/."])
def test_a_listed_name_that_leaves_the_target_is_refused(
    storage: Storage, shell: Shell, tmp_path: Path, name: str
) -> None:
    shell.tamper_out = lambda _: f"/x\nfolder\n{SUM}  {name}\n\0.\0\0".encode()
    with pytest.raises(Refused) as failure:
        fetching.fetch(storage, "/x", tmp_path / "target" / "got", ignore)

    assert str(failure.value) == (
        f"web names a file {name.removeprefix('./')!r}: it would lie outside of the target folder"
    )
    assert content(tmp_path) == {"there": None}


@pytest.mark.parametrize(
    "sent",
    [
        [("../x", tarfile.REGTYPE, b"foo"), ("a", tarfile.REGTYPE, b"foo")],
        [("/tmp/x", tarfile.REGTYPE, b"foo")],
        [("a", tarfile.SYMTYPE, b"")],
        [("a", tarfile.LNKTYPE, b"")],
        [("a", tarfile.REGTYPE, b"fop")],
        [("b", tarfile.REGTYPE, b"foo")],
        [],
    ],
)
def test_an_archive_that_holds_something_else_than_was_listed_puts_nothing_in_place(
    storage: Storage, shell: Shell, tmp_path: Path, sent: list[tuple[str, bytes, bytes]]
) -> None:
    (shell.folder / "a").touch()
    answers = iter([f".\nfolder\n{SUM}  ./a\n\0.\0\0".encode(), archive(*sent)])
    shell.tamper_out = lambda _: next(answers)
    with pytest.raises(Failure):
        fetching.fetch(storage, ".", tmp_path / "got", ignore)

    assert content(tmp_path) == {"there": None, "there/a": b"", "got": None}


def test_noise_instead_of_an_archive_is_an_error(storage: Storage, shell: Shell, tmp_path: Path) -> None:
    (shell.folder / "a").touch()
    answers = iter([f".\nfolder\n{SUM}  ./a\n\0.\0\0".encode(), b"noise" * 100_000])
    shell.tamper_out = lambda _: next(answers)
    with pytest.raises(Unavailable, match="it sent no archive"):
        fetching.fetch(storage, ".", tmp_path / "got", ignore)


def test_a_link_here_leads_no_name_out_of_the_target(storage: Storage, here: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "got").mkdir()
    (tmp_path / "got" / "sub").symlink_to(outside)
    with pytest.raises(Refused, match="a link here leads it out of the target folder"):
        fetching.fetch(storage, str(here), tmp_path / "got", ignore)

    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["", "a\nb", "a\0b"])
def test_a_path_that_cannot_be_spoken_of_is_refused(storage: Storage, path: str) -> None:
    with pytest.raises(UsageFailure):
        storage.describe(path)


def test_sums_are_what_sha256sum_reads_and_writes(here: Path) -> None:
    """Names with a backslash or a line end are escaped."""
    sums = {name: places.digest_of(here / name) for name in ODD}
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet"], input=places.sums_text(sums), capture_output=True, cwd=here, check=False
    )

    assert (checked.returncode, checked.stdout) == (0, b"")
