"""Owns the way of events from many threads, and of Ctrl-C, to the one thread that waits for them.

Not queue.Queue: a signal that comes just before its wait begins is heard when the wait ends, which may be never. Python
writes a byte for each signal into a descriptor (signal.set_wakeup_fd), so that is what is waited for.
"""

import contextlib
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from tasks.interrupting import interruptions

Item = TypeVar("Item")
MANY = 4096


class Mailbox(Generic[Item]):
    """Items in the order they were put. Any thread may put one, one thread gets them."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)

    def put(self, item: Item) -> None:
        """Put an item; never waits."""
        self._items.append(item)
        # When it is full there are bytes enough to wake by; when it is closed nobody wants to know any more.
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def get(self, seconds: float | None) -> Item:
        """Return the next item; TimeoutError when there is none within that time, None waits without end."""
        while not self._items:
            self._reader.settimeout(seconds)
            try:
                self._reader.recv(MANY)
            except BlockingIOError:
                raise TimeoutError from None
        return self._items.popleft()

    def close(self) -> None:
        """Close it: what is put from now on is lost."""
        self._reader.close()
        self._writer.close()

    @contextmanager
    def interrupts(self, put: Callable[[int], None]) -> Iterator[None]:
        """Within, the first Ctrl-C, SIGTERM or SIGHUP calls `put` with its number; a second Ctrl-C is as ever."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        woken_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        try:
            with interruptions(put):
                yield
        finally:
            signal.set_wakeup_fd(woken_before)
