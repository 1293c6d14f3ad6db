"""What asks us to end is heard once, whatever sends it twice, and nothing that was ignored is heard."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from tasks.interrupting import INTERRUPTIONS, interruptions, put_off, raise_interrupted
from tests.conftest import ROOT

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
ON_A_TERMINAL = """
import os, signal, sys, time
from tasks.interrupting import Interrupted, interruptions, raise_interrupted
try:
    with interruptions(raise_interrupted):
        print("waiting", flush=True)
        time.sleep(30)
except Interrupted as interrupted:
    print("nobody reads that", flush=True)
    sys.exit(interrupted.exit_status)
"""


def handlers() -> list[object]:
    """Return what each signal does now."""
    return [signal.getsignal(number) for number in INTERRUPTIONS]


@pytest.mark.parametrize("number", ALL)
def test_each_is_heard_with_its_number(number: signal.Signals) -> None:
    """And afterwards all is as it was."""
    heard: list[int] = []
    before = handlers()
    with interruptions(heard.append):
        signal.raise_signal(number)

    assert (heard, handlers()) == ([number], before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_is_sent_twice_is_heard_once(number: signal.Signals) -> None:
    """`timeout` does so, and the end of a terminal: what ends our work elsewhere would be cut short."""
    heard: list[int] = []
    with interruptions(heard.append):
        for each in (number, number, signal.SIGTERM):
            signal.raise_signal(each)

    assert heard == [number]


@pytest.mark.parametrize("number", ALL)
def test_ctrl_c_after_any_of_them_ends_at_once(number: signal.Signals) -> None:
    """A person knows what he does."""
    with pytest.raises(KeyboardInterrupt), interruptions(lambda _: None):
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)


def test_what_is_ignored_stays_so() -> None:
    """`nohup inv …`."""
    heard: list[int] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptions(heard.append):
            signal.raise_signal(signal.SIGHUP)
        assert (heard, signal.getsignal(signal.SIGHUP)) == ([], signal.SIG_IGN)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_raised_it_knows_its_exit_status(number: signal.Signals, status: int) -> None:
    """128 + n, as a shell says it."""
    with pytest.raises(KeyboardInterrupt) as caught, interruptions(raise_interrupted):
        signal.raise_signal(number)

    assert getattr(caught.value, "exit_status", None) == status


def test_after_the_terminals_end_nothing_fails_by_it() -> None:
    """What is said then is for nobody."""
    ours, its = pty.openpty()
    argv = [sys.executable, "-c", ON_A_TERMINAL]
    with subprocess.Popen(argv, cwd=ROOT, stdin=its, stdout=its, stderr=its, start_new_session=True) as child:
        os.close(its)
        assert os.read(ours, 100).startswith(b"waiting")
        os.close(ours)
        child.send_signal(signal.SIGHUP)

        assert child.wait(20) == 129


@pytest.mark.parametrize("number", ALL)
def test_put_off_it_is_heard_at_the_end_by_whom_it_was_meant_for(number: signal.Signals) -> None:
    """Once, though it comes twice, and afterwards all is as it was."""
    heard: list[str] = []
    before = handlers()
    with interruptions(lambda each: heard.append(f"heard {each}")):
        with put_off():
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)
            heard.append("done")
        os.kill(os.getpid(), signal.SIGTERM)

    assert (heard, handlers()) == (["done", f"heard {number}"], before)


def test_ctrl_c_after_one_that_was_put_off_ends_at_once() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), interruptions(raise_interrupted), put_off():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        done.append("more")

    assert done == []
