"""Files and folders that come from a host, an honest and a hostile one."""

import os
import tarfile
from pathlib import Path

import pytest

from tasks.errors import Failure, NotSaved, Refused, Unavailable
from tasks.remote import fetching
from tasks.remote.places import Copied, Storage
from tests.remote.copies import ODD, Shell, answers, archive, content, ignore


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


def test_a_file_s_name_here_is_the_one_that_was_asked_for(storage: Storage, shell: Shell, tmp_path: Path) -> None:
    """Not one that the host chooses (CVE-2019-6111)."""
    (shell.folder / "log").write_text("x")
    shell.tamper_out = lambda said: said.replace(b"-\nfile", b"into\nfile")
    copied = fetching.fetch(storage, "~/log", tmp_path, ignore)

    assert copied.path == str(tmp_path / "log")


def test_hard_links_come_as_files(storage: Storage, here: Path, tmp_path: Path) -> None:
    """What they name may have come before, or be here already."""
    (here / "linked").hardlink_to(here / "a b")
    fetching.fetch(storage, str(here), tmp_path / "got", ignore)
    (tmp_path / "got" / "linked").unlink()
    again = fetching.fetch(storage, str(here), tmp_path / "got", ignore)

    assert again.files == 1
    assert content(tmp_path / "got") == content(here)


def test_all_of_a_folder_may_hold_a_link_to_what_is_here(storage: Storage, here: Path, tmp_path: Path) -> None:
    for number in range(2000):
        (here / f"{number:040}").write_text(str(number))
    (here / "zz").hardlink_to(here / "plain")
    fetching.fetch(storage, str(here), tmp_path / "got", ignore)
    for path in (tmp_path / "got").iterdir():
        if path.is_file() and path.name != "plain":
            path.unlink()
    fetching.fetch(storage, str(here), tmp_path / "got", ignore)

    assert content(tmp_path / "got") == content(here)


def test_a_file_that_cannot_be_read_there_is_told_in_the_words_of_cat(storage: Storage, tmp_path: Path) -> None:
    """Whichever is the first to find it out, cat or what sums the file up; /proc/self/mem is one for root too."""
    words = "cannot copy /proc/self/mem on web: cat: /proc/self/mem: Input/output error"
    with pytest.raises(Unavailable, match=f"^{words}$"):
        fetching.fetch(storage, "/proc/self/mem", tmp_path / "got", ignore)

    assert not (tmp_path / "got").exists()


def test_a_folder_here_where_a_file_shall_be_is_named(storage: Storage, here: Path, tmp_path: Path) -> None:
    (tmp_path / "got" / "plain").mkdir(parents=True)
    with pytest.raises(NotSaved, match=f"^cannot write {tmp_path}/got/plain: is a directory$"):
        fetching.fetch(storage, str(here), tmp_path / "got", ignore)


SUM = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"  # of "foo"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "./../x", "a//b", ".", "a/."])
def test_a_listed_name_that_leaves_the_target_is_refused(
    storage: Storage, shell: Shell, tmp_path: Path, name: str
) -> None:
    shell.tamper_out = answers(f"-\nfolder\n{SUM}  {name}\n\0.\0\0".encode())
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
    shell.tamper_out = answers(f"-\nfolder\n{SUM}  ./a\n\0.\0\0".encode(), archive(*sent))
    with pytest.raises(Failure):
        fetching.fetch(storage, ".", tmp_path / "got", ignore)

    assert content(tmp_path) == {"there": None, "there/a": b"", "got": None}


def test_noise_instead_of_an_archive_is_an_error(storage: Storage, shell: Shell, tmp_path: Path) -> None:
    (shell.folder / "a").touch()
    shell.tamper_out = answers(f"-\nfolder\n{SUM}  ./a\n\0.\0\0".encode(), b"noise" * 100_000)
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
