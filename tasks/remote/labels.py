"""Owns the lines of many hosts on one output: each whole, behind the name of its host, as it arrives.

Control characters are escaped whether or not a terminal is there, because what is labelled is for people, and sooner or
later is shown on a terminal.
"""

import codecs
import threading
import zlib
from collections.abc import Callable, Sequence

from tasks.console import visible

# A line without an end is shown in pieces of this many characters: what is kept of a host stays small.
LONGEST_LINE = 16384
WIDEST_LABEL = 40
RESET = "\x1b[0m"
ERROR = "\x1b[31m"
COLOURS = tuple(f"\x1b[{number}m" for number in (36, 32, 33, 34, 35, 96, 92, 93, 94, 95))

Write = Callable[[int, bytes], None]


def width_for(names: Sequence[str]) -> int:
    """Return how wide the labels of these hosts are: as the longest name, unless that would leave no room for lines."""
    return min(WIDEST_LABEL, max(map(len, names)))


class Labels:
    """Gives each host's output the label that it is told apart by: its name, padded to the longest."""

    def __init__(self, width: int, write: Write, *, coloured: bool) -> None:
        self._width = width
        self._write = write
        self._coloured = coloured
        self._lock = threading.Lock()

    def sink(self, name: str, descriptor: int) -> "Labelled":
        """Return what takes the bytes of a host for a descriptor of ours."""
        return Labelled(self._label(name), lambda text: self._put(descriptor, text))

    def say(self, name: str, text: str) -> None:
        """Say something of our own about a host, on stderr."""
        lines = [self._label(name) + (f"{ERROR}{line}{RESET}" if self._coloured else line) for line in _lines(text)]
        self._put(2, "\n".join(lines) + "\n")

    def _label(self, name: str) -> str:
        padded = name.ljust(self._width)
        if not self._coloured:
            return f"{padded} | "
        return f"{COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]}{padded}{RESET} | "

    def _put(self, descriptor: int, text: str) -> None:
        # One at a time, so that a line is not cut by another; who is slow to read holds up whoever writes.
        with self._lock:
            self._write(descriptor, text.encode(errors="backslashreplace"))


class Labelled:
    """Cuts one output of one host into lines, and labels each. `close()` shows what had no line end."""

    def __init__(self, label: str, put: Callable[[str], None]) -> None:
        self._label = label
        self._put = put
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""

    def __call__(self, data: bytes) -> None:
        """Take bytes."""
        self._show(self._decoder.decode(data))

    def close(self) -> None:
        """Show the last line, though it has no end."""
        self._show(self._decoder.decode(b"", final=True))
        if self._rest:
            self._put(self._labelled(self._rest))
            self._rest = ""

    def _show(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        whole = len(self._rest) // LONGEST_LINE * LONGEST_LINE
        lines += [self._rest[start : start + LONGEST_LINE] for start in range(0, whole, LONGEST_LINE)]
        self._rest = self._rest[whole:]
        if lines:
            self._put("".join(map(self._labelled, lines)))

    def _labelled(self, line: str) -> str:
        line = line.removesuffix("\r")
        return f"{self._label}{line if line.isprintable() else visible(line)}\n"


def _lines(text: str) -> list[str]:
    return [line for line in visible(text).splitlines() if line.strip()]
