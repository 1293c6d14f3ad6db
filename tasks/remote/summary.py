"""Owns what is said of many hosts in the end: the table, worst first, the exit status, the records for programs."""

import base64
from collections.abc import Sequence

from tasks.console import table, visible
from tasks.errors import RemoteExit
from tasks.remote.fanout import CANCELLED, UNKNOWN, Outcome
from tasks.remote.gathering import Pair

# From the worst on, as the README has it; a remote command's own status is the mildest of failures.
WORST_FIRST = (70, 64, 77, 78, 74, 69, 75)
MOST_ROWS = 24  # a table of more hosts has only those that had their turn and failed


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """Return the one status of a run: the worst kind of failure, else the highest remote status, else 0.

    Hosts that had no turn say nothing: why they had none is another host's failure, or Ctrl-C.
    """
    failures = [outcome.failure for outcome in outcomes if outcome.failure and outcome.failure.cause != CANCELLED]
    own = {failure.exit_status for failure in failures if not isinstance(failure, RemoteExit)}
    for status in WORST_FIRST:
        if status in own:
            return status
    return max((failure.ours for failure in failures if isinstance(failure, RemoteExit)), default=0)


def failed(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the hosts that were not done, in their order: those for the next run."""
    return [outcome.name for outcome in outcomes if outcome.failure]


def as_table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the summary for people: a row for a host, worst first, and a last line with the counts."""
    shown = [outcome for outcome in outcomes if len(outcomes) <= MOST_ROWS or (outcome.failure and outcome.tries)]
    rows = [["host", "result", "seconds", "why"], *map(_row, sorted(shown, key=_badness))]
    lines = [visible(table(rows))] if shown else []
    return "\n".join([*lines, _counts(outcomes, seconds)])


def state(outcome: Outcome) -> str:
    """Return one word or two for how a host's turn ended."""
    failure = outcome.failure
    if failure is None:
        return "ok"
    if isinstance(failure, RemoteExit):
        return f"SIG{failure.signal}" if failure.signal else f"exit {failure.exit_status}"
    return failure.cause


def as_record(outcome: Outcome, pair: Pair | None) -> dict[str, object]:
    """Return one host for programs; its outputs if they were kept."""
    failure = outcome.failure
    remote = isinstance(failure, RemoteExit)
    return {
        "host": outcome.name,
        "ok": failure is None,
        "exit_status": failure.exit_status if remote and failure else None if failure else 0,
        "signal": (failure.signal or None) if isinstance(failure, RemoteExit) else None,
        "cause": failure.cause if failure else None,
        "error": failure.what if failure else None,
        "why": (failure.why or None) if failure else None,
        "next": (failure.next_step or None) if failure else None,
        "seconds": round(outcome.seconds, 3),
        "tries": outcome.tries,
        **(_outputs(pair) if pair else {}),
    }


def counts(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Return how many hosts are done, failed, cancelled, and how many nobody knows of."""
    causes = [outcome.failure.cause if outcome.failure else "" for outcome in outcomes]
    numbers = {"done": causes.count(""), "cancelled": causes.count(CANCELLED), "unknown": causes.count(UNKNOWN)}
    return {"hosts": len(causes), **numbers, "failed": len(causes) - sum(numbers.values())}


def _outputs(pair: Pair) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, kept in (("stdout", pair.out), ("stderr", pair.err)):
        content = b"".join(kept.pieces())
        try:
            fields[name] = content.decode()
        except UnicodeDecodeError:
            # For people; the bytes themselves stand beside it.
            fields[name] = content.decode(errors="backslashreplace")
            fields[f"{name}_base64"] = base64.b64encode(content).decode()
    return fields


def _row(outcome: Outcome) -> list[str]:
    failure = outcome.failure
    why = "" if failure is None or isinstance(failure, RemoteExit) else " ".join(failure.sentence.split())
    tries = f" ({outcome.tries} tries)" if outcome.tries > 1 else ""
    return [outcome.name, state(outcome), f"{outcome.seconds:.1f}", why + tries]


def _badness(outcome: Outcome) -> tuple[int, int, float]:
    failure = outcome.failure
    if failure is None:
        return (len(WORST_FIRST) + 2, 0, -outcome.seconds)
    if failure.cause == CANCELLED:
        return (len(WORST_FIRST) + 1, 0, 0.0)
    if isinstance(failure, RemoteExit):
        return (len(WORST_FIRST), -failure.exit_status, -outcome.seconds)
    order = WORST_FIRST.index(failure.exit_status) if failure.exit_status in WORST_FIRST else 0
    return (order, 0, -outcome.seconds)


def _counts(outcomes: Sequence[Outcome], seconds: float) -> str:
    numbers = counts(outcomes)
    said = [f"{numbers['done']} of {numbers['hosts']} done"]
    said += [f"{numbers[name]} {name}" for name in ("failed", "unknown", "cancelled") if numbers[name]]
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    last = f"; slowest {slowest.name} {slowest.seconds:.1f} s" if len(outcomes) > 1 else ""
    return f"{', '.join(said)} in {seconds:.1f} s{visible(last)}"
