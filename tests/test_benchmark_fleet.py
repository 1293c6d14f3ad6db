"""The comparison over many hosts counts what was lost, and says which bounds are missed."""

import json
import sys
from pathlib import Path

import pytest

from tasks.benchmark_fleet import (
    BEGIN,
    END,
    OURS,
    YARDSTICK,
    Outcome,
    Tool,
    _measured,
    _outcome,
    as_markdown,
    missed,
    write_into,
)
from tasks.errors import Unavailable
from tests.conftest import Inv


def outcome(name: str, seconds: float = 1.0, cpu: float = 1.0, memory: int = 50_000_000, lost: int = 0) -> Outcome:
    """Return what a tool took."""
    return Outcome(name, 30, 3, seconds, cpu, memory, lost)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (outcome(OURS), []),
        (outcome(OURS, seconds=1.2), ["time 1.20 x asyncssh"]),
        (outcome(OURS, cpu=2.5), ["CPU 2.50 x asyncssh"]),
        (outcome(OURS, memory=130_000_000, lost=1), ["1 hosts lost", "memory 130 MB"]),
    ],
)
def test_what_is_not_kept_is_named(ours: Outcome, said: list[str]) -> None:
    """With its figure."""
    assert missed([ours, outcome(YARDSTICK)]) == said


def test_a_run_without_ours_keeps_nothing() -> None:
    """A benchmark of others alone is not passed."""
    assert missed([outcome(YARDSTICK)]) == ["our own command did not run"]


def test_a_tools_hosts_are_counted_by_what_they_say() -> None:
    """Not by what the tool claims."""
    tool = Tool("two", (sys.executable, "-c", "print('a: reached-2\\nb: reached-2\\nfailed: c')"), {})
    runs = [_measured(tool), _measured(tool)]

    assert _outcome(tool, 3, runs).lost == 2


def test_the_table_has_the_fastest_first_and_ours_in_bold(tmp_path: Path) -> None:
    """It takes its place in the README."""
    table = as_markdown([outcome("slow", 2.0), outcome(OURS, 0.5, lost=1)])
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(readme, [table])

    assert readme.read_text() == (
        f"before\n{BEGIN}\n\n"
        "| 30 hosts, 3 runs, medians | time | CPU | largest process | hosts lost |\n"
        "|---|---|---|---|---|\n"
        "| **ours** | 0.50 s | 1.00 s | 50 MB | 1 of 90 |\n"
        "| slow | 2.00 s | 1.00 s | 50 MB | 0 of 90 |\n"
        f"\n{END}\nafter\n"
    )


def test_a_readme_without_a_place_is_left_as_it_is(tmp_path: Path) -> None:
    """It is not written to its end."""
    readme = tmp_path / "README.md"
    readme.write_text("nothing")

    with pytest.raises(Unavailable, match=r"README\.md has no place for the table"):
        write_into(readme, ["x"])
    assert readme.read_text() == "nothing"


@pytest.mark.real
@pytest.mark.timeout(240)
def test_bench_compares_with_real_tools(inv: Inv, real_programs: dict[str, str]) -> None:
    """Eight hosts, each tool once; whether bounds hold on a busy machine is the benchmark's own exit status."""
    ended = inv("bench", "--hosts=8", "--runs=1", "--json", environment=real_programs, deadline=200)

    assert ended.exit_status in {0, 70}, ended.stderr
    outcomes = {each["name"]: each for each in json.loads(ended.stdout)}
    assert {OURS, YARDSTICK} <= set(outcomes)
    assert outcomes[OURS]["lost"] == 0
