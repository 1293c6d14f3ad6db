"""Programs run within a deadline, are detached for good, and their secrets are in memory alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks import files, process, running
from tasks.errors import TimedOut, Unavailable
from tasks.running import Identity
from tests.conftest import ROOT
from tests.waiting import until

GRACE = 5.0


def sh(script: str, *arguments: str) -> tuple[str, ...]:
    """Return the argv of a small shell program."""
    return ("/bin/sh", "-c", script, "sh", *arguments)


def start(tmp_path: Path, script: str, **environment: str) -> process.Detached:
    """Detach a small shell program; its log is tmp_path/log."""
    return process.detach(
        sh(script), environment={**process.plain_environment(), **environment}, log=tmp_path / "log", folder=tmp_path
    )


def identity_of(child: "process.Detached | subprocess.Popen[bytes]") -> Identity:
    """Return who the child is."""
    identity = running.identify(child.pid)
    assert identity is not None
    return identity


def log_of(tmp_path: Path, ending: str = "ready\n") -> str:
    """Wait until the log ends so, and return it."""
    log = tmp_path / "log"
    return until(lambda: log.exists() and log.read_text().endswith(ending) and log.read_text(), what="log") or ""


@contextmanager
def ended_at_last(child: process.Detached) -> Iterator[process.Detached]:
    """See that the child does not survive its test."""
    try:
        yield child
    finally:
        if child.exit_status() is None:
            os.kill(child.pid, signal.SIGKILL)
        until(lambda: child.exit_status() is not None, what="end of the child")


def test_a_short_program_gives_its_status_and_both_outputs() -> None:
    """Bytes as they came, with text and the last complaint at hand."""
    ended = process.run(*sh(r"cat; printf 'out:\377'; printf 'one\n two \n\n' >&2; exit 3"), deadline=10)

    assert (ended.exit_status, ended.stdout, ended.stderr) == (3, b"out:\xff", b"one\n two \n\n")
    assert (ended.text, ended.complaint) == ("out:\ufffd", "two")
    assert process.run("/bin/true", deadline=10).complaint == ""


def test_a_signal_is_128_and_its_number() -> None:
    """As a shell says it."""
    assert process.run(*sh("kill -9 $$"), deadline=10).exit_status == 137


def test_a_program_that_is_not_there_is_named() -> None:
    """In the kernel's own words, with the command that shows what is installed."""
    with pytest.raises(Unavailable) as caught:
        process.run("no-such-program", deadline=10, environment={"PATH": "/usr/bin:/bin"})

    assert str(caught.value) == (
        "cannot start no-such-program: no such file or directory\n  next: `./inv programs.list` shows what is installed"
    )


def test_the_environment_is_the_few_plain_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in ours does not reach a child."""
    monkeypatch.setenv("TS_AUTHKEY", "tskey-auth-secret")
    seen = process.run("/usr/bin/env", deadline=10).text

    assert {line.partition("=")[0] for line in seen.splitlines()} <= {*process.PLAIN_VARIABLES}
    assert f"HOME={os.environ['HOME']}\n" in seen


def test_a_given_environment_is_the_whole_one() -> None:
    """Nothing is added to it."""
    assert process.run("/usr/bin/env", deadline=10, environment={"A": "1"}).text == "A=1\n"


def test_the_plain_variables_take_more_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named ones of ours, and values over all of them."""
    monkeypatch.setenv("GOPROXY", "off")
    environment = process.plain_environment({"HOME": "/nowhere"}, also=("GOPROXY", "NOT_SET"))

    assert (environment["GOPROXY"], environment["HOME"], "NOT_SET" in environment) == ("off", "/nowhere", False)


def test_a_program_runs_in_the_folder_given(tmp_path: Path) -> None:
    """Ours when none is given."""
    assert process.run("/bin/pwd", deadline=10, folder=tmp_path).text == f"{tmp_path}\n"


def test_a_program_has_no_terminal_to_ask_on() -> None:
    """It is in a session of its own: a prompt on /dev/tty would wait for ever."""
    ended = process.run(*sh("exec 3</dev/tty"), deadline=10)

    assert ended.exit_status != 0


