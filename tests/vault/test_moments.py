"""Moments of a server and of bw: how far apart, how long ago, and what is none."""

import pytest

from tasks.vault import moments

EARLIER, LATER = "2026-11-24T15:04:05.25Z", "2026-11-24T16:04:06+00:00"


def test_seconds_lie_between_two_moments_whichever_comes_first() -> None:
    assert moments.seconds_between(EARLIER, LATER) == 3600.75
    assert moments.seconds_between(LATER, EARLIER) == -3600.75


def test_now_has_just_been() -> None:
    assert 0 <= moments.age(moments.now()) < 20
    assert moments.age(EARLIER) > 3600


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-24T15:04:05"])
def test_what_is_no_moment_is_not_long_ago(text: str) -> None:
    """A moment without a zone is none: it could be anybody's."""
    assert moments.seconds_between(text, LATER) == moments.seconds_between(EARLIER, text) == moments.age(text) == 0
