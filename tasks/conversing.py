"""Owns the talk with a program that asks on stderr while it runs, over three pipes."""

import os
import select
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

LARGEST_READ = 1 << 16  # bytes; what a pipe holds


def talk(pipes: tuple[int, int, int], reply: Callable[[bytes], bytes], deadline: float) -> tuple[bytes, bytes, float]:
    """Return what a program said on stdout and on stderr until it closed both, and the seconds that are left then.

    The pipes are its stdin, stdout and stderr. Whenever it has said more on stderr, `reply` gets all of it and returns
    what to type, mostly nothing; the time that this takes may be a person's, and does not count. TimeoutError when the
    deadline, in seconds, has passed.
    """
    stdin, stdout, stderr = pipes
    texts, end = {stdout: b"", stderr: b""}, time.monotonic() + deadline
    reading = [stdout, stderr]
    while reading:
        for descriptor in _readable(reading, end):
            part = os.read(descriptor, LARGEST_READ)
            texts[descriptor] += part
            if not part:
                reading.remove(descriptor)
            elif descriptor == stderr:
                asked = time.monotonic()
                _type(stdin, reply(texts[stderr]))
                end += time.monotonic() - asked
    return texts[stdout], texts[stderr], max(end - time.monotonic(), 0.0)


def _readable(reading: Sequence[int], end: float) -> list[int]:
    """Return the pipes on which the program has said something or ended."""
    left = end - time.monotonic()
    poller = select.poll()  # not select(): it takes no descriptor above 1023
    for descriptor in reading:
        poller.register(descriptor, select.POLLIN)
    ready = [descriptor for descriptor, _ in poller.poll(left * 1000)] if left > 0 else []
    if not ready:
        raise TimeoutError
    return ready


def _type(descriptor: int, text: bytes) -> None:
    with suppress(BrokenPipeError):  # it ended meanwhile, and its exit status says how
        os.write(descriptor, text)
