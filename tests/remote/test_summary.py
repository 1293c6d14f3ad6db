"""What many hosts came to: the worst first, one status, records that lose nothing."""

import base64

import pytest

from tasks.errors import ConfigurationFailure, Failure, Refused, RemoteExit, TimedOut, Unavailable
from tasks.remote.fanout import CANCELLED, Outcome
from tasks.remote.gathering import Kept, Pair
from tasks.remote.summary import as_record, as_table, counts, exit_status, failed

CUT = Unavailable("b was not tried", why="interrupted before its turn", cause=CANCELLED)


def outcome(name: str, failure: Failure | None = None, seconds: float = 1.0, tries: int = 1) -> Outcome:
    """Return a host's end."""
    return Outcome(name, failure, seconds, tries)


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([None, None], 0),
        ([None, RemoteExit(3), RemoteExit(7)], 7),
        ([RemoteExit(200), TimedOut("late")], 75),
        ([TimedOut("late"), Unavailable("gone")], 69),
        ([Unavailable("gone"), ConfigurationFailure("odd"), Refused("no")], 77),
        ([Refused("no"), Failure("a bug")], 70),
        ([RemoteExit(2), CUT], 2),
        ([RemoteExit(256), None], 255),
        ([CUT], 0),
    ],
)
def test_the_worst_decides_the_status(failures: list[Failure | None], expected: int) -> None:
    """In the order that the README has."""
    assert exit_status([outcome("h", failure) for failure in failures]) == expected


def test_the_table_has_the_worst_first_and_the_counts_last() -> None:
    """Of the ok ones the slowest first."""
    outcomes = [
        outcome("fine", None, 0.5),
        outcome("slow", None, 2.0),
        outcome("three", RemoteExit(3)),
        outcome("nine", RemoteExit(137, signal="KILL")),
        outcome("gone", Unavailable("gone is offline", why="since noon"), tries=3),
        outcome("no", Refused("no", why="two\nlines\x1b[2J")),
        outcome("b", CUT, 0.0, 0),
    ]

    assert as_table(outcomes, 4.25).splitlines() == [
        "host   result       seconds  why",
        "no     refused      1.0      no: two lines\\x1b[2J",
        "gone   unavailable  1.0      gone is offline: since noon (3 tries)",
        "nine   SIGKILL      1.0",
        "three  exit 3       1.0",
        "b      cancelled    0.0      b was not tried: interrupted before its turn",
        "slow   ok           2.0",
        "fine   ok           0.5",
        "2 of 7 done, 4 failed, 1 cancelled in 4.2 s; slowest slow 2.0 s",
    ]


def test_a_host_has_one_row_whatever_is_said_of_it() -> None:
    """A second line would look like another host's."""
    assert (
        as_table([outcome("a", Refused("no\nweb9  ok"))], 1.0).splitlines()[1] == "a     refused  1.0      no web9 ok"
    )


def test_a_table_of_many_has_only_those_that_failed_in_their_turn() -> None:
    """Two hundred lines of "ok" tell nobody anything."""
    many = [outcome(f"h{number}") for number in range(200)]
    many += [outcome("bad", RemoteExit(1)), *[outcome(f"c{number}", CUT, 0.0, 0) for number in range(9)]]

    assert as_table(many, 1.0).splitlines() == [
        "host  result  seconds  why",
        "bad   exit 1  1.0",
        "200 of 210 done, 1 failed, 9 cancelled in 1.0 s; slowest h0 1.0 s",
    ]
    assert as_table([outcome("h")] * 30, 1.0).splitlines() == ["30 of 30 done in 1.0 s; slowest h 1.0 s"]


def test_failed_hosts_are_those_for_the_next_run() -> None:
    """Those that had no turn too."""
    assert failed([outcome("a"), outcome("b", CUT), outcome("c", RemoteExit(1))]) == ["b", "c"]


def test_counts_tell_what_nobody_knows_from_what_failed() -> None:
    """They add up."""
    ends = [None, RemoteExit(1), CUT, Unavailable("lost", cause="unknown")]

    assert counts([outcome("h", each) for each in ends]) == {
        "hosts": 4,
        "done": 1,
        "cancelled": 1,
        "unknown": 1,
        "failed": 1,
    }


def test_a_record_has_the_bytes_that_are_no_text_beside_what_can_be_read() -> None:
    """Nothing is lost."""
    pair = Pair(Kept(), Kept())
    pair.out(b"caf\xc3\xa9\n")
    pair.err(b"\xff\n")
    record = as_record(outcome("web", RemoteExit(137, signal="KILL"), 1.23456), pair)

    assert record == {
        "host": "web",
        "ok": False,
        "exit_status": 137,
        "signal": "KILL",
        "cause": "remote",
        "error": "the remote command was killed by SIGKILL",
        "why": None,
        "next": None,
        "seconds": 1.235,
        "tries": 1,
        "stdout": "café\n",
        "stderr": "\\xff\n",
        "stderr_base64": base64.b64encode(b"\xff\n").decode(),
    }


def test_a_record_of_a_host_that_was_not_reached_has_no_status() -> None:
    """It never had one."""
    record = as_record(outcome("web", Unavailable("gone", why="why", next_step="next")), None)

    assert (record["exit_status"], record["cause"], record["why"], record["next"]) == (
        None,
        "unavailable",
        "why",
        "next",
    )
    assert as_record(outcome("web", RemoteExit(256)), None)["exit_status"] == 256
    assert as_record(outcome("web"), None)["exit_status"] == 0
