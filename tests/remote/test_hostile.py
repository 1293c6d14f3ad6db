"""What hostile.py tries, in processes of their own.

Its audit hook stays for as long as its process lives. And where Python code hears of each new thread's trace function,
CPython 3.11 may fail to start one that is measured: "another trace function is being installed".
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = Path(__file__).with_name("hostile.py")
DEADLINE = 300.0  # seconds; thirty on a quiet machine


@pytest.mark.timeout(DEADLINE + 10)
@pytest.mark.parametrize("what", ["watch_sees_what_may_not_be", "hostile_name", "hostile_pattern", "hostile_inventory"])
def test_whatever_is_named_ends_as_a_command_does(what: str) -> None:
    """Unmeasured by coverage, which also makes it fast."""
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", HOSTILE, "-k", what],
        env=unmeasured,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout
