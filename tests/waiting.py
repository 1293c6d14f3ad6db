"""Owns waiting in tests: poll until something is so, with a deadline, never a bare sleep."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Value = TypeVar("Value")
POLL = 0.01  # seconds


def until(condition: Callable[[], Value], *, what: str, seconds: float = 10.0) -> Value:
    """Return the first true value of `condition`, or fail the test after `seconds` with `what` was awaited."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:g} s there was still no {what}")
        time.sleep(POLL)


def is_alive(pid: int) -> bool:
    """Whether there is such a process; a zombie, which nobody has waited for, is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
