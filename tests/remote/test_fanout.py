"""Many hosts: as many at once as allowed, each with its deadline, each with an end."""

import os
import signal
import threading
import time

import pytest

from tasks.errors import Failure, Fleeting, Refused, RemoteExit, TimedOut, Unavailable, UsageFailure
from tasks.remote import fanout
from tasks.remote.fanout import (
    CANCELLED,
    INTERRUPTED_GRACE,
    TIDYING,
    UNKNOWN,
    Event,
    Limits,
    Outcome,
    Results,
    Started,
    Turn,
)
from tests.remote.conftest import threads

HOSTS = [f"host{number}" for number in range(12)]
QUICKLY = 20.0  # seconds; far below the thirty that a host here may hang, and above what a busy machine needs


def run(work: fanout.Work, limits: Limits | None = None, names: list[str] = HOSTS) -> Results:
    """Run it, and hear nothing."""
    return fanout.run(names, work, limits or Limits(), lambda _: None)


def causes(results: Results) -> dict[str, str]:
    """Return what each host came to, by its cause."""
    return {each.name: each.failure.cause if each.failure else "ok" for each in results.outcomes}


def test_every_host_has_one_outcome_in_the_order_given() -> None:
    """And an event for its start before that for its end."""
    heard: list[Event | None] = []
    results = fanout.run(HOSTS, lambda _: None, Limits(forks=3), heard.append)

    assert [outcome.name for outcome in results.outcomes] == HOSTS
    assert all(outcome.failure is None for outcome in results.outcomes)
    for name in HOSTS:
        kinds = [type(event) for event in heard if event and event.name == name]
        assert kinds == [Started, Outcome]


def test_no_more_hosts_run_at_once_than_forks() -> None:
    """Nor are there more threads than that, besides our own."""
    most, all_there = [], threading.Barrier(4)
    before = threads()

    def work(_: Turn) -> None:
        all_there.wait(10)  # nobody goes on before four are there
        most.append(len(threads() - before))
        all_there.wait(10)

    results = run(work, Limits(forks=4))

    assert set(causes(results).values()) == {"ok"}
    assert max(most) == 4


def test_fewer_hosts_connect_at_once_than_run() -> None:
    """The proxy gives a dial five seconds, however many there are."""
    connecting: set[str] = set()
    most, all_there = [], threading.Barrier(6)

    def work(turn: Turn) -> None:
        with turn.connecting():
            connecting.add(turn.name)
            all_there.wait(10)  # nobody goes on before six are there
            most.append(len(connecting))
            all_there.wait(10)
            connecting.discard(turn.name)

    results = run(work, Limits(forks=8))

    assert set(causes(results).values()) == {"ok"}
    assert max(most) == 6


def test_a_failure_is_that_hosts_alone() -> None:
    """Others are untouched."""

    def work(turn: Turn) -> None:
        if turn.name == "host3":
            raise Refused("no")

    results = run(work)

    assert causes(results) == {name: "refused" if name == "host3" else "ok" for name in HOSTS}


def test_a_bug_is_told_as_one() -> None:
    """A host whose thread died does not look like one that hangs."""
    results = run(lambda _: 1 / 0, names=["a"])  # type: ignore[arg-type]

    assert str(results.outcomes[0].failure) == "a bug in the Platform Manager: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(("retries", "tries"), [(0, 1), (2, 3)])
def test_what_failed_before_the_command_started_is_tried_again_as_often_as_asked(retries: int, tries: int) -> None:
    """Not more often."""

    def work(_: Turn) -> None:
        raise Unavailable("not there")

    results = run(work, Limits(retries=retries), ["a"])

    assert results.outcomes[0].tries == tries


def test_a_fleeting_failure_is_tried_again_unasked() -> None:
    """No byte of SSH had been sent, or the server was busy: the next try most likely succeeds."""
    tries: list[str] = []

    def work(turn: Turn) -> None:
        tries.append(turn.name)
        if len(tries) < 3:
            raise Fleeting("general failure")

    results = run(work, names=["a"])

    assert (causes(results), results.outcomes[0].tries) == ({"a": "ok"}, 3)


@pytest.mark.parametrize("failure", [Refused("no"), UsageFailure("no such name")])
def test_a_refusal_is_not_tried_again(failure: Failure) -> None:
    """It would only be refused again, or lock somebody out."""

    def work(_: Turn) -> None:
        raise failure

    assert run(work, Limits(retries=5), ["a"]).outcomes[0].tries == 1


@pytest.mark.parametrize("failure", [Fleeting("lost"), RemoteExit(75), TimedOut("late")])
def test_what_failed_after_the_command_started_is_never_tried_again(failure: Failure) -> None:
    """It may have done its work."""

    def work(turn: Turn) -> None:
        turn.start()
        raise failure

    results = run(work, Limits(retries=5), ["a"])

    assert (results.outcomes[0].tries, results.outcomes[0].failure) == (1, failure)


def test_fail_fast_starts_no_further_host() -> None:
    """Those that had no turn are told as such."""

    def work(turn: Turn) -> None:
        if turn.name == "host1":
            raise RemoteExit(3)

    results = run(work, Limits(forks=1, fail_fast=True))

    assert list(causes(results).values()) == ["ok", "remote", *[CANCELLED] * 10]
    assert str(results.outcomes[-1].failure) == "host11 was not tried: another host failed before its turn"


def test_a_thousand_hosts_are_not_tried_without_ado() -> None:
    """No call goes deeper with each of them."""

    def work(_: Turn) -> None:
        raise RemoteExit(1)

    results = run(work, Limits(forks=1, fail_fast=True), [str(number) for number in range(3000)])

    assert len(results.outcomes) == 3000