def test_a_deadline_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """Within the deadline, and nothing of it goes on."""
    started = time.monotonic()
    with pytest.raises(TimedOut) as caught:
        process.run(*sh('sleep 60 & echo $! > "$1"; wait', str(tmp_path / "pid")), deadline=5)

    assert str(caught.value) == "sh did not end within 5 s"
    assert time.monotonic() - started < 30
    grandchild = int((tmp_path / "pid").read_text())
    until(lambda: running.identify(grandchild) is None, what="end of the grandchild")


def test_an_interrupt_ends_the_program_too(tmp_path: Path) -> None:
    """Ctrl-C reaches us alone, as the program is in a session of its own."""
    program = sh("echo $$ > pid; exec sleep 60")
    code = f"from tasks import process; process.run(*{program!r}, deadline=60)"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
    ) as asker:
        pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="child") or 0)
        asker.send_signal(signal.SIGINT)
        asker.communicate(timeout=30)

    until(lambda: running.identify(pid) is None, what="end of the child")


RUN = "process.run(*{program!r}, deadline=60, ends_with_us=True)"
CONVERSE = "process.converse(*{program!r}, deadline=60, environment={{}}, reply=lambda said: b'')"


@pytest.mark.parametrize("how", [RUN, CONVERSE], ids=["run", "conversation"])
def test_a_program_that_ends_with_us_does_not_outlive_a_kill(tmp_path: Path, how: str) -> None:
    """It may hold a secret in its environment, and wait for a server for ever."""
    code = f"from tasks import process; {how.format(program=sh('echo $$ > pid; exec sleep 60'))}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as asker:
        pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), what="child") or 0)
        asker.kill()

    until(lambda: running.identify(pid) is None, what="end of the child")


