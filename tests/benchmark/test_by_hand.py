"""The benchmark compares honestly: interleaved, medians, its bounds as written."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.by_hand import Outcome, _compare, as_table
from benchmark.place import Comparison, Side
from tasks.errors import Unavailable
from tests.conftest import Inv


def side(code: str) -> Side:
    """Return a small Python program."""
    return Side((sys.executable, "-c", code), dict(os.environ))


def test_the_slower_side_misses_its_bound() -> None:
    """A side that takes longer than ratio times the other is said to miss."""
    slow, quick = side("import time; time.sleep(1)"), side("pass")

    assert _compare(Comparison("slow", slow, quick, 1.0), 1).kept is False
    assert _compare(Comparison("quick", quick, slow, 1.0), 1).kept is True


def test_a_side_that_fails_ends_the_benchmark() -> None:
    """A failing command is never a fast one."""
    with pytest.raises(Unavailable, match=r"failed in the benchmark: .*no such thing"):
        _compare(Comparison("failing", side("raise SystemExit('no such thing')"), side("pass"), 1.0), 1)


def test_both_sides_must_give_the_same(tmp_path: Path) -> None:
    """Fast and wrong is no result; outputs go into the files that are compared."""
    ours, theirs = (replace(side("print('x')"), output=tmp_path / name) for name in ("ours", "theirs"))
    wrong = replace(side("print('y')"), output=tmp_path / "theirs")
    same = (tmp_path / "ours", tmp_path / "theirs")

    assert _compare(Comparison("right", ours, theirs, 9.0, same=same), 1).kept
    with pytest.raises(Unavailable, match=r"^'wrong' is not right: ours and theirs differ$"):
        _compare(Comparison("wrong", ours, wrong, 9.0, same=same), 1)


def test_memory_has_a_bound_of_its_own() -> None:
    """One run is enough for it, however long it takes."""
    quick = side("pass")
    lean, fat = (
        _compare(
            Comparison("memory", side(f"b = bytearray({size})"), quick, None, most_memory=100_000_000, once=True), 1
        )
        for size in (1, 150_000_000)
    )

    assert (lean.kept, lean.bound, fat.kept) == (True, "< 100 MB", False)


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
@pytest.mark.timeout(420)
def test_bench_measures_every_point_on_real_programs(inv: Inv, real_programs: dict[str, str]) -> None:
    """Every comparison runs; whether the bounds hold on a busy machine is the benchmark's own exit status."""
    ended = inv("bench", "--runs=1", "--json", environment=real_programs, deadline=390)

    assert ended.exit_status in {0, 1}, ended.stderr
    outcomes = json.loads(ended.stdout)
    assert len(outcomes) == 11
    assert all(outcome["ours"] > 0 for outcome in outcomes)
