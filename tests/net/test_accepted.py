"""A key from its acceptance on: kept once, though we are asked to end meanwhile, and whoever asked is told where."""

import os
import signal

import pytest

from tasks.interrupting import INTERRUPTIONS, Interrupted, interruptions, raise_interrupted
from tasks.net.accepted import Accepted, Save
from tasks.secret import Secret

KEY = Secret("tskey-auth-good")


def test_a_key_is_kept_once() -> None:
    kept: list[Secret] = []

    def keep(key: Secret) -> Save:
        kept.append(key)
        return lambda: "saved"

    accepted = Accepted(KEY, keep)
    assert accepted.save is None
    accepted.keep()
    accepted.keep()

    assert accepted.save is not None
    assert (accepted.save(), kept) == ("saved", [KEY])


def test_without_a_key_there_is_nothing_to_keep() -> None:
    accepted = Accepted(None, lambda _key: pytest.fail("there is none"))
    accepted.keep()

    assert accepted.save is None


@pytest.mark.parametrize("number", INTERRUPTIONS)
def test_an_interruption_waits_until_the_key_is_kept(number: signal.Signals) -> None:
    told: list[str] = []

    def keep(_key: Secret) -> Save:
        os.kill(os.getpid(), number)
        return lambda: "in the vault"

    accepted = Accepted(KEY, keep)
    with (
        pytest.raises(Interrupted),
        interruptions(raise_interrupted),
        accepted.told_when_interrupted(lambda save: save(), told.append),
    ):
        accepted.keep()

    assert told == ["in the vault"]


def test_an_interruption_before_that_is_told_nothing_of_a_key() -> None:
    told: list[str] = []
    accepted = Accepted(KEY, lambda _key: lambda: "saved")
    with pytest.raises(KeyboardInterrupt), accepted.told_when_interrupted(lambda save: save(), told.append):
        raise KeyboardInterrupt

    assert told == []
