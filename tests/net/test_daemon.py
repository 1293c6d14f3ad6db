"""The detached tailscaled: started once, told apart from strangers, replaced when it is half there, ended for good."""

import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tasks import files, process, running
from tasks.errors import ConfigurationFailure, Failure, TimedOut, Unavailable
from tasks.loopback import free_port
from tasks.net.daemon import LOG_LIMIT, Daemon, log_tail, probe, start, stop
from tasks.tailnet import TailnetStatus
from tests.conftest import ROOT, Home
from tests.net.conftest import FAKES, Fakes, end
from tests.waiting import until

PROGRAM = FAKES / "tailscaled"
ROUNDS = 25  # kills at random moments
CANARY = "canary-9f31"
# What a starter does that is killed: `python -c STARTER state runtime port program`.
STARTER = """
import sys
from pathlib import Path
from tasks import files
from tasks.net.daemon import Daemon, start
state, runtime, port, program = sys.argv[1:]
daemon = Daemon(Path(state), Path(runtime), "127.0.0.1", int(port))
with files.lock(daemon.lock, deadline=30):
    start(daemon, Path(program), tell=print)
"""


def started(daemon: Daemon, told: list[str] | None = None, deadline: float = 10.0) -> TailnetStatus:
    """Start the fake."""
    return start(daemon, PROGRAM, tell=(told if told is not None else []).append, deadline=deadline)


def failure(action: Callable[[], object]) -> Failure:
    """Return how it fails."""
    with pytest.raises(Failure) as caught:
        action()
    return caught.value


def pid_of(daemon: Daemon) -> int:
    """Return the pid of the one daemon that serves; there is no other."""
    pid = daemon.api.server_pid()
    assert pid is not None
    pids = [each.pid for each in running.own_processes() if f"--socket={daemon.socket}" in each.argv]
    assert pids == [pid]
    return pid


def starter(daemon: Daemon) -> "subprocess.Popen[bytes]":
    """Start it by another process, under the lock."""
    words = (str(daemon.state_folder), str(daemon.runtime_folder), str(daemon.proxy_port), str(PROGRAM))
    return subprocess.Popen([sys.executable, "-c", STARTER, *words], cwd=ROOT, stdout=subprocess.DEVNULL)


@contextmanager
def stranger(port: int) -> Iterator[socket.socket]:
    """Hold a port of loopback in this process."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield listener


def test_the_command_line(tmp_path: Path) -> None:
    """A value, apart from the start."""
    daemon = Daemon(tmp_path / "s", tmp_path / "r", "127.0.0.1", 1055, extra_args=("--verbose=1",))

    assert daemon.argv(Path("/bin/tailscaled")) == (
        "/bin/tailscaled",
        "--tun=userspace-networking",
        f"--statedir={tmp_path}/s",
        f"--state={tmp_path}/s/tailscaled.state",
        f"--socket={tmp_path}/r/tailscaled.sock",
        "--port=0",
        "--socks5-server=127.0.0.1:1055",
        "--outbound-http-proxy-listen=127.0.0.1:1055",
        "--no-logs-no-support",
        "--verbose=1",
    )
    assert "--no-logs-no-support" not in replace(daemon, upload_logs=True).argv(Path("x"))


def test_its_environment_is_an_allow_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A knob that a place needs passes by name; PORT, proxies and secrets never do."""
    for name in ("TS_AUTHKEY", "BW_SESSION", "PORT", "HTTP_PROXY", "LD_PRELOAD", "TS_DEBUG_KNOB"):
        monkeypatch.setenv(name, CANARY)
    daemon = Daemon(tmp_path, tmp_path, "127.0.0.1", 1055, knobs=(("TS_DISABLE_PORTMAPPER", "1"),))
    environment = daemon.environment()

    assert CANARY not in environment.values()
    assert (environment["TS_LOGS_DIR"], environment["TS_DISABLE_PORTMAPPER"]) == (str(tmp_path), "1")
    assert set(environment) <= {*process.PLAIN_VARIABLES, "TS_LOGS_DIR", "TS_DISABLE_PORTMAPPER"}


