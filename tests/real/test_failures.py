"""One run over hosts that fail in twelve ways, all real: each its own words and class, the healthy ones untouched."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tasks.remote.following import MAY_RUN
from tests.conftest import ROOT, Ended, Home, run_inv, variables
from tests.real.conftest import nap, napping
from tests.real.failing import FAILING, HEALTHY, OFFLINE, TAILNET
from tests.remote.crowd import listener, silent
from tests.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
TIMEOUT = 14  # seconds; longer than the ten that a server has for its banner
KEY = r"ssh-ed25519 SHA256:\S+"
# What is said of each: the class, the words of the error, and why.
SAID = {
    "xyzzy": ("unavailable", r"unknown host xyzzy", r"it is neither in the inventory nor on the tailnet"),
    "offline1": ("unavailable", r"offline1 is offline( since .+)?", r""),
    "closed": ("unavailable", r"port \d+ of closed is closed", r".*connection (was )?re(fused|set).*"),
    "nobanner": (
        "timed-out",
        r"nobanner accepts connections but shows no SSH banner",
        r"nothing within 10 s, or the server is overloaded \(MaxStartups\)",
    ),
    "changed": ("refused", r"the host key of changed has changed", rf"expected {KEY}, got {KEY}"),
    "newkey": (
        "refused",
        r"the host key of newkey is unknown",
        rf"it showed {KEY}, and nobody is there to be asked",
    ),
    "noauth": ("refused", r"noauth refuses to log \S+ in", r"tried .*stranger_key.*; the server takes publickey"),
    "full": (
        "unavailable",
        r"full hung up before it said who it is",
        r"it has too many logins at once \(MaxStartups\), or lets nobody in from here",
    ),
    "killed": ("remote", r"the remote command was killed by SIGKILL", r""),
    "cut": ("unknown", r"connection to cut lost, outcome unknown", r".+"),
    # On a busy machine its end may come too late to be heard of.
    "hangs": ("timed-out|unknown", rf"hangs was not done within {TIMEOUT} s", rf"({MAY_RUN})?"),
    "exit3": ("remote", r"exit 3", r""),
}
WORST = 77  # refused


@dataclass(frozen=True)
class Failing:
    """The lab, our own node in it, and the port of each host with an sshd."""

    environment: dict[str, str]
    ports: dict[str, int]

    def run(self, *words: str) -> Ended:
        """Run one command that does each host's own thing there."""
        own = {
            "killed": "kill -KILL $$",
            # sshd's own process for this connection, which then hangs up; killed hard, newer ones lock the client out.
            "cut": "echo so far; sleep 1; kill -TERM $PPID; sleep 3",
            "hangs": nap(),
            "exit3": "exit 3",
        }
        cases = " ".join(f"*' {self.ports[name]}') {line};;" for name, line in own.items())
        command = f'case "$SSH_CONNECTION" in {cases} *) echo fine;; esac'
        with full(self.ports["full"]):
            return run_inv(
                *("remote.run", "--hosts=failing,healthy,xyzzy", f"--timeout={TIMEOUT}s", *words),
                f"--command={command}",
                environment=self.environment,
                deadline=90,
            )


@pytest.fixture(scope="module")
def lab(session_home: Home, real_programs: dict[str, str]) -> Iterator[Failing]:
    """Bring it up once, and wait until the tailnet knows that one node has gone."""
    environment = {**os.environ, **variables(session_home), **real_programs, "TAILNET": TAILNET, "CI": "1"}
    answer = session_home.temporary / "ports.json"

    def failing(*words: str) -> None:
        argv = [sys.executable, "-m", "tests.real.failing", *words]
        subprocess.run(argv, cwd=ROOT, env=environment, check=True, timeout=120)

    with listener(silent) as silent_port:
        try:
            failing("up", str(silent_port), str(answer))
            up = run_inv("net.up", environment=environment, deadline=90)
            assert up.exit_status == 0, up.stderr
            until(lambda: is_offline(environment), what="the tailnet's news of the node that has gone", seconds=60)
            yield Failing(environment, json.loads(answer.read_text()))
        finally:
            failing("down")


def is_offline(environment: dict[str, str]) -> bool:
    """Whether the tailnet has noticed."""
    status = json.loads(run_inv("net.status", "--json", environment=environment).stdout)
    return [peer["online"] for peer in status["peers"] if peer["name"] == OFFLINE] == [False]


@contextlib.contextmanager
def full(port: int) -> Iterator[None]:
    """Hold the one login that the sshd may have at a time, as soon as it has read its configuration anew."""
    with contextlib.ExitStack() as held:

        def refuses() -> bool:
            try:
                client = held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                return not client.recv(100).startswith(b"SSH-")
            except OSError:
                return False  # it is just becoming itself again

        until(refuses, what="an sshd that takes no further login", seconds=20)
        yield


def hosts_of(ended: Ended) -> dict[str, dict[str, object]]:
    """Return what the document says of each host."""
    return {host["host"]: host for host in json.loads(ended.stdout)["hosts"]}


def test_twelve_hosts_fail_in_twelve_ways_in_one_document(lab: Failing) -> None:
    """The worst decides the exit status; nothing is said twice."""
    ended = lab.run("--json")
    hosts = hosts_of(ended)

    assert ended.exit_status == WORST == json.loads(ended.stdout)["exit_status"], ended.stderr
    assert set(hosts) == {*FAILING, *HEALTHY, "xyzzy"}
    for name in HEALTHY:
        assert (hosts[name]["ok"], hosts[name]["stdout"], hosts[name]["tries"]) == (True, "fine\n", 1)
    for name, (cause, error, why) in SAID.items():
        said = hosts[name]
        assert not said["ok"], said
        assert re.fullmatch(cause, str(said["cause"])), said
        assert re.fullmatch(error, str(said["error"])), said
        assert re.fullmatch(why, str(said["why"] or "")), said
    assert (hosts["killed"]["signal"], hosts["killed"]["exit_status"], hosts["exit3"]["exit_status"]) == (
        "KILL",
        137,
        3,
    )
    assert (hosts["cut"]["stdout"], hosts["cut"]["tries"]) == ("so far\n", 1)
    unknown = 1 + (hosts["hangs"]["cause"] == "unknown")
    counts = {"hosts": 15, "done": 3, "cancelled": 0, "unknown": unknown, "failed": 12 - unknown}
    assert json.loads(ended.stdout)["counts"] == counts
    until(lambda: not napping(nap()), what="end of the command that hung")


def test_the_same_run_for_people(lab: Failing) -> None:
    """Each failure at once behind its host's name, then the table, worst first."""
    ended = lab.run()
    said = {name: [line for line in ended.stderr.splitlines() if line.startswith(f"{name} ")] for name in SAID}

    assert ended.exit_status == WORST
    assert sorted(ended.stdout.splitlines()) == sorted([*(f"{name} | fine" for name in HEALTHY), f"{'cut':8} | so far"])
    for name, (_, error, _) in SAID.items():
        assert any(re.search(error, line) for line in said[name]), (name, ended.stderr)
    assert re.search("\\b3 of 15 done, (11 failed, 1|10 failed, 2) unknown in ", ended.stderr)
