"""The comparison over many hosts counts what was lost, and says which bounds are missed."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.fleet import (
    BEGIN,
    END,
    Outcome,
    Run,
    _measured,
    _outcome,
    as_markdown,
    as_sentence,
    missed,
    write_into,
)
from benchmark.measuring import Measured
from benchmark.peers import FABRIC, OURS, UNCHECKED, YARDSTICK, Tool
from tasks.errors import Unavailable
from tests.conftest import Inv
from tests.terminals import needs_terminals


def outcome(name: str, seconds: float = 1.0, cpu: float = 1.0, memory: int = 50_000_000, lost: int = 0) -> Outcome:
    """Return what a tool took on thirty hosts."""
    return Outcome(name, 30, seconds, cpu, memory, (0, lost, 0), 60, 68)


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (outcome(OURS), []),
        (outcome(OURS, seconds=1.2), ["time 1.20 x asyncssh"]),
        (outcome(OURS, cpu=2.5), ["CPU 2.50 x asyncssh"]),
        (outcome(OURS, memory=130_000_000, lost=1), ["1 hosts lost", "memory 130 MB"]),
        (replace(outcome(OURS), threads=69), ["69 threads"]),
    ],
)
def test_what_is_not_kept_is_named(ours: Outcome, said: list[str]) -> None:
    """With its figure."""
    assert missed([ours, outcome(YARDSTICK)]) == said


def test_ours_must_be_ahead_of_all_but_the_yardstick_and_who_checks_no_host_keys() -> None:
    """The yardstick has a tenth of its time to give."""
    others = [outcome(YARDSTICK, 0.95), outcome(UNCHECKED, 0.5), outcome("clush", 0.8), outcome("pssh", 2.0)]

    assert missed([outcome(OURS), *others]) == ["time 1.25 x clush"]


def test_for_one_host_ours_is_held_against_plain_fabric() -> None:
    """A compiled ssh for one host starts faster than any Python."""
    ours, *others = (replace(outcome(name), hosts=1) for name in (OURS, YARDSTICK, FABRIC, "ssh"))
    quick = [replace(each, seconds=0.9, cpu=0.1) for each in others]

    assert missed([ours, *others]) == []
    assert missed([ours, *quick]) == ["time 1.11 x Fabric, pooled"]


def test_a_run_without_ours_keeps_nothing() -> None:
    """A benchmark of others alone is not passed."""
    assert missed([outcome(YARDSTICK)]) == ["our own command did not run"]


def test_a_tools_hosts_are_counted_by_what_they_say() -> None:
    """Not by what the tool claims."""
    tool = Tool("two", (sys.executable, "-c", "print('a: reached-2\\nb: reached-2\\nfailed: c')"), {})
    runs = [_measured(tool), _measured(tool)]

    assert _outcome("two", 3, 32, runs).lost == (1, 1)


def test_a_run_that_lost_hosts_counts_only_where_there_is_no_other() -> None:
    """Who gives hosts up early is not fast."""
    quick, slow = (Run(Measured(0, seconds, seconds, 1, 1, ""), reached=3) for seconds in (1.0, 3.0))
    lossy = replace(quick, reached=2)

    assert _outcome("two", 3, 32, [lossy, slow, lossy]).seconds == 3.0
    assert _outcome("two", 3, 32, [lossy, lossy]).cpu == 1.0


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


def test_what_the_table_has_no_room_for_is_said_of_ours() -> None:
    """Each run by itself."""
    assert as_sentence([outcome(OURS, lost=2), outcome("slow")]) == (
        "30 hosts, ours: at most 60 threads (68 are allowed); hosts lost in each run: 0, 2, 0"
    )


def test_a_readme_without_a_place_is_left_as_it_is(tmp_path: Path) -> None:
    """It is not written to its end."""
    readme = tmp_path / "README.md"
    readme.write_text("nothing")

    with pytest.raises(Unavailable, match=r"README\.md has no place for the table"):
        write_into(readme, ["x"])
    assert readme.read_text() == "nothing"


@needs_terminals  # Ansible's raw wants one, and waits for ever
@pytest.mark.real
@pytest.mark.timeout(240)
def test_bench_compares_with_real_tools(inv: Inv, real_programs: dict[str, str]) -> None:
    """Eight hosts, each tool once; whether bounds hold on a busy machine is the benchmark's own exit status."""
    ended = inv("bench", "--hosts=8", "--runs=1", "--json", environment=real_programs, deadline=200)

    assert ended.exit_status in {0, 1}, ended.stderr
    outcomes = {each["name"]: each for each in json.loads(ended.stdout)}
    assert {OURS, YARDSTICK} <= set(outcomes)
    assert outcomes[OURS]["lost"] == [0]
    assert 8 < outcomes[OURS]["threads"] <= 72
