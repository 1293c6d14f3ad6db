"""Owns the moments that a server and bw tell (RFC 3339), and how far apart they are."""

from datetime import UTC, datetime


def now() -> str:
    """Return this moment by our clock."""
    return datetime.now(UTC).isoformat()


def age(moment: str) -> float:
    """Return how many seconds ago it was by our clock, negative if it is still to come; 0 for what is no moment."""
    return seconds_between(moment, now())


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds between two moments; 0 where one of them is none, so that nobody takes it for long ago."""
    try:
        return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()
    except (ValueError, TypeError):
        return 0.0
