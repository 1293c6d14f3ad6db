"""The line at the foot of the terminal says how far it is, and is never in the way."""

import time

from tasks.errors import RemoteExit
from tasks.remote.fanout import Outcome, Started
from tasks.remote.progress import ERASE, Progress


class Terminal:
    """What was written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, _: int, data: bytes) -> None:
        """Remember it."""
        self.written += data


def test_it_says_what_is_done_running_and_failed_and_who_takes_long() -> None:
    """Control characters of a name are escaped."""
    progress = Progress(9, Terminal().write, lambda: 80)
    for name in ("a", "b", "c\x1b"):
        progress.hear(Started(name))
    progress.hear(Outcome("a", None, 1.0, 1))
    progress.hear(Outcome("b", RemoteExit(1), 1.0, 1))

    assert progress.line(time.monotonic()) == "2 of 9 done, 1 running, 1 failed"
    assert progress.line(time.monotonic() + 5) == "2 of 9 done, 1 running, 1 failed; c\\x1b 5 s"


def test_what_is_written_takes_its_place() -> None:
    """The line is taken away first."""
    terminal = Terminal()
    progress = Progress(1, terminal.write, lambda: 80)
    progress.hear(None)
    progress.write(1, b"web | hello\n")
    progress.write(1, b"web | again\n")
    line = b"0 of 1 done, 0 running, 0 failed"

    assert terminal.written == ERASE + line + ERASE + b"web | hello\nweb | again\n"


def test_it_is_no_wider_than_the_terminal() -> None:
    """A line that wraps cannot be taken away."""
    terminal = Terminal()
    Progress(1000, terminal.write, lambda: 20).hear(None)

    assert terminal.written == ERASE + b"0 of 1000 done, 0 r"


def test_it_is_drawn_ten_times_a_second_at_most() -> None:
    """A thousand hosts may end in one."""
    terminal = Terminal()
    progress = Progress(1000, terminal.write, lambda: 80)
    for number in range(100):
        progress.hear(Started(str(number)))

    assert terminal.written.count(ERASE) < 10


def test_nothing_of_it_is_left_at_the_end() -> None:
    """The next prompt begins a line."""
    terminal = Terminal()
    progress = Progress(1, terminal.write, lambda: 80)
    progress.hear(None)
    progress.end()
    progress.end()

    assert terminal.written.endswith(ERASE)
    assert terminal.written.count(ERASE) == 2
