"""Owns /run/sshd: sshd started as root refuses to run without it, and only a machine's start-up makes it.

sshd looks for it again at each connection, so a lab that had to make it leaves it to the others, and the last one takes
it away.
"""

import os
from contextlib import suppress
from pathlib import Path

from tasks import running

FOLDER = Path("/run/sshd")
NOTE = FOLDER / ".made-by-a-lab"


def make() -> None:
    """Make the folder if this is root and it is missing."""
    if os.geteuid() == 0 and not FOLDER.exists():
        FOLDER.mkdir(mode=0o755)
        NOTE.touch(mode=0o600)


def remove_if_unused() -> None:
    """Remove the folder if a lab made it and no sshd runs any more."""
    if NOTE.exists() and not any(identity.program == "sshd" for identity in running.own_processes()):
        with suppress(OSError):
            NOTE.unlink()
            FOLDER.rmdir()
