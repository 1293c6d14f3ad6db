"""Owns the way of a host's output to us: raw bytes into a pipe or a file, harmless text onto a terminal.

Nothing is kept: a gigabyte passes through a few megabytes of memory. The text goes by no redactor, because it is the
host's, byte for byte.
"""

import codecs
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.console import visible
from tasks.errors import NotSaved, reason
from tasks.interrupting import LONGEST_WAIT

Sink = Callable[[bytes], None]


@contextmanager
def shown(descriptor: int) -> Iterator[Sink]:
    """Give what takes a whole output for a descriptor of ours; in the end a terminal sees what was still incomplete."""
    own = sink(descriptor)
    try:
        yield own
    finally:
        if isinstance(own, Escaped):
            own.close()


class ReaderGone(BrokenPipeError):  # noqa: N818 - it is no error of ours
    """Whoever read our output has ended (`inv … | head`); not to be taken for a connection that broke."""


def sink(descriptor: int) -> Sink:
    """Return what takes the bytes for a descriptor of ours: escaped when it is a terminal, else as they are."""
    if os.isatty(descriptor):
        return Escaped(descriptor)
    return lambda data: write_all(descriptor, data)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte, waiting where the reader is slow; ReaderGone when it has ended, NotSaved for a full disk."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            # Somebody who shares the terminal or pipe with us made it non-blocking.
            select.select([], [descriptor], [], LONGEST_WAIT)
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise NotSaved("cannot write the output", why=reason(error)) from None


class Escaped:
    """Shows a host's bytes on a terminal that they cannot touch: control characters are escaped.

    A character that arrives in two pieces is put together first; CRLF, which a remote terminal writes, is a line end.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def __call__(self, data: bytes) -> None:
        """Show the bytes."""
        text = self._held + self._decoder.decode(data)
        self._held = "\r" if text.endswith("\r") else ""
        self._show(text.removesuffix("\r").replace("\r\n", "\n"))

    def close(self) -> None:
        """Show what waited for a second piece: nothing follows."""
        text, self._held = self._held + self._decoder.decode(b"", final=True), ""
        self._show(text)

    def _show(self, text: str) -> None:
        write_all(self._descriptor, visible(text).encode(errors="backslashreplace"))
