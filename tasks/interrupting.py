"""Owns the signals that ask us to end: Ctrl-C, SIGTERM by which a job is cancelled, SIGHUP by which a terminal ends.

All mean the same: end what we have begun elsewhere, then ourselves, with 128 + n.
"""

import errno
import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds that the main thread may wait in one piece. Python looks for signals between two of its own steps: one that
# comes after the last of them, just before the kernel's wait, does not end it, nor does one that another thread got.
LONGEST_WAIT = 0.5


class Interrupted(KeyboardInterrupt):
    """We were asked to end by the signal of that number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_status = 128 + number


@contextmanager
def interruptions(hear: Callable[[int], None]) -> Iterator[None]:
    """Within, the first of the signals calls `hear` with its number, in the main thread; one that is ignored stays so.

    A second Ctrl-C does what it did before. The other two are passed over then: a shell and the kernel both send SIGHUP
    when a terminal ends, and `timeout` sends its SIGTERM twice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in INTERRUPTIONS}
    heeded = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}

    def interrupt(number: int, _frame: object) -> None:
        _set({each: handler if each == signal.SIGINT else _pass_over for each, handler in heeded.items()})
        if number == signal.SIGHUP:
            _leave_dead_terminal()
        hear(number)

    _set(dict.fromkeys(heeded, interrupt))
    try:
        yield
    finally:
        _set(heeded)


@contextmanager
def put_off() -> Iterator[None]:
    """Within, the signals wait: the first is heeded at the end, by whom it was meant for. A second Ctrl-C does not."""
    heard: list[int] = []
    with interruptions(heard.append):
        yield
    if heard:
        signal.raise_signal(heard[0])


def raise_interrupted(number: int) -> None:
    """Raise it, in the middle of whatever goes on."""
    raise Interrupted(number)


def _set(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _pass_over(_number: int, _frame: object) -> None:
    """Do nothing. Not SIG_IGN, which a program that we start would inherit."""


def _leave_dead_terminal() -> None:
    """Let /dev/null take what is said from now on: to fail by it would keep us from ending what runs elsewhere."""
    for descriptor in (1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
