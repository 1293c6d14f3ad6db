"""Every line stands whole behind the name of its host, and cannot touch the terminal."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from tasks.remote.labels import LONGEST_LINE, Labels, width_for


class Screen:
    """What was written, by descriptor."""

    def __init__(self) -> None:
        self.written: list[tuple[int, str]] = []

    def write(self, descriptor: int, data: bytes) -> None:
        """Remember it."""
        self.written.append((descriptor, data.decode()))

    def text(self) -> str:
        """Return all of it."""
        return "".join(text for _, text in self.written)


def test_lines_are_labelled_as_they_come_and_aligned() -> None:
    """A line that comes in pieces is one line; stdout and stderr go to their own descriptors."""
    screen = Screen()
    labels = Labels(5, screen.write, coloured=False)
    out, err = labels.sink("web", 1), labels.sink("mail1", 2)
    out(b"one\ntw")
    err(b"oops\n")
    out(b"o\n")

    assert screen.written == [(1, "web   | one\n"), (2, "mail1 | oops\n"), (1, "web   | two\n")]


def test_a_last_line_without_an_end_is_shown_at_the_end() -> None:
    """With one, so that the next label begins a line."""
    screen = Screen()
    sink = Labels(3, screen.write, coloured=False).sink("web", 1)
    sink(b"no end")
    assert screen.text() == ""
    sink.close()

    assert screen.text() == "web | no end\n"


def test_a_line_that_never_ends_is_shown_in_pieces() -> None:
    """What is kept of a host stays small."""
    screen = Screen()
    sink = Labels(3, screen.write, coloured=False).sink("web", 1)
    sink(b"x" * (LONGEST_LINE * 2 + 1))

    assert [len(line) for line in screen.text().splitlines()] == [LONGEST_LINE + 6] * 2


def test_a_character_in_two_pieces_is_one_and_what_is_none_is_escaped() -> None:
    """No byte is lost or replaced."""
    screen = Screen()
    sink = Labels(3, screen.write, coloured=False).sink("web", 1)
    for piece in (b"\xc3", b"\xa9\n", b"\xff\n"):
        sink(piece)

    assert screen.text() == "web | é\nweb | \\xff\n"


def test_a_host_has_always_the_same_colour_and_errors_are_red() -> None:
    """Where there is colour."""
    screen = Screen()
    labels = Labels(3, screen.write, coloured=True)
    labels.sink("web", 1)(b"a\n")
    labels.sink("web", 1)(b"a\n")
    labels.say("web", "error: no")

    (_, first), (_, second), (_, ours) = screen.written
    assert first == second
    assert first.startswith("\x1b[")
    assert first.endswith("\x1b[0m | a\n")
    assert ours.endswith("\x1b[31merror: no\x1b[0m\n")


def test_many_hosts_at_once_do_not_cut_each_others_lines() -> None:
    """Whatever the threads do."""
    screen = Screen()
    labels = Labels(1, screen.write, coloured=False)

    def write(name: str) -> None:
        sink = labels.sink(name, 1)
        for _ in range(50):
            sink(name.encode() * 40 + b"\n")

    hosts = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for each in hosts:
        each.start()
    for each in hosts:
        each.join()

    assert sorted(set(screen.text().splitlines())) == [f"{name} | {name * 40}" for name in "abcd"]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_bytes_of_a_host_reach_the_terminal_as_control_characters(pieces: list[bytes]) -> None:
    """Whatever they are, and however they are cut."""
    screen = Screen()
    sink = Labels(3, screen.write, coloured=False).sink("web", 1)
    for piece in pieces:
        sink(piece)
    sink.close()

    assert all(letter.isprintable() or letter in "\n\t" for letter in screen.text())
    assert all(line.startswith("web | ") for line in screen.text().split("\n")[:-1])


def test_labels_are_as_wide_as_the_longest_name_unless_that_leaves_no_room() -> None:
    assert width_for(["db1", "web12", "a"]) == 5
    assert width_for(["db1", "a" * 200]) == 40
