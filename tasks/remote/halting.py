"""Owns the word from outside that ends what a host's thread is waiting for: a deadline, Ctrl-C, another host's failure.

A thread in Python cannot be ended; what it waits for can be woken. Whoever waits registers what wakes it.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.errors import Failure


class Halt:
    """Asked for at most once, by any thread; `failure` then says why."""

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []
        self._asked = threading.Event()

    def ask(self, failure: Failure) -> None:
        """Ask to end, for this reason, and wake everything that waits. A second reason says nothing."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = failure
            self._asked.set()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Within, `wake` is called when it is asked to end; at once when that has happened already."""
        with self._lock:
            self._wakers.append(wake)
            asked = self.failure is not None
        try:
            if asked:
                wake()
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)

    def check(self) -> None:
        """Raise the reason if it was asked to end."""
        if self.failure is not None:
            raise self.failure

    def sleep(self, seconds: float) -> None:
        """Wait so long, or until it is asked to end."""
        self._asked.wait(seconds)
