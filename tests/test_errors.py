"""A failure is a sentence and an exit status; README's table is the same list."""

import errno
import inspect

import pytest

from tasks import errors
from tasks.errors import ConfigurationFailure, Failure, RemoteExit, Unavailable, reason

KINDS = {
    "Failure": (70, "bug"),
    "UsageFailure": (64, "usage"),
    "Unavailable": (69, "unavailable"),
    "Fleeting": (69, "unavailable"),
    "NotSaved": (74, "not-saved"),
    "TimedOut": (75, "timed-out"),
    "Busy": (75, "busy"),
    "Refused": (77, "refused"),
    "ConfigurationFailure": (78, "configuration"),
}


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (Unavailable("no proxy"), "no proxy"),
        (Unavailable("no proxy", why="connection refused"), "no proxy: connection refused"),
        (Unavailable("no proxy", next_step="`inv net.up`"), "no proxy\n  next: `inv net.up`"),
        (Unavailable("no proxy", why="refused", next_step="`inv net.up`"), "no proxy: refused\n  next: `inv net.up`"),
    ],
)
def test_a_failure_reads_as_what_why_and_next(failure: Failure, text: str) -> None:
    """One line, with the reason behind a colon, and the next step on a line of its own."""
    assert str(failure) == text


def test_every_kind_has_its_exit_status_and_cause() -> None:
    """The whole table, so that a new kind is added here and in the README too."""
    kinds = {
        name: (kind.exit_status, kind.cause)
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Failure) and kind is not RemoteExit
    }

    assert kinds == KINDS


def test_the_status_of_a_remote_command_becomes_ours() -> None:
    """Whatever it is, 0 to 255; one that is higher stays a failure."""
    ended = RemoteExit(7)

    assert (ended.exit_status, ended.ours, ended.cause) == (7, 7, "remote")
    assert [RemoteExit(status).ours for status in (255, 256, 3221225786)] == [255, 255, 255]


def test_a_failure_keeps_its_parts_for_programs() -> None:
    """`--json` gives them one by one."""
    failure = ConfigurationFailure("what", why="why", next_step="next")

    assert (failure.what, failure.why, failure.next_step) == ("what", "why", "next")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOENT, "No such file or directory", "/x"), "no such file or directory"),
        (OSError("the proxy is Odd"), "the proxy is odd"),
        (OSError(), "oserror"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "it is not UTF-8 text"),
    ],
)
def test_the_reason_of_an_error_is_its_words_in_small_letters(error: Exception, words: str) -> None:
    """Without number and path: what failed names the path already."""
    assert reason(error) == words
