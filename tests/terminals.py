"""Runs the real inv in a terminal of the test's own, and tells whether an sshd of the test's own can give one."""

import grp
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pexpect
import pytest

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


def ending(child: "pexpect.spawn[str]") -> tuple[int | None, str]:
    """Return the exit status and what was shown since the last expectation."""
    child.expect(pexpect.EOF)
    rest = child.before or ""
    child.close()
    return child.exitstatus, rest.replace("\r\n", "\n")


def _gives_terminals() -> bool:
    """Whether an sshd of this user can give a terminal: of the group tty it must be, and root alone can make it so.

    The devpts of most machines does (gid=5); without it sshd ends the connection (sshpty.c, pty_setowner).
    """
    ends = os.openpty()
    try:
        return os.geteuid() == 0 or os.fstat(ends[1]).st_gid == grp.getgrnam("tty").gr_gid
    finally:
        for end in ends:
            os.close(end)


needs_terminals = pytest.mark.skipif(
    not _gives_terminals(), reason="this machine's terminals are not of the group tty: an sshd without root gives none"
)
