"""Runs the real inv in a terminal of the test's own, and returns what a person would have seen."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pexpect

from tests.conftest import INV, ROOT


@contextmanager
def inv_in_a_terminal(environment: Mapping[str, str], *words: str, seconds: float) -> Iterator["pexpect.spawn[str]"]:
    """Run inv with this over our own environment, `seconds` for each expectation; all it shows is in `logfile_read`."""
    child = pexpect.spawn(
        str(INV),
        list(words),
        cwd=str(ROOT),
        env={**os.environ, **environment},
        encoding="utf-8",
        timeout=seconds,
        dimensions=(24, 250),
    )
    child.delaybeforesend = None
    child.logfile_read = io.StringIO()
    try:
        yield child
    finally:
        child.close(force=True)


def shown(child: "pexpect.spawn[str]") -> str:
    """Return all that the terminal has shown, to its end."""
    child.expect(pexpect.EOF)
    child.close()
    assert isinstance(child.logfile_read, io.StringIO)
    return child.logfile_read.getvalue()
