"""One command on many hosts: each host's own fate, its own words, and no other host's."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from tasks.remote import fanout
from tasks.remote.fanout import Limits, Results
from tasks.remote.fleet import Command, Taker
from tasks.remote.gathering import Kept
from tasks.remote.hostkeys import HostKey
from tasks.remote.summary import exit_status, state
from tasks.remote.transport import BANNER_SECONDS, Transport
from tests.remote import servers
from tests.remote.crowd import Crowd, Recovering, listener, overloaded, silent, why
from tests.remote.servers import dies_of, hangs, says
from tests.waiting import until

Serve = Callable[..., servers.SSHServer]
WORK = "work"


@pytest.fixture
def crowd(proxy: servers.Socks, host_key: paramiko.PKey, tmp_path: Path) -> Crowd:
    """Return a tailnet without hosts."""
    return Crowd(proxy, tmp_path, HostKey(host_key.get_name(), host_key.get_base64()))


class Outputs:
    """What every host wrote."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Kept, Kept]] = {}
        self.said: list[str] = []

    def takers(self, name: str) -> tuple[Taker, Taker]:
        """Keep it."""
        return self.kept.setdefault(name, (Kept(), Kept()))

    def say(self, name: str, text: str) -> None:
        """Remember it."""
        self.said.append(f"{name}: {text}")

    def of(self, name: str) -> bytes:
        """Return a host's stdout."""
        return b"".join(self.kept[name][0].pieces())


def run(crowd: Crowd, limits: Limits, outputs: Outputs | None = None, names: list[str] | None = None) -> Results:
    """Run it on all of them."""
    outputs = outputs or Outputs()
    command = Command(WORK, crowd.ways(), outputs.takers, outputs.say)
    return fanout.run(names or list(crowd.hosts), command.run, limits, lambda _: None)


def ours() -> list[threading.Thread]:
    """Return the threads of a run, and paramiko's for it."""
    return [each for each in threading.enumerate() if isinstance(each, Transport) or each.name == fanout.THREAD]


def cut(channel: paramiko.Channel) -> None:
    """Break the connection in the middle of the command."""
    channel.sendall(b"so far\n")
    channel.get_transport().close()


def test_twelve_hosts_fail_in_twelve_ways_and_two_do_not(
    crowd: Crowd, serve: Serve, stack: contextlib.ExitStack
) -> None:
    """Each has its own words and class; the worst decides the exit status; nobody waits for another."""
    started = threading.Event()
    other = paramiko.ECDSAKey.generate()
    crowd.add("fine1", serve({WORK: says(b"fine\n")}).port)
    crowd.add("offline", servers.REFUSED, online=False)
    crowd.add("closed", servers.REFUSED)
    crowd.refused["closed.tail.test"] = "dial tcp 100.64.1.2:22: connect: connection refused"
    crowd.add("nobanner", stack.enter_context(listener(silent)))
    crowd.add("changed", serve().port, key=HostKey(other.get_name(), other.get_base64()))
    crowd.add("newkey", serve().port, known=False)
    crowd.add("noauth", serve(methods="publickey").port)
    crowd.add("overloaded", stack.enter_context(listener(overloaded)))
    crowd.add("killed", serve({WORK: dies_of("KILL")}).port)
    crowd.add("cut", serve({WORK: cut}).port)
    crowd.add("hangs", serve({WORK: hangs(started)}).port)
    crowd.add("exit3", serve({WORK: says(status=3)}).port)
    crowd.add("fine2", serve({WORK: says(b"fine too\n")}).port)
    outputs = Outputs()
    results = run(crowd, Limits(timeout=15.0), outputs, ["nosuch", *crowd.hosts])
    ends = {each.name: (state(each), why(each.failure)) for each in results.outcomes}

    assert (outputs.of("fine1"), outputs.of("fine2"), outputs.of("cut")) == (b"fine\n", b"fine too\n", b"so far\n")
    states = {name: said for name, (said, _) in ends.items()}
    assert states == {
        "nosuch": "unavailable",
        "fine1": "ok",
        "offline": "unavailable",
        "closed": "unavailable",
        "nobanner": "timed-out",
        "changed": "refused",
        "newkey": "refused",
        "noauth": "refused",
        "overloaded": "unavailable",
        "killed": "SIGKILL",
        "cut": "unknown",
        "hangs": "timed-out",
        "exit3": "exit 3",
        "fine2": "ok",
    }
    words = {name: said for name, (_, said) in ends.items()}
    assert words["nosuch"].startswith("unknown host nosuch: ")
    assert words["offline"].startswith("offline is offline")
    assert words["closed"].startswith("port 22 of closed is closed: dial tcp")
    assert words["nobanner"].startswith("nobanner accepts connections but shows no SSH banner: nothing within 10 s")
    assert words["changed"].startswith("the host key of changed has changed: expected ecdsa-sha2-nistp256 SHA256:")
    assert words["newkey"].startswith("the host key of newkey is unknown: it showed ecdsa-sha2-nistp256 SHA256:")
    assert words["noauth"].startswith("noauth refuses to log somebody in: tried ")
    assert words["overloaded"].startswith("overloaded hung up before it said who it is: it has too many logins at once")
    assert words["cut"].startswith("connection to cut lost, outcome unknown")
    assert words["hangs"] == "hangs was not done within 15 s"
    assert exit_status(results.outcomes) == 77


