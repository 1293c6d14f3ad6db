"""Owns the comparison of one host: the suite beside what people would type by hand, interleaved; ratios count."""

import filecmp
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmark import bulk
from benchmark.measuring import Measured, measure
from benchmark.peers import invoke
from benchmark.place import HOST, TAILNET, Comparison, Place, Side, made
from tasks import console, process, settings
from tasks.errors import Failure, Unavailable
from tasks.secret import Secret

DEADLINE = 300.0  # seconds for one run of anything measured here
OUTPUT = f"head -c {100_000_000} /dev/zero"


@dataclass(frozen=True)
class Outcome:
    """What was measured: medians in seconds, the largest resident size of ours in bytes, whether it is in bounds."""

    name: str
    ours: float
    theirs: float
    bound: str
    kept: bool
    memory: int


def run(runs: int) -> list[Outcome]:
    """Make every comparison on a lab of its own, with `runs` counted runs of each side."""
    with made() as place:
        bulk.write_data(place)
        compared = [*_comparisons(place), *bulk.comparisons(place)]
        outcomes = [_compare(each, runs) for each in compared]
        return [*outcomes, _refusal(place, runs)]


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes for people."""
    return console.table([("what", "ours", "by hand", "ratio", "bound", "memory", "kept"), *map(_row, outcomes)])


def _comparisons(place: Place) -> list[Comparison]:
    """Return what is compared, in the order of a person's day: list, up, status, run."""
    from tasks.lab import installed, lab_of

    key = place.folder / "key"
    key.write_text(installed(lab_of(TAILNET)).make_key("good").reveal())
    key.chmod(0o600)
    listed = place.inv("--list")
    logged_out = _logged_out(place)
    on_host = f"--host={HOST}"
    return [
        Comparison("inv --list; a one-task file", listed, place.one_task(), 1.25),
        Comparison(
            "net.up, cold; shell steps", place.inv("net.up", before=logged_out), place.shell_steps(key), 1.0, 0.35
        ),
        Comparison("net.up when up; inv --list", place.inv("net.up"), listed, 1.7),
        Comparison("net.status; inv --list", place.inv("net.status"), listed, 1.7),
        Comparison(
            "run on a host; ssh and nc", place.inv("remote.run", on_host, "--command=true"), place.ssh("true"), 1.6
        ),
        Comparison(
            "100 MB of output; ssh and nc",
            place.inv("remote.run", on_host, f"--command={OUTPUT}"),
            place.ssh(OUTPUT),
            1.5,
        ),
    ]


def _logged_out(place: Place) -> Callable[[], None]:
    """Return the step before a cold start: the daemon ended, the node's key gone, the vault as it is."""

    def leave() -> None:
        is_up = process.run(*invoke(), "net.status", deadline=DEADLINE, environment=place.environment).exit_status == 0
        if is_up:
            _run(place.inv("net.down", "--logout"))

    return leave


def _refusal(place: Place, runs: int) -> Outcome:
    """Measure from a refused key's Enter to the next prompt, in our own process."""
    from tasks.connecting import bring_up

    console.step("measuring: refused key to next prompt")
    asked: list[float] = []

    def ask(_prompt: str) -> Secret:
        asked.append(time.perf_counter())
        if len(asked) > runs:
            raise EOFError
        return Secret(f"hskey-auth-wrong-{len(asked)}")

    _logged_out(place)()
    with suppress(Failure):
        bring_up(settings.load({**place.environment, "TS_AUTHKEY": "hskey-auth-wrong"}), ask)
    gaps = [after - before for before, after in pairwise(asked)]
    median = statistics.median(gaps)
    return Outcome("refused key to next prompt", median, median, "≤ 0.3 s", median <= 0.3, 0)


def _compare(comparison: Comparison, runs: int) -> Outcome:
    """Run both sides in turn, so that the machine's moods meet both alike; the first round only warms up."""
    console.step(f"measuring: {comparison.name}")
    ours, theirs = [], []
    for _ in range(1 if comparison.once else runs + 1):
        ours.append(_run(comparison.ours))
        theirs.append(_run(comparison.theirs))
        _check_same(comparison)
    counted = slice(None if comparison.once else 1, None)
    our_time = statistics.median(each.seconds for each in ours[counted])
    their_time = statistics.median(each.seconds for each in theirs[counted])
    memory = max(each.memory for each in ours)
    kept = _keeps(comparison, our_time, their_time, memory)
    return Outcome(comparison.name, our_time, their_time, _bound(comparison), kept, memory)


def _keeps(comparison: Comparison, our_time: float, their_time: float, memory: int) -> bool:
    is_lean = comparison.most_memory is None or memory < comparison.most_memory
    most_time = None if comparison.ratio is None else comparison.ratio * their_time + comparison.extra
    return is_lean and (most_time is None or our_time <= most_time)


def _bound(comparison: Comparison) -> str:
    time_bound = f"≤ {comparison.ratio:g} x" if comparison.ratio is not None else ""
    extra = f"+ {comparison.extra:g} s" if comparison.extra else ""
    memory = f"< {comparison.most_memory / 1e6:.0f} MB" if comparison.most_memory else ""
    return " ".join(filter(None, (time_bound, extra, memory)))


def _check_same(comparison: Comparison) -> None:
    """Fail when what came of the two sides is not the same: fast and wrong is no result."""
    first, *others = comparison.same or (Path(),)
    for other in others:
        if not filecmp.cmp(first, other, shallow=False):
            raise Unavailable(f"{comparison.name!r} is not right", why=f"{first.name} and {other.name} differ")


def _run(side: Side) -> Measured:
    side.before()
    measured = measure(
        side.argv, environment=side.environment, deadline=DEADLINE, folder=side.folder, output=side.output
    )
    if measured.exit_status != 0:
        raise Unavailable(f"{' '.join(side.argv[-2:])!r} failed in the benchmark", why=measured.complaint)
    return measured


def _row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.name,
        f"{outcome.ours:.3f} s",
        f"{outcome.theirs:.3f} s",
        f"{outcome.ours / outcome.theirs:.2f}",
        outcome.bound,
        f"{outcome.memory / 1e6:.0f} MB",
        "yes" if outcome.kept else "NO",
    )
