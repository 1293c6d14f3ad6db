"""Talks with small shell programs that ask, through `process.converse`."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import process, running
from tasks.errors import TimedOut
from tests.waiting import until


def converse(script: str, reply: Callable[[bytes], bytes], deadline: float = 10) -> process.Completed:
    """Talk to a small shell program."""
    return process.converse("sh", "-c", script, deadline=deadline, environment={"PATH": "/usr/bin:/bin"}, reply=reply)


def test_a_program_that_asks_is_answered_while_it_runs() -> None:
    """Question by question, and what it prints on stdout comes whole, though it fills the pipe twice meanwhile."""
    answers = {b"name? ": b"Ann\n", b"name? age? ": b"7\n"}
    ended = converse(
        "printf 'name? ' >&2; read name; head -c 200000 /dev/zero; printf 'age? ' >&2; read age; echo $name $age",
        lambda said: answers.get(said, b""),
    )

    assert (ended.exit_status, ended.stderr) == (0, b"name? age? ")
    assert ended.stdout == b"\0" * 200_000 + b"Ann 7\n"


def test_the_time_that_an_answer_takes_is_not_the_programs() -> None:
    """A person may type for longer than the program may take; it still has a deadline."""

    def slowly(said: bytes) -> bytes:
        time.sleep(5.5)  # longer than the deadline: the subject
        return b"yes\n"

    assert converse("printf '? ' >&2; read answer; echo $answer", slowly, deadline=5).text == "yes\n"
    with pytest.raises(TimedOut) as caught:
        converse("while :; do echo more >&2; sleep 0.1; done", lambda _said: b"", deadline=1)
    assert caught.value.what == "sh did not end within 1 s"


def test_a_program_that_ends_while_it_is_answered_is_no_failure_of_ours() -> None:
    """Its exit status tells."""

    def late(said: bytes) -> bytes:
        pid = int(said.split()[0])
        until(lambda: not running.identify(pid), what="end of the program")
        return b"yes\n"

    assert converse("exec <&-; echo $$ '? ' >&2; exit 4", late).exit_status == 4


def test_whoever_stops_answering_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """Such as by Ctrl-C; nothing is left that waits for an answer."""

    def stop(_said: bytes) -> bytes:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        converse(f"sleep 300 & echo $! > {tmp_path}/child; printf '? ' >&2; read answer", stop)
    child = int((tmp_path / "child").read_text())
    until(lambda: not running.identify(child), what="end of the child")
