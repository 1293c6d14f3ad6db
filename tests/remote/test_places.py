"""The talk with a host about its files, copied both ways: a real shell stands for the host."""

from pathlib import Path

import pytest

from tasks.errors import NotSaved, Refused, Unavailable, UsageFailure
from tasks.remote import fetching, sending
from tasks.remote.places import Storage
from tests.remote.copies import Shell, answers, content, ignore


def test_what_arrives_damaged_is_not_put_in_place(storage: Storage, shell: Shell, here: Path, tmp_path: Path) -> None:
    shell.tamper_in = lambda data: data[:-1] + bytes([data[-1] ^ 1]) if data else data
    with pytest.raises(NotSaved) as failure:
        sending.send(storage, here / "é", "x", ignore)
    assert str(failure.value) == "x on web arrived damaged: its SHA-256 is another one"
    assert content(shell.folder) == {}

    shell.tamper_out = lambda data: data.replace(b"text", b"xexx")
    (here / "plain").write_text("text")
    with pytest.raises(NotSaved) as failure:
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


def test_the_line_that_tells_is_told(storage: Storage) -> None:
    """tar goes on, and ends with a sentence that says nothing."""
    said = (
        "tar: a: Cannot write: No space left on device\ntar: b: Cannot open\ntar: Exiting with failure status due to x"
    )

    assert str(storage.failure("/x", said)).endswith(": tar: a: Cannot write: No space left on device")
    assert str(storage.failure("/x", "tar: b: odd\ntar: Exiting with failure status")).endswith(": tar: b: odd")


def test_what_a_login_says_by_itself_is_no_answer(storage: Storage, shell: Shell, here: Path, tmp_path: Path) -> None:
    """As an `echo` in a .bashrc does, before each command."""
    shell.tamper_out = lambda said: b"Welcome to web\nfile x 1\n" + said
    for source in (here, here / "plain"):
        copied = sending.send(storage, source, source.name, ignore)
        assert copied.path == source.name
        fetching.fetch(storage, source.name, tmp_path / f"{source.name}.back", ignore)

    assert content(shell.folder / "here") == content(here) == content(tmp_path / "here.back")
    assert (tmp_path / "plain.back").read_bytes() == (here / "plain").read_bytes()


@pytest.mark.parametrize("answer", [b"", b"zz", b"-\nfile - zz\n", b"-\nfile -\n", b"into\n", b"/x\nfolder\n"])
def test_an_answer_of_another_shape_is_told_as_one(storage: Storage, shell: Shell, answer: bytes) -> None:
    shell.tamper_out = answers(answer)
    with pytest.raises(Unavailable, match="on web: it does not answer as a POSIX shell does"):
        storage.describe("x")
    shell.tamper_out = lambda _: b""
    with pytest.raises(Unavailable, match="on web: it does not answer as a POSIX shell does"):
        storage.digest("/etc/hosts")


def test_a_path_is_taken_letter_by_letter(storage: Storage, shell: Shell, here: Path) -> None:
    """dash's echo makes a line end of a backslash and an n."""
    sending.send(storage, here / "plain", "d\\new", ignore)
    (shell.folder / "a\\ttic").mkdir()
    copied = sending.send(storage, here / "plain", "a\\ttic", ignore)
    sending.send(storage, here / "sub", str(shell.folder / "f\\x"), ignore)

    assert copied.path == "a\\ttic/plain"
    assert {"d\\new", "a\\ttic/plain", "f\\x/empty"} <= content(shell.folder).keys()


@pytest.mark.parametrize("home", ["~", "~/", "."])
def test_a_lone_tilde_is_the_login_s_home(storage: Storage, shell: Shell, here: Path, home: str) -> None:
    sending.send(storage, here / "plain", home, ignore)

    assert list(content(shell.folder)) == ["plain"]


@pytest.mark.parametrize("path", ["", "a\nb", "a\0b"])
def test_a_path_that_cannot_be_spoken_of_is_refused(storage: Storage, path: str) -> None:
    with pytest.raises(UsageFailure):
        storage.describe(path)
