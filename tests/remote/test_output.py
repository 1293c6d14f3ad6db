"""A host's output: raw into a pipe, harmless on a terminal."""

import os
import pty
import threading
from collections.abc import Iterator

import pytest

from tasks.errors import NotSaved
from tasks.remote import output


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Return both ends of a terminal: what shows, and where to write."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def read(descriptor: int, count: int) -> bytes:
    """Return so many bytes, however they arrive."""
    got = b""
    while len(got) < count:
        got += os.read(descriptor, count - len(got))
    return got


def test_bytes_reach_a_pipe_as_they_are() -> None:
    """Invalid UTF-8 and control characters too, more of them than a pipe holds."""
    reading, writing = os.pipe()
    data = bytes(range(256)) * 4096
    os.set_blocking(writing, False)
    writer = threading.Thread(target=output.sink(writing), args=(data,))
    writer.start()
    got = b""
    while len(got) < len(data):
        got += os.read(reading, 65536)
    writer.join()
    os.close(reading)
    os.close(writing)

    assert got == data


def test_a_reader_who_has_gone_is_not_a_broken_connection() -> None:
    """`inv remote.run … | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(output.ReaderGone):
        output.sink(writing)(b"x")
    os.close(writing)


def test_a_full_disk_is_said() -> None:
    """Not taken for a lost connection either."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(NotSaved, match=r"^cannot write the output: no space left on device$"):
        output.sink(descriptor)(b"x")
    os.close(descriptor)


def test_a_terminal_sees_no_control_characters(terminal: tuple[int, int]) -> None:
    """No title, no clipboard, no cursor; line ends stay."""
    shown, writing = terminal

    output.sink(writing)(b"\x1b]52;c;eA==\x07 \xff ok\r\nnext\t\xc2\x9b2J\n")

    assert read(shown, 41) == b"\\x1b]52;c;eA==\\x07 \\xff ok\r\nnext\t\\x9b2J\r\n"


def test_what_stays_incomplete_is_shown_in_the_end(terminal: tuple[int, int]) -> None:
    """The first half of a letter, a lone carriage return."""
    shown, writing = terminal

    with output.shown(writing) as sink:
        sink(b"ok\xc3")
    with output.shown(writing) as sink:
        sink(b"ok\r")

    assert read(shown, 10) == b"ok\\xc3ok\\r"


def test_a_character_in_two_pieces_is_put_together(terminal: tuple[int, int]) -> None:
    """A letter or a line end that falls on a packet's border."""
    shown, writing = terminal
    sink = output.sink(writing)

    for piece in (b"gr\xc3", b"\xbc\xc3\x9fe\r", b"\nbar\r", b"baz\n"):
        sink(piece)

    assert read(shown, 19) == "grüße\r\nbar\\rbaz\r\n".encode()
