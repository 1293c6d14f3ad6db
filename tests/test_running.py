"""Running processes are told apart by their start, and ended without a stray hit."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from tasks import running
from tests.test_process import GRACE, ended_at_last, identity_of, log_of, start
from tests.waiting import until


def test_a_process_is_identified_by_pid_and_start() -> None:
    """With its user, its program and its words."""
    ours = running.identify(os.getpid())

    assert ours is not None
    assert (ours.pid, ours.uid, ours.argv[0]) == (os.getpid(), os.geteuid(), sys.orig_argv[0])
    assert ours.program == Path("/proc/self/exe").readlink().name
    assert ours == running.identify(os.getpid())


def test_a_strange_name_is_identified_too(tmp_path: Path) -> None:
    """Brackets, blanks and bytes that are no UTF-8."""
    program = tmp_path / os.fsdecode(b"a) R 1 (\xff")
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        try:
            # While the kernel sets up a new program its words are empty.
            until(lambda: (who := running.identify(child.pid)) and who.argv, what="words")
            identity = running.identify(child.pid)
            assert identity is not None
            assert (identity.parent, identity.argv) == (os.getpid(), (f"{tmp_path}/a) R 1 (\ufffd", "60"))
        finally:
            child.kill()


def test_nobody_is_identified_where_nobody_is() -> None:
    """A pid that cannot be."""
    assert running.identify(2**22 + 1) is None


def test_a_zombie_is_gone() -> None:
    """It has ended, though nobody has waited for it yet."""
    with subprocess.Popen(["/bin/true"]) as child:
        until(lambda: running.identify(child.pid) is None, what="zombie")
        assert Path(f"/proc/{child.pid}").exists()


def test_own_processes_are_those_of_this_user(tmp_path: Path) -> None:
    """Ours among them, no zombie, no stranger."""
    with ended_at_last(start(tmp_path, "exec sleep 60")) as child:
        found = list(running.own_processes())

    assert {os.getpid(), child.pid} <= {identity.pid for identity in found}
    assert {identity.uid for identity in found} == {os.geteuid()}


def test_the_environment_of_a_process_can_be_seen(tmp_path: Path) -> None:
    """As it was started; nothing for a process that is gone."""
    with ended_at_last(start(tmp_path, "echo ready; exec sleep 60", MARK="here")) as child:
        log_of(tmp_path)
        identity = identity_of(child)
        until(lambda: "MARK=here" in running.environment_of(identity), what="environment")

    assert running.environment_of(identity) == ()


def test_descendants_are_the_whole_family(tmp_path: Path) -> None:
    """Parents first."""
    with ended_at_last(start(tmp_path, "sh -c 'sleep 60 & echo ready; wait'; exit")) as child:
        log_of(tmp_path)
        family = running.descendants([identity_of(child)])
        for member in reversed(family):
            running.stop(member, grace=GRACE)

    assert [member.pid for member in family[:1]] == [child.pid]
    assert [member.parent for member in family[1:]] == [member.pid for member in family[:-1]]
    assert family[-1].program.startswith(("sleep", "busybox"))


def test_stop_ends_a_program_by_sigterm(tmp_path: Path) -> None:
    """Which lets it put its things in order."""
    with ended_at_last(
        start(tmp_path, "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    ) as child:
        log_of(tmp_path)
        running.stop(identity_of(child), grace=GRACE)

        assert log_of(tmp_path, "bye\n") == "ready\nbye\n"
        assert running.identify(child.pid) is None


def test_stop_kills_a_program_that_ignores_sigterm(tmp_path: Path) -> None:
    """After the grace, not before."""
    with ended_at_last(start(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.05; done")) as child:
        log_of(tmp_path)
        started = time.monotonic()
        running.stop(identity_of(child), grace=0.3)

        assert 0.3 <= time.monotonic() - started < 30
        assert until(child.exit_status, what="end") == 128 + signal.SIGKILL


def test_stop_ends_a_stopped_program(tmp_path: Path) -> None:
    """Which acts on SIGTERM only when it goes on; no kill is needed."""
    with ended_at_last(start(tmp_path, "echo ready; exec sleep 60")) as child:
        log_of(tmp_path)
        identity = identity_of(child)
        os.kill(child.pid, signal.SIGSTOP)
        running.stop(identity, grace=GRACE)

        assert until(child.exit_status, what="end") == 128 + signal.SIGTERM


def test_stop_of_a_zombie_or_of_nobody_is_done_at_once(tmp_path: Path) -> None:
    """What is gone needs no signal."""
    with ended_at_last(start(tmp_path, "echo ready; exec sleep 60")) as child:
        log_of(tmp_path)
        identity = identity_of(child)
        os.kill(child.pid, signal.SIGKILL)
        until(lambda: running.identify(child.pid) is None, what="zombie")
        running.stop(identity, grace=60)
    running.stop(identity, grace=60)


def test_a_process_whose_first_thread_has_ended_is_still_there(tmp_path: Path) -> None:
    """The kernel calls it a zombie, but its other threads hold its ports and files: it is gone when they are."""
    script = (
        "import ctypes, os, threading;"
        " threading.Thread(target=lambda: (print('ready', flush=True), os.read(0, 1)))"
        ".start(); ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)"
    )
    argv = (sys.executable, "-c", script)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        fields = Path(f"/proc/{child.pid}/stat")
        until(lambda: ") Z " in fields.read_text(), what="end of the first thread")
        identity = identity_of(child)
        running.stop(identity, grace=GRACE)

        assert child.wait(0) == -signal.SIGTERM


def test_stop_never_hits_a_process_that_got_the_pid_later(tmp_path: Path) -> None:
    """The start time is another, so it is not the one that was meant."""
    with ended_at_last(start(tmp_path, "echo ready; exec sleep 60")) as child:
        log_of(tmp_path)
        meant = replace(identity_of(child), start_time=identity_of(child).start_time - 1)
        running.stop(meant, grace=60)

        assert child.exit_status() is None
