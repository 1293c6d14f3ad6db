"""What a second channel runs to end a command: it ends the command's own processes, and nobody else's."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.remote.ending import END_SIBLINGS

# No test of these lines may signal for real what it finds by a mistake: on the machine of whoever runs the tests.
HARMLESS = 'kill() { echo "$*" >>"$KILLED"; }\n'


def started(text: str, program: Path, tmp_path: Path) -> "subprocess.Popen[str]":
    """Start a POSIX shell under that program's name on a text that finds END_SIBLINGS in $ENDS and writes $KILLED."""
    environment = {"PATH": "/usr/bin:/bin", "ENDS": HARMLESS + END_SIBLINGS, "KILLED": str(tmp_path / "killed")}
    return subprocess.Popen([program, "-c", text], env=environment, text=True, stdout=subprocess.PIPE)


@pytest.fixture
def sshd(tmp_path: Path) -> Path:
    """Return a shell that is called like sshd's process for one connection."""
    path = tmp_path / "sshd-session"
    shutil.copy(shutil.which("sh") or "/bin/sh", path)
    return path


def test_the_groups_of_a_connections_other_commands_are_ended(sshd: Path, tmp_path: Path) -> None:
    """Not our own, and not what is below them: the group has that."""
    parent = started('sleep 60 & echo $!; sh -c "$ENDS" sh TERM; kill $!', sshd, tmp_path)
    said, _ = parent.communicate(timeout=20)

    assert (tmp_path / "killed").read_text() == f"-TERM -{said.strip()}\n"


def test_nobody_is_ended_by_an_orphan(sshd: Path, tmp_path: Path) -> None:
    """We had hung up before it started: its siblings would be all daemons of the host."""
    text = '( while kill -0 $PARENT 2>/dev/null; do sleep 0.02; done; sh -c "$ENDS" sh KILL; echo done ) &'
    parent = started(f"PARENT=$$; {text}", sshd, tmp_path)
    parent.wait(20)  # else it stays as a zombie, for which a shell may wait
    said, _ = parent.communicate(timeout=20)

    assert said == "done\n"
    assert not (tmp_path / "killed").exists()


def test_nobody_is_ended_whose_parent_is_no_sshd(tmp_path: Path) -> None:
    """Whoever adopts orphans need not be process 1."""
    parent = started('sleep 60 & sh -c "$ENDS" sh TERM; kill $!', Path(shutil.which("sh") or "/bin/sh"), tmp_path)
    parent.communicate(timeout=20)

    assert not (tmp_path / "killed").exists()
