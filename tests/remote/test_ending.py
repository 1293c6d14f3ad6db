"""What a second channel runs to end a command: it ends the command's own processes, and nobody else's."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.remote.ending import END_SIBLINGS

# No test of these lines may signal for real what it finds by a mistake: on the machine of whoever runs the tests.
HARMLESS = 'kill() { echo "$*" >>"$KILLED"; }\n'


def started(text: str, program: Path, tmp_path: Path) -> "subprocess.Popen[str]":
    """Start a POSIX shell under that program's name, on a text that finds in $ENDS what writes $KILLED."""
    files = {"KILLED": str(tmp_path / "killed"), "READY": str(tmp_path / "ready")}
    environment = {"PATH": "/usr/bin:/bin", "ENDS": HARMLESS + END_SIBLINGS, **files}
    return subprocess.Popen([program, "-c", text], env=environment, text=True, stdout=subprocess.PIPE)


@pytest.fixture
def sshd(tmp_path: Path) -> Path:
    """Return a shell that is called like sshd's process for one connection."""
    path = tmp_path / "sshd-session"
    shutil.copy(shutil.which("sh") or "/bin/sh", path)
    return path


GROUP_IN_A_SESSION = """
setsid sh -c 'timeout 60 sh -c "echo \\$PPID >$READY; exec sleep 60"; :' & leader=$!
sleep 60 & no_leader=$!
until [ -s "$READY" ]; do sleep 0.02; done
group=$(cat "$READY")
told=$(sh -c "$ENDS" sh)
kill $group $leader $no_leader
echo $leader $group $told
"""


def test_the_sessions_of_a_connections_other_commands_are_ended(sshd: Path, tmp_path: Path) -> None:
    """With every group in them, the leader's first; not our own, nor sshd's, in which who leads no session is."""
    parent = started(GROUP_IN_A_SESSION, sshd, tmp_path)
    leader, group, said = parent.communicate(timeout=30)[0].split()

    told = [f"-{signal} -{pid}" for signal in ("TERM", "KILL") for pid in sorted((leader, group), key=int)]
    heard = (tmp_path / "killed").read_text().splitlines()
    assert [line for line in heard if not line.startswith("-0 ")] == told
    assert said == "told"


def test_where_nothing_is_left_to_end_that_is_told_too(sshd: Path, tmp_path: Path) -> None:
    parent = started('sleep 60 & sh -c "$ENDS" sh; kill $!', sshd, tmp_path)

    assert parent.communicate(timeout=30)[0] == "told\n"
    assert not (tmp_path / "killed").exists()


def test_nobody_is_ended_by_an_orphan(sshd: Path, tmp_path: Path) -> None:
    """We had hung up before it started: its siblings would be all daemons of the host."""
    orphan = """exec sh -c '(eval "$ENDS"); echo $?'"""
    text = f"{{ while kill -0 $PARENT 2>/dev/null; do sleep 0.02; done; {orphan}; }} &"
    parent = started(f"PARENT=$$; {text}", sshd, tmp_path)
    parent.wait(20)  # else it stays as a zombie, for which a shell may wait
    said, _ = parent.communicate(timeout=20)

    assert said == "1\n"
    assert not (tmp_path / "killed").exists()


def test_nobody_is_ended_whose_parent_is_no_sshd(tmp_path: Path) -> None:
    """Whoever adopts orphans need not be process 1."""
    parent = started('setsid sleep 60 & sh -c "$ENDS" sh; kill $!', Path(shutil.which("sh") or "/bin/sh"), tmp_path)
    parent.communicate(timeout=20)

    assert not (tmp_path / "killed").exists()