def test_a_dropped_login_and_a_proxy_without_reason_cost_no_host(
    crowd: Crowd, serve: Serve, stack: contextlib.ExitStack
) -> None:
    """No byte of a command had been sent: they are tried again, unasked."""
    server = serve({WORK: says(b"here\n")})
    crowd.add("busy", stack.enter_context(listener(Recovering(server.port, drops=2))))
    crowd.add("refused", server.port)
    crowd.proxy.refuse_first = 2
    results = run(crowd, Limits(forks=1))

    assert [why(each.failure) for each in results.outcomes] == ["ok", "ok"]
    assert results.outcomes[0].tries == 3


def test_a_connection_that_is_lost_in_mid_command_is_not_tried_again(crowd: Crowd, serve: Serve) -> None:
    """The command may have done its work."""
    server = serve({WORK: cut})
    crowd.add("cut", server.port)
    results = run(crowd, Limits(retries=3))

    assert (server.logins, results.outcomes[0].tries, state(results.outcomes[0])) == (1, 1, "unknown")


def test_a_timeout_ends_the_command_there(crowd: Crowd, serve: Serve) -> None:
    """The server is asked to, before the connection ends."""
    server = serve({WORK: hangs(threading.Event())})
    crowd.add("slow", server.port)
    results = run(crowd, Limits(timeout=5.0))  # a login takes a part of that, on a busy machine

    assert why(results.outcomes[0].failure) == "slow was not done within 5 s"
    assert server.signals == ["TERM"]


def test_a_timeout_ends_a_login_that_hangs(crowd: Crowd, stack: contextlib.ExitStack) -> None:
    """Long before the login's own deadline."""
    crowd.add("mute", stack.enter_context(listener(silent)))
    results = run(crowd, Limits(timeout=0.3))

    assert why(results.outcomes[0].failure) == "mute was not done within 0.3 s"
    until(lambda: not ours(), what="end of the login", seconds=BANNER_SECONDS / 2)


def test_ctrl_c_ends_the_commands_there(crowd: Crowd, serve: Serve) -> None:
    """Each server is asked to end its own; on a busy machine its answer may come too late to be told."""
    started = [threading.Event() for _ in range(3)]
    running = [serve({WORK: hangs(each)}) for each in started]
    for number, server in enumerate(running):
        crowd.add(f"host{number}", server.port)

    def press() -> None:
        if all(each.wait(20) for each in started):  # else there is no run that would hear it
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    began = time.monotonic()
    results = run(crowd, Limits())
    taken = time.monotonic() - began
    thread.join()

    assert taken < 25  # by themselves the commands would hang for thirty
    assert results.interrupted
    assert {state(each) for each in results.outcomes} <= {"cancelled", "unknown"}
    until(lambda: [server.signals[:1] for server in running] == [["TERM"]] * 3, what="signal at each host")


def test_a_run_has_two_threads_for_a_host_and_leaves_none(crowd: Crowd, serve: Serve) -> None:
    """Ours and paramiko's own; on a busy machine that of the host before may take a moment to end."""
    most: list[int] = []

    def count(channel: paramiko.Channel) -> None:
        most.append(len(ours()))
        says(b"x")(channel)

    server = serve({WORK: count})
    for number in range(12):
        crowd.add(f"host{number}", server.port)
    run(crowd, Limits(forks=4))

    assert max(most) <= 4 * 3
    until(lambda: not ours(), what="end of every thread")


def test_what_a_server_says_before_the_login_is_told_with_its_name(crowd: Crowd, serve: Serve) -> None:
    """Control characters cannot touch the terminal."""
    crowd.add("talks", serve({WORK: says()}, banner="hello\x1b[2J").port)
    outputs = Outputs()
    run(crowd, Limits(), outputs)

    assert outputs.said == ["talks: hello\\x1b[2J"]