def hang(turn: Turn) -> None:
    """Wait until somebody asks for an end, as a command's follower does."""
    turn.start()
    woken = threading.Event()
    with turn.halt.waking(woken.set):
        woken.wait(30)
    turn.halt.check()


def test_a_host_that_takes_too_long_is_ended_alone() -> None:
    """Its deadline is its own."""

    def work(turn: Turn) -> None:
        if turn.name == "host5":
            hang(turn)

    began = time.monotonic()
    results = run(work, Limits(timeout=2.0))

    assert time.monotonic() - began < QUICKLY
    assert causes(results) == {name: "timed-out" if name == "host5" else "ok" for name in HOSTS}
    assert str(results.outcomes[5].failure) == "host5 was not done within 2 s"


def test_each_host_has_its_whole_time() -> None:
    """However late its turn came."""
    results = run(lambda turn: turn.halt.sleep(0.5), Limits(forks=2, timeout=2.5))

    assert set(causes(results).values()) == {"ok"}


def test_a_host_that_does_not_even_end_is_given_up() -> None:
    """Its command may still run; the try before is counted."""
    release = threading.Event()

    def work(turn: Turn) -> None:
        if turn.tries == 1:
            raise Fleeting("general failure")
        turn.start()
        release.wait(30)

    results = run(work, Limits(timeout=1.5), ["a"])
    release.set()

    assert (causes(results), results.outcomes[0].tries) == ({"a": UNKNOWN}, 2)
    assert str(results.outcomes[0].failure) == "a was not done within 1.5 s: its command may still run there"


def interrupt(number: int = signal.SIGINT) -> None:
    """Send this process a signal. Only from a host's work: as long as that goes on somebody hears it who minds."""
    os.kill(os.getpid(), number)


def test_what_an_interruption_may_take_is_less_than_two_seconds() -> None:
    """A person waits."""
    assert INTERRUPTED_GRACE + TIDYING < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_end_what_runs_and_start_nothing_more(number: signal.Signals) -> None:
    """Every host has an end."""

    def work(turn: Turn) -> None:
        if turn.name == "host0":
            return
        if turn.name == "host2":
            interrupt(number)
        hang(turn)

    began = time.monotonic()
    results = run(work, Limits(forks=2))

    assert results.interrupted == number
    assert time.monotonic() - began < QUICKLY
    assert causes(results) == {name: "ok" if name == "host0" else CANCELLED for name in HOSTS}
    assert str(results.outcomes[2].failure) == "host2 was interrupted"
    assert str(results.outcomes[9].failure) == "host9 was not tried: interrupted before its turn"


def test_ctrl_c_waits_for_no_host_that_does_not_answer() -> None:
    """What became of its command nobody knows."""
    release = threading.Event()

    def work(turn: Turn) -> None:
        turn.start()
        interrupt()
        release.wait(30)

    began = time.monotonic()
    results = run(work, names=["a"])
    taken = time.monotonic() - began
    release.set()

    assert taken < QUICKLY
    assert causes(results) == {"a": UNKNOWN}


def test_a_host_that_was_given_up_may_still_put_away_what_it_was_writing() -> None:
    """Our end would be its thread's. A busy machine may have no time for that once; nobody waited for, it never has."""
    assert any(puts_away_after_it_was_given_up() for _ in range(5))


def puts_away_after_it_was_given_up() -> bool:
    """Return whether a host's thread got that far before the end of the run."""
    given_up, tidy = threading.Event(), threading.Event()

    def work(turn: Turn) -> None:
        turn.start()
        interrupt()
        given_up.wait(30)
        time.sleep(0.02)  # it takes a moment, in which the caller's thread goes on
        tidy.set()

    def tell(event: Event | None) -> None:
        if isinstance(event, Outcome):
            given_up.set()

    results = fanout.run(["a"], work, Limits(), tell)
    in_time = tidy.is_set()

    assert causes(results) == {"a": UNKNOWN}
    return in_time


def test_the_second_ctrl_c_ends_at_once() -> None:
    """As everywhere."""
    release = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def work(turn: Turn) -> None:
        interrupt()
        turn.halt.sleep(10)
        if turn.halt.failure:  # the first was heard
            interrupt()
        release.wait(30)

    with pytest.raises(KeyboardInterrupt):
        run(work, names=["a"])
    release.set()

    assert signal.getsignal(signal.SIGINT) is before


def test_nobody_reading_our_output_ends_it_all() -> None:
    """It is no host's failure."""

    def work(turn: Turn) -> None:
        if turn.name == "host1":
            raise BrokenPipeError
        hang(turn)

    with pytest.raises(BrokenPipeError):
        run(work, Limits(forks=2))


def test_the_clock_ticks_only_for_whoever_wants_it() -> None:
    """None is heard while nothing happens."""
    heard: list[Event | None] = []
    ticked = threading.Event()

    def tell(event: Event | None) -> None:
        heard.append(event)
        if event is None:
            ticked.set()

    fanout.run(["a"], lambda _: ticked.wait(10) and None, Limits(), tell, tick=0.01)  # type: ignore[arg-type]

    assert None in heard


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("", "", ""), Limits(32, None, 0)),
        (("4", "1.5m", "2"), Limits(4, 90.0, 2)),
    ],
)
def test_limits_are_read_from_options(texts: tuple[str, str, str], expected: Limits) -> None:
    """An empty timeout is none."""
    assert fanout.limits(*texts, fail_fast=False) == expected


def test_a_bad_limit_is_a_usage_error() -> None:
    """It names the option."""
    with pytest.raises(UsageFailure, match="--forks: expected a whole number from 1, got '0'"):
        fanout.limits("0", "", "0", fail_fast=False)
