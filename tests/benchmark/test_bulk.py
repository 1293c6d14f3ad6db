"""Much data is compared by what came of it, byte for byte, and each run copies it anew."""

from pathlib import Path

from benchmark.bulk import MOST_MEMORY, MOST_TIME, comparisons
from tests.benchmark.test_place import place


def test_what_is_copied_is_held_against_what_was_meant(tmp_path: Path) -> None:
    """Output into a file is ours against theirs."""
    compared = {each.name.partition(";")[0]: each for each in comparisons(place(tmp_path))}

    assert {name: [path.name for path in each.same] for name, each in compared.items()} == {
        "100 MB of output into a file": ["output.ours", "output.theirs"],
        "1 GB of output": [],
        "put of 200 MB": ["data", "put.ours", "put.theirs"],
        "get of 200 MB": ["data", "get.ours", "get.theirs"],
    }
    assert {name: each.ratio for name, each in compared.items() if each.ratio != MOST_TIME} == {"1 GB of output": None}
    assert compared["1 GB of output"].most_memory == MOST_MEMORY
    outputs = compared["100 MB of output into a file"]
    assert (outputs.ours.output, outputs.theirs.output) == outputs.same


def test_a_copy_that_is_there_already_goes_before_the_next_run(tmp_path: Path) -> None:
    """Ours would not copy it again."""
    for each in comparisons(place(tmp_path))[2:]:
        copied = each.same[1]
        copied.write_text("from the run before")
        each.ours.before()

        assert not copied.exists()
