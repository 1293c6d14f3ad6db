"""Owns the comparison over many hosts, or one: our command and its peers in turn, the table, the bounds.

All go through the same SOCKS5 port to the same sshd, in an order that changes each round, so that the machine's moods
meet all alike.
"""

import random
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmark.measuring import Measured, measure
from benchmark.peers import FABRIC, OURS, PSSH, SAID, UNCHECKED, YARDSTICK, Ground, Tool, invoke, write_files
from benchmark.place import lab_with
from tasks import console, environment, process, settings
from tasks.errors import Unavailable

NODES = ("node1", "node2", "node3", "node4")
DEADLINE = 600.0  # seconds for one run of one tool
LOCK = settings.ROOT / "requirements-bench.lock"
# What ours must keep, beside the yardstick in the same run; the others must be slower.
MOST_TIME, MOST_CPU, MOST_MEMORY = 1.1, 2.0, 120e6
BEGIN, END = "<!-- made by `inv bench --hosts=…` -->", "<!-- end -->"


@dataclass(frozen=True)
class Run:
    """One run of one tool: what it took, and how many hosts answered."""

    took: Measured
    reached: int


@dataclass(frozen=True)
class Outcome:
    """What one tool took: medians of seconds and CPU seconds, its largest process in bytes.

    A run that lost hosts had less to do: it counts for the medians only where each of the tool's runs lost some.
    `lost` has the hosts lost in each run; `threads` are the most that its first process had, `most_threads` what ours
    may have.
    """

    name: str
    hosts: int
    seconds: float
    cpu: float
    memory: int
    lost: tuple[int, ...]
    threads: int
    most_threads: int


def run(count: int, runs: int, forks: int) -> list[Outcome]:
    """Compare on a lab of its own with so many hosts; `runs` counted runs of each tool, and one before to warm up."""
    with _ground(count, forks) as ground:
        tools = [tool for tool in ground.tools() if _works(tool, count)]
        if PSSH not in {tool.name for tool in ground.tools()}:
            console.step(f"left out: {PSSH}, which the distribution has as a package and is not installed")
        if not tools:
            raise Unavailable("no tool reached any host", next_step="look at what each said above")
        rounds = [_round(tools) for _ in range(runs)]
    return [_outcome(tool.name, count, forks, [each[tool.name] for each in rounds]) for tool in tools]


def missed(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the bounds that ours did not keep."""
    ours = next((each for each in outcomes if each.name == OURS), None)
    if ours is None:
        return ["our own command did not run"]
    kept = {
        f"{sum(ours.lost)} hosts lost": not any(ours.lost),
        f"memory {ours.memory / 1e6:.0f} MB": ours.memory < MOST_MEMORY,
        f"{ours.threads} threads": ours.threads <= ours.most_threads,
    }
    for other in outcomes:
        if other.name == YARDSTICK and ours.hosts > 1:
            kept[f"CPU {ours.cpu / other.cpu:.2f} x {other.name}"] = ours.cpu <= MOST_CPU * other.cpu
        ratio = ours.seconds / other.seconds
        kept[f"time {ratio:.2f} x {other.name}"] = ratio <= _most_time(other.name, ours.hosts)
    return [what for what, is_kept in kept.items() if not is_kept]


def _most_time(name: str, hosts: int) -> float:
    """Return how much longer than that tool ours may take: one host is held against Fabric alone."""
    if name in {OURS, UNCHECKED} or (hosts == 1 and name != FABRIC):
        return float("inf")
    return MOST_TIME if name == YARDSTICK else 1.0


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the table as the README has it, the fastest first."""
    count, runs = outcomes[0].hosts, len(outcomes[0].lost)
    lines = [
        f"| {_hosts(count)}, {runs} runs, medians | time | CPU | largest process | hosts lost |",
        "|---|---|---|---|---|",
    ]
    for each in sorted(outcomes, key=lambda outcome: outcome.seconds):
        name = f"**{each.name}**" if each.name == OURS else each.name
        numbers = f"{each.seconds:.2f} s | {each.cpu:.2f} s | {each.memory / 1e6:.0f} MB"
        lines.append(f"| {name} | {numbers} | {sum(each.lost)} of {count * runs} |")
    return "\n".join(lines)


def as_sentence(outcomes: Sequence[Outcome]) -> str:
    """Return what is said of ours beside the table."""
    return "\n".join(
        f"{_hosts(each.hosts)}, {each.name}: at most {each.threads} threads ({each.most_threads} are allowed);"
        f" hosts lost in each run: {', '.join(map(str, each.lost))}"
        for each in outcomes
        if each.name == OURS
    )


def write_into(readme: Path, tables: Sequence[str]) -> None:
    """Put the tables between the marks in the README."""
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Unavailable(f"{readme.name} has no place for the table", why=f"expected {BEGIN} and {END}")
    middle = "\n\n".join(tables)
    readme.write_text(f"{before}{BEGIN}\n\n{middle}\n\n{END}{after}")


@contextmanager
def _ground(count: int, forks: int) -> Iterator[Ground]:
    peers = environment.ensure(LOCK, cache=settings.load().cache_folder, say=console.step)
    with lab_with(NODES) as base:
        hosts = base.lab.add_fleet(NODES, count)
        ground = Ground(base.folder, base.tailnet, peers, forks, base.environment, hosts)
        write_files(ground)
        up = process.run(*invoke(), "net.up", deadline=DEADLINE, environment=base.environment, folder=settings.ROOT)
        _check(up)
        yield ground


def _works(tool: Tool, count: int) -> bool:
    """Run it once; a tool that reaches nobody is left out, with its own words why."""
    console.step(f"warming up: {tool.name}")
    warm = _measured(tool)
    if warm.reached == 0:
        console.step(f"  left out: it reached none of {count} hosts ({warm.took.complaint or warm.took.exit_status})")
    return warm.reached > 0


def _round(tools: Sequence[Tool]) -> dict[str, Run]:
    """Run each once, in an order that no other round has: who follows the heaviest finds the machine still busy."""
    return {tool.name: _measured(tool) for tool in random.sample(tools, len(tools))}


def _measured(tool: Tool) -> Run:
    """Run it, and count the hosts that answered."""
    with tempfile.NamedTemporaryFile() as output:
        into = Path(output.name)
        took = measure(tool.argv, environment=tool.environment, deadline=DEADLINE, folder=settings.ROOT, output=into)
        return Run(took, into.read_bytes().count(SAID + b"2"))


def _outcome(name: str, count: int, forks: int, runs: Sequence[Run]) -> Outcome:
    whole = [each for each in runs if each.reached >= count] or runs
    return Outcome(
        name,
        count,
        statistics.median(each.took.seconds for each in whole),
        statistics.median(each.took.cpu for each in whole),
        max(each.took.memory for each in runs),
        tuple(count - min(count, each.reached) for each in runs),
        max(each.took.threads for each in runs),
        2 * forks + 8,
    )


def _hosts(count: int) -> str:
    return f"{count} hosts" if count > 1 else "one host"


def _check(ended: process.Completed) -> None:
    if ended.exit_status != 0:
        raise Unavailable("the benchmark's network did not come up", why=ended.complaint)
