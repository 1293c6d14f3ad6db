"""One command to its end: every byte, its own status, and never an end that did not happen."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from tasks.errors import Refused, TimedOut, Unavailable
from tasks.remote import lines
from tasks.remote.halting import Halt
from tasks.remote.hostkeys import HostKey
from tasks.remote.link import Link
from tests.remote.conftest import Heard, Reached, discard
from tests.remote.crowd import Crowd
from tests.remote.servers import Script, Socks, SSHServer, dies_of, hangs, says
from tests.waiting import until

Serve = Callable[..., SSHServer]
Reach = Callable[[int], Reached]
Linked = Callable[[int, Halt], contextlib.AbstractContextManager[Link]]


@pytest.fixture
def linked(proxy: Socks, host_key: paramiko.PKey, tmp_path: Path) -> Linked:
    """Return what connects to the server on a port, for as long as it is not asked to halt."""

    @contextlib.contextmanager
    def connected(port: int, halt: Halt) -> Iterator[Link]:
        crowd = Crowd(proxy, tmp_path, HostKey(host_key.get_name(), host_key.get_base64()))
        crowd.add("web", port)
        link = crowd.ways().to("web").link(str, halt)  # type: ignore[arg-type]
        with contextlib.closing(link):
            yield link

    return connected


def run(reach: Reach, serve: Serve, heard: Heard, script: Script) -> tuple[int, str]:
    """Run a command that does this, and return how it ended."""
    with reach(serve({"it": script}).port).connect() as session:
        ended = session.run("it", heard.out, heard.err)
    return ended.exit_status, ended.signal


def test_both_outputs_arrive_byte_for_byte(reach: Reach, serve: Serve, heard: Heard) -> None:
    """Invalid UTF-8, NUL, every byte there is."""
    data = bytes(range(256))

    assert run(reach, serve, heard, says(data, data[::-1], 3)) == (3, "")
    assert (heard.stdout, heard.stderr) == (data, data[::-1])


def test_twenty_megabytes_are_equal(reach: Reach, serve: Serve, heard: Heard) -> None:
    """Through windows and packets, in order."""
    data = os.urandom(1024 * 1024) * 20

    assert run(reach, serve, heard, says(data)) == (0, "")
    assert heard.stdout == data


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_status_is_the_commands_own(reach: Reach, serve: Serve, heard: Heard, status: int) -> None:
    """All of them."""
    assert run(reach, serve, heard, says(status=status)) == (status, "")


@pytest.mark.parametrize(("name", "status"), [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("ODD9", 128)])
def test_a_command_that_a_signal_kills_is_told(
    reach: Reach, serve: Serve, heard: Heard, name: str, status: int
) -> None:
    """128 + n, as a shell says it; not a lost connection."""
    assert run(reach, serve, heard, dies_of(name)) == (status, name)


@pytest.mark.parametrize("name", [b"KILL\nweb9: ok", b"ODD@host", b"\xff", b"", b"K" * 17])
def test_a_signal_of_an_odd_name_is_shown_as_none(reach: Reach, serve: Serve, heard: Heard, name: bytes) -> None:
    """It would stand in a line of ours, and make further ones; bytes that are no text are no lost connection either."""
    assert run(reach, serve, heard, dies_of(name)) == (128, "?")


def test_the_command_sees_the_end_of_its_input(reach: Reach, serve: Serve, heard: Heard) -> None:
    """`cat` does not hang."""

    def cat(channel: paramiko.Channel) -> None:
        channel.sendall(b"input: " + channel.recv(100))
        channel.send_exit_status(0)

    assert run(reach, serve, heard, cat) == (0, "")
    assert heard.stdout == b"input: "


def test_output_arrives_while_the_command_runs(reach: Reach, serve: Serve) -> None:
    """The second line is written only when the first has arrived."""
    arrived = threading.Event()

    def talk(channel: paramiko.Channel) -> None:
        channel.sendall(b"one\n")
        channel.send_exit_status(0 if arrived.wait(5) else 1)

    with reach(serve({"it": talk}).port).connect() as session:
        assert session.run("it", lambda _: arrived.set(), discard).exit_status == 0


def lost(reach: Reach, serve: Serve, act: Callable[[Reached], None], silence: float = 12.0) -> str:
    """Run a command that hangs, act when it has started, and return how it is lost."""
    started = threading.Event()
    reached = reach(serve({"it": hangs(started)}).port)

    def wait_and_act() -> None:
        started.wait(10)
        act(reached)

    actor = threading.Thread(target=wait_and_act)
    actor.start()
    with reached.connect(silence=silence) as session, pytest.raises(Unavailable) as caught:
        session.run("it", discard, discard)
    actor.join()
    return str(caught.value)


def test_a_connection_cut_in_the_middle_has_an_unknown_outcome(reach: Reach, serve: Serve) -> None:
    """Never "exit -1"."""
    assert lost(reach, serve, lambda reached: reached.proxy.cut()) == (
        "connection to web lost, outcome unknown: the connection was closed"
    )


def test_a_dead_link_is_noticed_though_nothing_breaks(reach: Reach, serve: Serve) -> None:
    """Three silences: asked twice, given up."""
    started = time.monotonic()

    assert lost(reach, serve, lambda reached: reached.proxy.freeze(), silence=0.3) == (
        "connection to web lost, outcome unknown: it has been silent for 1 s"
    )
    assert time.monotonic() - started < 20  # the command itself hangs for thirty


def test_a_healthy_command_may_be_silent(reach: Reach, serve: Serve, heard: Heard) -> None:
    """Longer than three silences, because the server answers."""

    def ponder(channel: paramiko.Channel) -> None:
        channel.status_event.wait(5.0)
        channel.send_exit_status(5)

    with reach(serve({"it": ponder}).port).connect(silence=1.2) as session:
        assert session.run("it", heard.out, heard.err).exit_status == 5


def test_a_command_that_ends_without_a_status_has_an_unknown_outcome(reach: Reach, serve: Serve, heard: Heard) -> None:
    """The server closed the channel and said nothing."""

    def vanish(channel: paramiko.Channel) -> None:
        channel.recv(1)  # the end of the input, which we send when the command was taken

    with pytest.raises(Unavailable, match=r"outcome unknown: the server ended the command without a status$"):
        run(reach, serve, heard, vanish)


def test_a_server_that_runs_no_commands_is_told(reach: Reach, serve: Serve, heard: Heard) -> None:
    """A git or sftp account."""
    with reach(serve().port).connect() as session, pytest.raises(Refused, match=r"^web refuses to run commands$"):
        session.run("it", heard.out, heard.err)


def test_a_command_that_writes_without_end_is_ended_when_that_is_asked(linked: Linked, serve: Serve) -> None:
    """Nothing more is handed on, though more is there already: there may be more each time."""
    halt, taken, sent = Halt(), list[int](), [0]

    def writes_without_end(channel: paramiko.Channel) -> None:
        """Fill every window, as `yes` does; once the channel is closed it cannot."""
        while True:
            sent[0] += channel.send(b"y\n" * 16384)

    server = serve({"it": writes_without_end})

    def take(data: bytes) -> None:
        taken.append(len(data))
        halt.ask(TimedOut("late"))
        until(lambda: sent[0] > len(data), what="more than was handed on")

    with linked(server.port, halt) as link, pytest.raises(TimedOut, match=r"^late$"):
        link.run("it", take, discard)

    assert (server.signals, len(taken)) == (["TERM"], 1)


def test_a_status_behind_output_that_nobody_wants_is_heard(linked: Linked, serve: Serve) -> None:
    """What is asked to end is told to have ended, when it has."""
    halt, asked = Halt(), threading.Event()

    def ends_behind_output(channel: paramiko.Channel) -> None:
        """End only after more output than a window holds."""
        channel.sendall(b"first")
        asked.wait(20)
        channel.sendall(bytes(4 * 1024 * 1024))
        channel.send_exit_status(143)

    def ask(_: bytes) -> None:
        halt.ask(TimedOut("late"))
        asked.set()

    server = serve({"it": ends_behind_output}, heeds_signals=False)
    with linked(server.port, halt) as link, pytest.raises(TimedOut, match=r"^late$"):
        link.run("it", ask, discard)


@pytest.mark.parametrize("asked", [True, False])
def test_a_command_that_does_not_end_may_still_run_and_that_is_told(linked: Linked, serve: Serve, asked: bool) -> None:
    """By the deadline's failure, and by Ctrl-C's."""
    server = serve({"it": hangs(threading.Event())}, heeds_signals=False)
    halt = Halt()

    def end(_: bytes) -> None:
        if not asked:
            raise KeyboardInterrupt
        halt.ask(TimedOut("late"))

    with linked(server.port, halt) as link, pytest.raises((TimedOut, KeyboardInterrupt)) as caught:
        link.run("it", end, discard)

    assert str(caught.value) == f"{'late' if asked else 'web'}: its command may still run there"


@pytest.mark.parametrize("sudo", [True, False])
def test_the_end_of_a_killed_sudo_is_not_that_of_its_command(linked: Linked, serve: Serve, sudo: bool) -> None:
    """Nobody but root can end that, and sudo was not there to pass a signal on."""

    def is_killed(channel: paramiko.Channel) -> None:
        channel.sendall(b"first")
        channel.status_event.wait(0.1)
        channel.send_exit_status(137)

    line = lines.frame([], "", sudo=sudo).around("it")
    server = serve({line: is_killed}, heeds_signals=False)
    halt = Halt()
    with linked(server.port, halt) as link, pytest.raises(TimedOut) as caught:
        link.run(line, lambda _: halt.ask(TimedOut("late")), discard)

    assert str(caught.value) == ("late: its command may still run there" if sudo else "late")


def test_whatever_ends_us_ends_the_remote_command(reach: Reach, serve: Serve) -> None:
    """Ctrl-C, a reader who has gone: the host gets SIGTERM."""
    server = serve({"it": hangs(threading.Event())})

    def interrupt(_: bytes) -> None:
        raise KeyboardInterrupt

    with reach(server.port).connect() as session, pytest.raises(KeyboardInterrupt):
        session.run("it", interrupt, discard)
    until(lambda: server.signals == ["TERM"], what="signal at the host")
