"""Owns what one run of a program took: time, processor, memory, threads, measured by a small process beside it."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import process
from tasks.errors import Unavailable
from tasks.settings import ROOT

SCRIPT = ROOT / "benchmark" / "programs" / "measure.py"
GRACE = 30.0  # seconds beyond the program's own deadline


@dataclass(frozen=True)
class Measured:
    """What a program took: wall and CPU time in seconds, the largest resident size in bytes, its children's included.

    `threads` are the most of its own that were seen, its children's not among them; `exit_status` is -n for signal n.
    """

    exit_status: int
    seconds: float
    cpu: float
    memory: int
    threads: int
    complaint: str


def measure(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str],
    deadline: float,
    folder: Path | None = None,
    output: Path | None = None,
) -> Measured:
    """Run a program to its end and return what it took; its output goes into that file, or nowhere."""
    words = (sys.executable, "-I", "-S", str(SCRIPT), str(output or os.devnull), str(deadline), *argv)
    ended = process.run(*words, deadline=deadline + GRACE, environment=environment, folder=folder)
    if ended.exit_status != 0:
        raise Unavailable("the benchmark could not measure a program", why=ended.complaint)
    return Measured(**json.loads(ended.stdout), complaint=ended.complaint)
