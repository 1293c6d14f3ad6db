"""Owns /run/sshd: sshd started as root refuses to run without it, and only a machine's start-up makes it.

A lab that had to make it notes that in its folder, and takes it away again at its end.
"""

import os
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/run/sshd")
NOTE = "made-run-sshd"


def make(lab_folder: Path) -> None:
    """Make the folder if this is root and it is missing."""
    if os.geteuid() == 0 and not FOLDER.exists():
        FOLDER.mkdir(mode=0o755)
        (lab_folder / NOTE).touch(mode=0o600)


def remove_if_ours(lab_folder: Path) -> None:
    """Remove the folder if this lab made it and nothing lies in it."""
    if (lab_folder / NOTE).exists():
        with suppress(OSError):
            FOLDER.rmdir()
