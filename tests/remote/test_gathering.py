"""What hosts wrote is kept whole, in small memory, and goes where it was asked to go."""

import tracemalloc
from pathlib import Path

import pytest

from tasks.errors import NotSaved
from tasks.remote.gathering import Kept, OutputFolder, Pair, folded


def pair(out: bytes = b"", err: bytes = b"") -> Pair:
    """Return the outputs of a host that wrote this."""
    made = Pair(Kept(), Kept())
    made.out(out)
    made.err(err)
    return made


def test_an_output_is_kept_byte_for_byte() -> None:
    """However it came."""
    kept = Kept()
    for piece in (b"\x00\xff", b"", b"\n"):
        kept(piece)

    assert (b"".join(kept.pieces()), kept.size) == (b"\x00\xff\n", 3)
    assert b"".join(kept.pieces()) == b"\x00\xff\n"


def test_a_large_output_is_not_kept_in_memory() -> None:
    """It goes to the disk, without a name."""
    tracemalloc.start()
    kept = Kept()
    for _ in range(64):
        kept(b"x" * 262144)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kept.size == 16 * 1024 * 1024
    assert peak < 4 * 1024 * 1024


def test_equal_outputs_are_one_group_and_the_largest_comes_first() -> None:
    """Both outputs count; who wrote nothing is in none."""
    pairs = {"a": pair(b"1"), "b": pair(b"2"), "c": pair(b"2"), "d": pair(b"2", b"!"), "e": pair()}

    assert [names for names, _ in folded(pairs)] == [("b", "c"), ("a",), ("d",)]


def test_each_host_has_its_files_and_those_of_an_earlier_run_are_gone(tmp_path: Path) -> None:
    """A file is there when there is something in it."""
    folder = OutputFolder(tmp_path / "new" / "out")
    (tmp_path / "new" / "out" / "web.err").write_text("old")
    out, err = folder.sink("web", "out"), folder.sink("web", "err")
    out(b"a")
    out(b"\xff")
    out.close()
    err.close()

    assert {path.name: path.read_bytes() for path in (tmp_path / "new" / "out").iterdir()} == {"web.out": b"a\xff"}


@pytest.mark.parametrize("name", ["../up", "a/b", "..", "/etc/passwd", "web\n"])
def test_no_name_of_a_host_leaves_the_folder(tmp_path: Path, name: str) -> None:
    """An inventory is somebody's text."""
    sink = OutputFolder(tmp_path / "out").sink(name, "out")
    sink(b"x")
    sink.close()

    assert [path.parent for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "out"]


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    """Somebody else may have put it there."""
    target = tmp_path / "target"
    folder = OutputFolder(tmp_path / "out")
    sink = folder.sink("web", "out")
    (tmp_path / "out" / "web.out").symlink_to(target)

    with pytest.raises(NotSaved, match=r"web\.out cannot be written: too many levels of symbolic links"):
        sink(b"x")
    assert not target.exists()


def test_failed_hosts_are_listed_one_a_line(tmp_path: Path) -> None:
    """The file is there also when none failed."""
    folder = OutputFolder(tmp_path)

    assert folder.write_failed(["web", "db"]).read_text() == "web\ndb\n"
    assert folder.write_failed([]).read_text() == ""


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """With its path."""
    (tmp_path / "file").touch()

    with pytest.raises(NotSaved, match=r"file/out cannot be written: not a directory"):
        OutputFolder(tmp_path / "file" / "out")
