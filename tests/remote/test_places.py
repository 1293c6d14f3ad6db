"""The talk with a host about its files, copied both ways: a real shell stands for the host."""

import subprocess
from pathlib import Path

import pytest

from tasks.errors import Failure, NotSaved, Refused, Unavailable, UsageFailure
from tasks.remote import fetching, places, sending
from tasks.remote.places import Storage
from tests.remote.copies import ODD, Shell, content, ignore


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
