"""What one run of a program took."""

import signal
import sys

import pytest

from benchmark.measuring import GRACE, measure
from tasks.errors import Unavailable

LARGE = 60_000_000  # bytes


def test_what_a_program_takes_is_measured() -> None:
    """Time, processor and memory, with its last complaint; what it prints is thrown away."""
    code = f"import sys; print('lost'); b = bytearray({LARGE}); sys.exit('enough')"
    took = measure([sys.executable, "-c", code], environment={}, deadline=30)

    assert (took.exit_status, took.complaint) == (1, "enough")
    assert took.cpu > 0
    assert 0 < took.seconds < 30
    assert LARGE < took.memory < 2 * LARGE


def test_a_small_program_is_small_however_large_we_are() -> None:
    ballast = bytearray(4 * LARGE)

    assert measure(["true"], environment={"PATH": "/usr/bin:/bin"}, deadline=30).memory < LARGE
    assert len(ballast) > LARGE


def test_the_threads_of_a_measured_program_are_counted() -> None:
    """Its own, the first among them."""
    code = "import threading, time\nfor _ in range(3): threading.Thread(target=time.sleep, args=(2,)).start()"

    assert measure([sys.executable, "-c", code], environment={}, deadline=20).threads == 4


def test_a_measured_program_has_a_deadline() -> None:
    """After which it is killed."""
    took = measure(["sleep", "60"], environment={"PATH": "/usr/bin:/bin"}, deadline=0.2)

    assert took.exit_status == -signal.SIGKILL
    assert 0.2 <= took.seconds < GRACE


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Unavailable, match="cannot start no-such-program: No such file or directory"):
        measure(["no-such-program"], environment={"PATH": "/usr/bin:/bin"}, deadline=5)
