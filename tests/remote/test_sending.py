"""Files and folders that go to a host."""

import os
import stat
from pathlib import Path

import pytest

from tasks.errors import Failure, Unavailable
from tasks.remote import sending
from tasks.remote.places import Copied, Storage
from tests.remote.copies import ODD, Shell, content, ignore


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
    # Their names alone were asked about.
    assert (again.files, again.unchanged, unfed < fed / 100) == (0, 2 * len(ODD), True)
    assert (third.files, third.size, third.unchanged) == (1, 5, 2 * len(ODD) - 1)
    assert content(shell.folder / "copy") == content(here)
    assert list(shell.folder.iterdir()) == [shell.folder / "copy"]


def test_a_connection_cut_in_a_folder_leaves_nothing(storage: Storage, shell: Shell, here: Path) -> None:
    shell.tamper_in = lambda data: data[: len(data) // 2]
    with pytest.raises(Failure):
        sending.send(storage, here, "copy", ignore)

    assert list(shell.folder.iterdir()) == []


def test_nothing_else_in_a_folder_there_is_read(storage: Storage, shell: Shell, here: Path) -> None:
    """A terabyte would take an hour."""
    (shell.folder / "copy").mkdir()
    with (shell.folder / "copy" / "large").open("wb") as large:
        large.truncate(1 << 40)
    sending.send(storage, here, "copy", ignore)

    assert (shell.folder / "copy" / "plain").is_file()


def test_a_folder_that_is_there_is_all_that_must_be_writable(storage: Storage, shell: Shell, here: Path) -> None:
    """The folder around it may be somebody else's, so the temporary one lies in it."""
    (shell.folder / "copy").mkdir()
    sending.send(storage, here, "copy", ignore)

    assert " sh copy/." in shell.commands[-1]
    assert content(shell.folder / "copy") == content(here)


def test_a_folder_that_its_owner_may_not_write_can_be_written_there(storage: Storage, shell: Shell, here: Path) -> None:
    """Else nothing could be put into it, nor the temporary one be removed."""
    (here / "sub").chmod(0o555)
    sending.send(storage, here, "copy", ignore)
    (here / "sub").chmod(0o755)

    assert stat.S_IMODE((shell.folder / "copy" / "sub").stat().st_mode) == 0o755


def test_a_changed_mode_in_a_folder_is_a_change(storage: Storage, shell: Shell, here: Path) -> None:
    sending.send(storage, here, "copy", ignore)
    (here / "sub" / "a b").chmod(0o755)

    assert sending.send(storage, here, "copy", ignore).files == 1
    assert os.access(shell.folder / "copy" / "sub" / "a b", os.X_OK)


def test_a_folder_where_a_file_shall_be_is_refused(storage: Storage, shell: Shell, here: Path) -> None:
    """And a file where a folder shall be; nothing is copied."""
    (shell.folder / "copy" / "plain").mkdir(parents=True)
    with pytest.raises(Unavailable, match="copy/plain on web: a folder is there, where a file shall be"):
        sending.send(storage, here, "copy", ignore)
    (shell.folder / "copy" / "plain").rmdir()
    (shell.folder / "copy" / "sub").touch()
    with pytest.raises(Unavailable, match="copy/sub on web: a file is there, where a folder shall be"):
        sending.send(storage, here, "copy", ignore)

    assert content(shell.folder / "copy") == {"sub": b""}


def test_what_is_no_file_there_is_left_alone(storage: Storage, shell: Shell, here: Path) -> None:
    os.mkfifo(shell.folder / "pipe")
    (shell.folder / "file").touch()
    for source, target in ((here / "plain", "pipe"), (here, "file"), (here, "pipe")):
        with pytest.raises(Unavailable):
            sending.send(storage, source, target, ignore)

    assert sorted(path.name for path in shell.folder.iterdir()) == ["file", "pipe"]
