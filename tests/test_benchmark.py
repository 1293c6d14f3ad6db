"""The benchmark compares honestly: interleaved, medians, its bounds as written."""

import json
import os
import sys

import pytest

from tasks.benchmark import Comparison, Outcome, Side, _compare, as_table
from tasks.errors import Unavailable
from tests.conftest import Inv


def side(code: str) -> Side:
    """Return a small Python program."""
    return Side((sys.executable, "-c", code), dict(os.environ))


def test_the_slower_side_misses_its_bound() -> None:
    """A side that takes longer than ratio times the other is said to miss."""
    slow, quick = side("import time; time.sleep(0.4)"), side("pass")

    assert _compare(Comparison("slow", slow, quick, 1.0), 1).kept is False
    assert _compare(Comparison("quick", quick, slow, 1.0), 1).kept is True


def test_a_side_that_fails_ends_the_benchmark() -> None:
    """A failing command is never a fast one."""
    with pytest.raises(Unavailable, match=r"failed in the benchmark: .*no such thing"):
        _compare(Comparison("failing", side("raise SystemExit('no such thing')"), side("pass"), 1.0), 1)


def test_table_says_ratio_bound_and_whether_it_is_kept() -> None:
    """One row an outcome."""
    table = as_table([Outcome("what", 0.3, 0.2, "≤ 2 x", True, 5_000_000)])

    assert table.splitlines()[1].split() == [
        "what",
        "0.300",
        "s",
        "0.200",
        "s",
        "1.50",
        "≤",
        "2",
        "x",
        "5",
        "MB",
        "yes",
    ]


@pytest.mark.real
@pytest.mark.timeout(240)
def test_bench_measures_every_point_on_real_programs(inv: Inv, real_programs: dict[str, str]) -> None:
    """Every comparison runs; whether the bounds hold on a busy machine is the benchmark's own exit status."""
    ended = inv("bench", "--runs=1", "--json", environment=real_programs, deadline=200)

    assert ended.exit_status in {0, 70}, ended.stderr
    outcomes = json.loads(ended.stdout)
    assert len(outcomes) == 7
    assert all(outcome["ours"] > 0 for outcome in outcomes)