def test_what_is_started_stands_alone(daemon: Daemon, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own session, no descriptor of ours, nothing of our environment, no ignored hang-up, its own folder."""
    monkeypatch.setenv("BW_SESSION", CANARY)
    ours = os.open(daemon.state_folder / "held", os.O_CREAT | os.O_RDWR)
    os.set_inheritable(ours, True)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with files.lock(daemon.lock, deadline=5):
            assert started(daemon).state == "NeedsLogin"
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(ours)
    (found,) = fakes.daemons()

    assert found["descriptors"] == {"0": "/dev/null", "1": str(daemon.log), "2": str(daemon.log)}
    assert (found["session"], found["folder"]) == (found["pid"], str(daemon.state_folder))
    assert CANARY not in str(found["environment"])
    assert int(found["ignored"], 16) & 1 << signal.SIGHUP - 1 == 0
    assert stat.S_IMODE(daemon.log.stat().st_mode) == 0o600


def test_one_that_is_ready_is_left_alone(daemon: Daemon, fakes: Fakes) -> None:
    started(daemon)
    pid, log = pid_of(daemon), daemon.log.read_bytes()

    assert started(daemon) == probe(daemon)
    assert (pid_of(daemon), daemon.log.read_bytes(), len(fakes.daemons())) == (pid, log, 1)


def test_stopping_twice_is_as_good_as_once(daemon: Daemon) -> None:
    """And nothing is left: no process, socket or port."""
    started(daemon)

    assert stop(daemon)
    assert not stop(daemon)
    assert probe(daemon) is None
    assert not daemon.socket.exists()
    with stranger(daemon.proxy_port):
        pass


def test_twenty_starts_at_once_make_one_daemon(daemon: Daemon, fakes: Fakes) -> None:
    """Each under the lock; all end well."""
    starters = [starter(daemon) for _ in range(20)]

    assert [each.wait(30) for each in starters] == [0] * 20
    assert len(fakes.daemons()) == 1
    assert pid_of(daemon) == fakes.daemons()[0]["pid"]


def test_killing_starter_or_daemon_at_any_moment_leaves_the_next_start_working(daemon: Daemon) -> None:
    dice = random.Random(3)
    for _ in range(ROUNDS):
        child = starter(daemon)
        time.sleep(dice.uniform(0.0, 0.25))  # the moment is the subject, not a wait
        child.kill()
        child.wait()
        victim = daemon.api.server_pid()
        if dice.random() < 0.4 and victim is not None:
            os.kill(victim, signal.SIGKILL)
        with files.lock(daemon.lock, deadline=20):
            started(daemon)

        assert probe(daemon) is not None
        pid_of(daemon)
        if dice.random() < 0.6:
            stop(daemon)


def test_starts_and_stops_at_once_agree_in_the_end(daemon: Daemon) -> None:
    """Process, socket and port are all there, or none of them."""
    stopper = STARTER.replace("start(daemon, Path(program), tell=print)", "stop(daemon)").replace(", start", ", stop")
    words = (str(daemon.state_folder), str(daemon.runtime_folder), str(daemon.proxy_port), str(PROGRAM))
    scripts = [STARTER, stopper] * 5
    children = [subprocess.Popen([sys.executable, "-c", script, *words], cwd=ROOT) for script in scripts]

    assert [child.wait(30) for child in children] == [0] * 10
    if probe(daemon) is None:
        assert not daemon.socket.exists()
        with stranger(daemon.proxy_port):
            pass
    else:
        pid_of(daemon)


def test_a_socket_file_that_nobody_listens_on_is_replaced(daemon: Daemon) -> None:
    """As a killed daemon leaves it."""
    started(daemon)
    end(pid_of(daemon))
    until(lambda: daemon.api.server_pid() is None, what="end of the daemon")
    assert daemon.socket.exists()

    assert probe(daemon) is None
    assert started(daemon).state == "NeedsLogin"


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_removed(daemon: Daemon, fakes: Fakes, kind: str) -> None:
    if kind == "file":
        daemon.socket.write_text("mine")
    elif kind == "folder":
        daemon.socket.mkdir()
    else:
        daemon.socket.symlink_to("/nowhere")
    found = failure(lambda: started(daemon))

    assert isinstance(found, ConfigurationFailure)
    assert str(found) == (
        f"{daemon.socket} is in the way: it is not a socket\n  next: look at it, then: rm {daemon.socket}"
    )
    assert os.path.lexists(daemon.socket)
    assert fakes.daemons() == []
    stop(daemon)
    assert os.path.lexists(daemon.socket)


def test_a_stranger_on_the_port_is_named_before_anything_starts(daemon: Daemon, fakes: Fakes) -> None:
    """One that greets like a SOCKS server, too: the port's owner decides."""
    begin = time.monotonic()
    with stranger(daemon.proxy_port):
        found = failure(lambda: started(daemon))

    assert isinstance(found, ConfigurationFailure)
    assert found.what.startswith(f"the proxy's port 127.0.0.1:{daemon.proxy_port} is taken by ")
    assert f"(pid {os.getpid()}, user " in found.what
    assert found.next_step == f"end that program, or set TS_SOCKS5_SERVER=127.0.0.1:{daemon.proxy_port + 1}"
    assert time.monotonic() - begin < 10.0  # in which one that started would have been given up
    assert (fakes.daemons(), daemon.socket.exists()) == ([], False)


def test_another_daemon_on_the_port_is_a_stranger(daemon: Daemon, home: Home) -> None:
    """Its LocalAPI is not ours, whatever its proxy says."""
    other = replace(daemon, state_folder=home.state / "other", runtime_folder=home.runtime / "other")
    other.runtime_folder.mkdir()
    started(other)

    assert probe(daemon) is None
    assert "is taken by" in failure(lambda: started(daemon)).what
    assert probe(replace(other, proxy_port=free_port())) is None


def test_a_daemon_that_lost_its_socket_is_found_and_replaced(daemon: Daemon) -> None:
    """It holds the port, and nobody can talk to it any more."""
    started(daemon)
    lost = pid_of(daemon)
    daemon.socket.unlink()

    assert probe(daemon) is None
    started(daemon)
    assert pid_of(daemon) != lost


def test_a_daemon_that_lost_its_socket_is_stopped(daemon: Daemon) -> None:
    started(daemon)
    daemon.socket.unlink()

    assert stop(daemon)
    with stranger(daemon.proxy_port):
        pass


def test_a_daemon_that_hangs_is_replaced(daemon: Daemon) -> None:
    """It accepts connections (the kernel does) and never answers; it acts on SIGTERM only after SIGCONT."""
    started(daemon)
    hung = pid_of(daemon)
    os.kill(hung, signal.SIGSTOP)

    begin = time.monotonic()
    started(daemon)
    assert time.monotonic() - begin < 40.0
    assert pid_of(daemon) != hung


def test_a_daemon_that_hangs_is_stopped(daemon: Daemon) -> None:
    started(daemon)
    os.kill(pid_of(daemon), signal.SIGSTOP)

    assert stop(daemon)
    assert probe(daemon) is None


def test_a_daemon_for_another_port_is_replaced(daemon: Daemon) -> None:
    """The setting has changed since it started."""
    started(daemon)
    moved = replace(daemon, proxy_port=free_port())

    assert probe(moved) is None
    started(moved)
    pid_of(moved)


def test_a_zombie_is_no_daemon(daemon: Daemon) -> None:
    """Its parent, here this test, has not waited for it; `kill -0` would say that it lives."""
    child = subprocess.Popen(
        daemon.argv(PROGRAM), env=daemon.environment(), stderr=subprocess.DEVNULL, cwd=daemon.state_folder
    )
    until(lambda: probe(daemon), what="readiness")
    child.kill()
    until(lambda: running.identify(child.pid) is None, what="end of the daemon")

    assert probe(daemon) is None
    assert not stop(daemon)
    child.wait()


def test_a_daemon_that_dies_at_once_is_reported_with_its_last_words(daemon: Daemon, fakes: Fakes) -> None:
    """Those of this start, not of an earlier one; and there is one start, not a loop."""
    daemon.log.write_text("words of last week\n")
    fakes.order(daemon={"die": "\n".join(f"line {number}" for number in range(30))})
    found = failure(lambda: started(daemon))

    assert isinstance(found, Unavailable)
    assert found.what == "tailscaled ended at once (exit status 3)"
    assert found.why == "\n  ".join(["its log ends with", *(f"line {number}" for number in range(10, 30))])
    assert found.next_step == "`inv doctor` looks for the cause"
    assert len(fakes.daemons()) == 1


def test_a_daemon_that_loses_the_race_for_the_port_leaves_no_socket(daemon: Daemon) -> None:
    """It dies by itself, but after it has made its socket."""
    with stranger(daemon.proxy_port):
        dying = process.run(*daemon.argv(PROGRAM), environment=daemon.environment(), deadline=10.0)
    assert b"address already in use" in dying.stderr
    assert daemon.socket.exists()

    assert started(daemon).state == "NeedsLogin"


def test_a_daemon_that_is_killed_at_once_says_by_what(daemon: Daemon, tmp_path: Path) -> None:
    """The kernel's SIGKILL is what a machine without memory left does."""
    suicide = tmp_path / "tailscaled"
    suicide.write_text("#!/bin/sh\nkill -9 $$\n")
    suicide.chmod(0o755)
    found = failure(lambda: start(daemon, suicide, tell=print))

    assert found.what == "tailscaled ended at once (killed by SIGKILL, perhaps for want of memory)"


def test_a_program_that_cannot_be_started_is_named(daemon: Daemon, tmp_path: Path) -> None:
    found = failure(lambda: start(daemon, tmp_path / "tailscaled", tell=print))

    assert found.what == f"cannot start {tmp_path / 'tailscaled'}"
    assert not daemon.socket.exists()


@pytest.mark.parametrize("fault", [{"mute": True}, {"proxyless": True}, {"delay": 60}])
def test_a_daemon_that_never_becomes_ready_is_ended_at_the_deadline(
    daemon: Daemon, fakes: Fakes, fault: dict[str, object]
) -> None:
    """Its socket may be there, its port may be open: both must answer."""
    fakes.order(daemon=fault)
    found = failure(lambda: started(daemon, deadline=3.0))  # it has to be up by then, to be seen

    assert isinstance(found, TimedOut)
    assert found.what == "tailscaled was not ready within 3 s"
    assert running.identify(fakes.daemons()[0]["pid"]) is None
    assert not daemon.socket.exists()


def test_a_slow_start_is_waited_for(daemon: Daemon, fakes: Fakes) -> None:
    fakes.order(daemon={"delay": 0.3})

    assert started(daemon).state == "NeedsLogin"


def test_a_start_whose_starter_was_killed_is_waited_for_too(daemon: Daemon, fakes: Fakes) -> None:
    """The half-started daemon becomes ready by itself, and is not replaced."""
    fakes.order(daemon={"delay": 0.5})
    child = starter(daemon)
    until(fakes.daemons, what="start of the daemon")
    child.kill()
    child.wait()

    started(daemon)
    assert pid_of(daemon) == fakes.daemons()[0]["pid"]


def test_a_daemon_that_crashes_later_is_started_again(daemon: Daemon, fakes: Fakes) -> None:
    """Once by each start, never by itself: nothing here can loop."""
    fakes.order(daemon={"lifetime": 0.05})
    for number in range(1, 4):
        with suppress(Unavailable):  # where this machine is slow, it does not even become ready
            started(daemon)
        until(lambda: probe(daemon) is None, what="crash")
        assert len(fakes.daemons()) == number


def test_a_log_that_has_grown_is_cut_at_the_next_start(daemon: Daemon, fakes: Fakes) -> None:
    """What was written last is kept beside it, and a new start is not buried under it."""
    fakes.order(daemon={"noise": 50_000_000, "die": "out of words"})
    failure(lambda: started(daemon))
    assert daemon.log.stat().st_size > 50_000_000

    fakes.order()
    started(daemon)
    older = daemon.log.with_name("tailscaled.log.old")
    assert daemon.log.read_text() == "fake tailscaled is ready\n"
    assert older.stat().st_size == LOG_LIMIT
    assert older.read_bytes().endswith(b"x\nout of words\n")
    assert stat.S_IMODE(older.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", ["bad json", "", '{"member": tr', "\0" * 100], ids=["noise", "empty", "cut", "zeroes"]
)
def test_a_corrupt_state_file_is_kept_aside_and_the_node_starts_anew(daemon: Daemon, content: str) -> None:
    """Tailscaled would run from memory and refuse every login."""
    daemon.state.write_text(content)
    told: list[str] = []
    status = started(daemon, told)

    (aside,) = daemon.state_folder.glob("tailscaled.state.corrupt-*")
    assert (status.state, status.store_error, aside.read_text()) == ("NeedsLogin", "", content)
    assert len(told) == 1
    assert told[0].startswith(
        f"the node's state file was corrupt, it is kept as {aside}; this node logs in anew (Expecting"
    )
    assert not daemon.state.exists()


def test_a_daemon_that_runs_from_memory_already_is_replaced(daemon: Daemon, fakes: Fakes) -> None:
    """Somebody has started it by hand, or mended nothing."""
    daemon.state.write_text("bad json")
    child = subprocess.Popen(
        daemon.argv(PROGRAM), env=daemon.environment(), stderr=subprocess.DEVNULL, cwd=daemon.state_folder
    )
    until(lambda: probe(daemon), what="readiness")

    assert started(daemon).store_error == ""
    assert len(fakes.daemons()) == 3
    child.wait()


def test_a_state_that_cannot_be_read_at_all_is_left_where_it_is(daemon: Daemon) -> None:
    """It may be whole: the disk, or the rights to it, are what is broken."""
    daemon.state.mkdir()
    found = failure(lambda: started(daemon))

    assert isinstance(found, ConfigurationFailure)
    assert found.what == f"tailscaled cannot use its state file {daemon.state}"
    assert "Is a directory" in found.why
    assert daemon.state.is_dir()
    assert probe(daemon) is None


def test_a_path_that_is_too_long_for_a_socket_is_refused_early(daemon: Daemon, home: Home) -> None:
    """107 bytes are the most; Go would only say "invalid argument"."""
    room = 107 - len(str(home.runtime / "x" / "tailscaled.sock")) + 1
    fitting = replace(daemon, runtime_folder=home.runtime / ("x" * room))
    longer = replace(daemon, runtime_folder=home.runtime / ("x" * (room + 1)))
    for each in (fitting, longer):
        each.runtime_folder.mkdir()

    assert started(fitting).state == "NeedsLogin"
    assert failure(lambda: started(longer)).what == f"the socket path {longer.socket} is longer than 107 bytes"


def test_folders_may_have_any_name(daemon: Daemon, home: Home) -> None:
    """Blanks, letters of anywhere, a line's end."""
    odd = replace(daemon, state_folder=home.state / "a b\nü'$", runtime_folder=home.runtime / "c d\nß")
    odd.runtime_folder.mkdir()

    started(odd)
    assert probe(odd) is not None
    assert stop(odd)


def test_ctrl_c_while_it_starts_ends_it(daemon: Daemon, fakes: Fakes) -> None:
    """The daemon, in a session of its own, does not hear the terminal."""
    fakes.order(daemon={"delay": 60})
    child = starter(daemon)
    until(fakes.daemons, what="start of the daemon")
    child.send_signal(signal.SIGINT)
    child.wait(30)

    assert running.identify(fakes.daemons()[0]["pid"]) is None
    with files.lock(daemon.lock, deadline=5):
        pass


def test_the_end_of_the_log(daemon: Daemon) -> None:
    assert log_tail(daemon, 2) == []
    daemon.log.write_bytes(b"one\ntwo\n\xff\n")

    assert log_tail(daemon, 2) == ["two", "\ufffd"]
    assert log_tail(daemon, 5, after=4) == ["two", "\ufffd"]
