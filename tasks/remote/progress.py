"""Owns the one line at the foot of a terminal that says how far a run over many hosts is.

Whatever else is written goes by here, because the line has to be taken away first and drawn again after.
"""

import threading
import time
from collections.abc import Callable

from tasks.console import visible
from tasks.remote.fanout import Event, Outcome, Started

TICK = 1.0  # seconds between two drawings when nothing happens
REDRAW_SECONDS = 0.1
ERASE = b"\r\x1b[K"
SLOWEST = 3

Write = Callable[[int, bytes], None]


class Progress:
    """Draws on descriptor 2. `write` is what writes; `columns` says how wide the terminal is now."""

    def __init__(self, count: int, write: Write, columns: Callable[[], int]) -> None:
        self._count = count
        self._write = write
        self._columns = columns
        self._running: dict[str, float] = {}
        self._done = self._failed = 0
        self._lock = threading.Lock()
        self._drawn_at = 0.0
        self._shown = False

    def write(self, descriptor: int, data: bytes) -> None:
        """Write something else: without the line under it."""
        with self._lock:
            self._erase()
            self._write(descriptor, data)

    def hear(self, event: Event | None) -> None:
        """Note an event, and draw unless that was just done."""
        match event:
            case Started():
                self._running[event.name] = time.monotonic()
            case Outcome():
                self._running.pop(event.name, None)
                self._done += 1
                self._failed += event.failure is not None
        if event is None or time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._draw()

    def end(self) -> None:
        """Take the line away for good."""
        with self._lock:
            self._erase()

    def _erase(self) -> None:
        if self._shown:
            self._write(2, ERASE)
            self._shown = False

    def _draw(self) -> None:
        with self._lock:
            self._drawn_at = time.monotonic()
            line = self.line(self._drawn_at)[: max(10, self._columns() - 1)]
            self._write(2, ERASE + line.encode(errors="backslashreplace"))
            self._shown = True

    def line(self, now: float) -> str:
        """Return what is drawn: done, running, failed, and the hosts that have been running longest."""
        said = f"{self._done} of {self._count} done, {len(self._running)} running, {self._failed} failed"
        oldest = sorted(self._running.items(), key=lambda each: each[1])[:SLOWEST]
        slow = ", ".join(f"{name} {now - began:.0f} s" for name, began in oldest if now - began >= TICK)
        return visible(f"{said}; {slow}" if slow else said)
