"""The word to end wakes whoever waits, once, with its reason."""

import threading
import time

import pytest

from tasks.errors import TimedOut
from tasks.remote.halting import Halt


def test_it_wakes_what_waits_and_says_why() -> None:
    """Whoever looks gets the first reason."""
    halt, woken = Halt(), threading.Event()
    with halt.waking(woken.set):
        halt.ask(TimedOut("late"))
        halt.ask(TimedOut("later"))

    assert woken.is_set()
    with pytest.raises(TimedOut, match=r"^late$"):
        halt.check()


def test_who_begins_to_wait_afterwards_is_woken_at_once() -> None:
    """Nothing is missed."""
    halt, woken = Halt(), threading.Event()
    halt.ask(TimedOut("late"))
    with halt.waking(woken.set):
        assert woken.is_set()


def test_who_has_ended_waiting_is_not_woken() -> None:
    """What it would wake may be gone."""
    halt, woken = Halt(), threading.Event()
    with halt.waking(woken.set):
        pass
    halt.ask(TimedOut("late"))

    assert not woken.is_set()


def test_without_the_word_nothing_happens() -> None:
    """Checking is free."""
    Halt().check()


def test_a_sleep_ends_with_the_word() -> None:
    """A pause before another try must not hold up the end."""
    halt = Halt()
    threading.Timer(0.05, halt.ask, [TimedOut("late")]).start()
    began = time.monotonic()
    halt.sleep(30)

    assert time.monotonic() - began < 20