def attached(tmp_path: Path, script: str) -> "subprocess.Popen[bytes]":
    """Start a Python that attaches a small shell program, in a session of its own, and ends with its status."""
    code = f"import sys; from tasks import process; sys.exit(process.attach(*{sh(script)!r}, environment={{}}))"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(("end", "status"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_an_attached_program_has_our_own_streams(tmp_path: Path, end: str, status: int) -> None:
    """And gives its exit status."""
    with attached(tmp_path, f"cat; echo complaint >&2; {end}") as child:
        stdout, stderr = child.communicate(b"in", timeout=30)

    assert (child.returncode, stdout, stderr) == (status, b"in", b"complaint\n")


def test_ctrl_c_of_an_attached_program_is_its_own_affair(tmp_path: Path) -> None:
    """It got the signal too; we wait for what it makes of it."""
    with attached(tmp_path, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        os.killpg(child.pid, signal.SIGINT)
        stdout, stderr = child.communicate(timeout=30)

    assert (child.returncode, stdout, stderr) == (5, b"caught\n", b"")


def test_a_cancelled_job_takes_an_attached_program_with_it() -> None:
    """Its SIGTERM is for us alone; we wait for what the program has to clear away."""
    code = f"""
from tasks import process
from tasks.interrupting import interruptions, raise_interrupted
script = {sh("trap 'echo cleared; exit 1' TERM; echo ready; while :; do sleep 0.05; done")!r}
with interruptions(raise_interrupted):
    process.attach(*script, environment={{}})
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.terminate()

        assert child.communicate(timeout=30)[0] == b"cleared\n"


def test_an_attached_program_that_is_not_there_is_named() -> None:
    """As any other."""
    with pytest.raises(Unavailable, match=r"^cannot start no-such-program: no such file or directory"):
        process.attach("no-such-program", environment={"PATH": "/usr/bin:/bin"})


def test_a_detached_program_outlives_who_started_it(tmp_path: Path) -> None:
    """Its parent, its parent's session and their SIGHUP."""
    code = f"""
from pathlib import Path
from tasks import process
here = Path({str(tmp_path)!r})
program = {sh("echo ready; exec sleep 60")!r}
child = process.detach(program, environment=process.plain_environment(), log=here / "log", folder=here)
print(child.pid, flush=True)
child.let_go()
"""
    starter = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=30
    )
    identity = running.identify(int(starter.stdout))
    assert identity is not None
    try:
        assert log_of(tmp_path) == "ready\n"
        assert os.getsid(identity.pid) == identity.pid
        assert starter.stderr == b""
    finally:
        running.stop(identity, grace=GRACE)


def test_a_detached_program_inherits_no_descriptor(tmp_path: Path) -> None:
    """Its stdin is empty, its outputs go to the log, and there is no other, not even an inheritable one of ours."""
    inheritable = os.open(ROOT, os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        child = start(tmp_path, "cat; echo ready; exec sleep 60")
    finally:
        os.close(inheritable)
    with ended_at_last(child):
        log_of(tmp_path)
        seen = {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{child.pid}/fd").iterdir()}

    assert seen == {"0": "/dev/null", "1": str(tmp_path / "log"), "2": str(tmp_path / "log")}


def test_what_a_wrapper_has_started_is_killed_with_it(tmp_path: Path) -> None:
    """Some programs on PATH are scripts that wait for the program of that name."""
    with ended_at_last(start(tmp_path, "sleep 60 & echo $!; echo ready; wait")) as wrapper:
        started = int(log_of(tmp_path).splitlines()[0])
        wrapper.kill()

    until(lambda: running.identify(started) is None, what="end of the program in the wrapper")


def test_a_lock_that_we_hold_is_not_inherited(tmp_path: Path) -> None:
    """The daemon is started under the lock and must not hold it for ever."""
    with files.lock(tmp_path / "lock", deadline=0):
        child = start(tmp_path, "echo ready; exec sleep 60")
    with ended_at_last(child), files.lock(tmp_path / "lock", deadline=0):
        log_of(tmp_path)


def test_a_detached_program_has_the_environment_given_and_a_private_umask(tmp_path: Path) -> None:
    """So that what it writes is ours alone."""
    with ended_at_last(start(tmp_path, "umask; echo $MARK; echo ready", MARK="here")):
        assert log_of(tmp_path) == "0077\nhere\nready\n"


def test_the_log_is_0600_and_appended_to(tmp_path: Path) -> None:
    """What an earlier life said stays."""
    saved = os.umask(0)
    try:
        with ended_at_last(start(tmp_path, "echo one >&2; echo ready")):
            log_of(tmp_path)
        with ended_at_last(start(tmp_path, "echo two; echo again")):
            assert log_of(tmp_path, "again\n") == "one\nready\ntwo\nagain\n"
    finally:
        os.umask(saved)

    assert oct((tmp_path / "log").stat().st_mode & 0o777) == "0o600"


def test_a_detached_program_can_be_interrupted_though_we_ignore_it(tmp_path: Path) -> None:
    """`nohup inv net.up &` has us ignore SIGHUP and SIGINT: the program has the default, and we go on as we were."""
    saved = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        child = start(tmp_path, "echo ready; exec sleep 60")
        ours = signal.getsignal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, saved)
    with ended_at_last(child):
        log_of(tmp_path)
        os.kill(child.pid, signal.SIGHUP)
        until(lambda: child.exit_status() is not None, what="end by SIGHUP")

        assert (child.exit_status(), ours) == (128 + signal.SIGHUP, signal.SIG_IGN)


def test_a_detached_program_that_ended_tells_how(tmp_path: Path) -> None:
    """As long as we wait for it."""
    child = start(tmp_path, "exit 3")

    assert until(child.exit_status, what="end") == 3


def test_a_program_that_cannot_be_detached_is_named(tmp_path: Path) -> None:
    """A file that may not be executed, here."""
    program = tmp_path / "program"
    program.touch(mode=0o600)
    with pytest.raises(Unavailable) as caught:
        process.detach([str(program)], environment={}, log=tmp_path / "log", folder=tmp_path)

    assert str(caught.value).startswith(f"cannot start {program}: permission denied")
