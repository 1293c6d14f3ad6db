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
    assert (again.files, again.unchanged, unfed) == (0, 2 * len(ODD), 0)
    assert (third.files, third.size, third.unchanged) == (1, 5, 2 * len(ODD) - 1)
    assert content(shell.folder / "copy") == content(here)
    assert list(shell.folder.iterdir()) == [shell.folder / "copy"]


def test_a_connection_cut_in_a_folder_leaves_nothing(storage: Storage, shell: Shell, here: Path) -> None:
    shell.tamper_in = lambda data: data[: len(data) // 2]
    with pytest.raises(Failure):
        sending.send(storage, here, "copy", ignore)

    assert list(shell.folder.iterdir()) == []


def test_what_is_no_file_there_is_left_alone(storage: Storage, shell: Shell, here: Path) -> None:
    os.mkfifo(shell.folder / "pipe")
    (shell.folder / "file").touch()
    for source, target in ((here / "plain", "pipe"), (here, "file"), (here, "pipe")):
        with pytest.raises(Unavailable):
            sending.send(storage, source, target, ignore)

    assert sorted(path.name for path in shell.folder.iterdir()) == ["file", "pipe"]
