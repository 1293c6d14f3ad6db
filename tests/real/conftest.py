"""Owns what the real tests share: one lab for all of them, and a node of each test's own in its tailnet."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks import running
from tasks.loopback import free_port
from tasks.process import run
from tests.conftest import Ended, Home, run_inv, variables

HOST = "web1"
LONG = 86_400 + 10 * os.getpid()  # seconds, in which nobody else on this machine sleeps
CALL = 20.0  # seconds for one call of headscale's command line on a busy machine


def nap(number: int = 0) -> str:
    """Return the one of ten commands that last longer than any test, and are of this run alone."""
    return f"sleep {LONG + number}"


def napping(command: str) -> list[int]:
    """Return the processes that run it: this machine is all hosts at once."""
    return [each.pid for each in running.own_processes() if " ".join(each.argv) == command]


@dataclass(frozen=True)
class Lab:
    """The session's lab: what `inv` needs to speak to it, and its control server's command line."""

    environment: dict[str, str]
    state_folder: Path

    def key(self, *kind: str) -> str:
        """Return an auth key; `kind` is --expired, --used or --revoked."""
        ended = run_inv("lab.key", *kind, environment=self.environment, deadline=60)
        assert ended.exit_status == 0, ended.stderr
        return ended.stdout.strip()

    def settings(self) -> dict[str, str]:
        """Return what a node of this tailnet must be told: control server and knobs."""
        lines = (self.state_folder / "settings.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def node_number(self, name: str) -> str:
        """Return the number of the node of that name."""
        nodes = json.loads(self.headscale("nodes", "list", "--output", "json"))
        return next(str(node["id"]) for node in nodes if node["given_name"] == name)

    def headscale(self, *words: str) -> str:
        """Run the lab's own headscale command line."""
        argv = ("headscale", "--config", str(self.state_folder / "lab" / "headscale.yaml"), *words)
        ended = run(*argv, environment=self.environment, deadline=CALL)
        assert ended.exit_status == 0, ended.complaint
        return ended.text


@dataclass(frozen=True)
class Node:
    """A node of the test's own in the lab's tailnet; its tailnet is called `default` here."""

    name: str
    port: int
    environment: dict[str, str]
    folder: Path

    def inv(self, *words: str, key: str = "", stdin: str = "", environment: Mapping[str, str] | None = None) -> Ended:
        """Run `inv` for this node; `key` goes into TS_AUTHKEY."""
        own = {**self.environment, "TS_AUTHKEY": key, **(environment or {})}
        return run_inv(*words, environment=own, stdin=stdin, deadline=90)

    def daemons(self) -> list[int]:
        """Return the pids of this node's living tailscaled."""
        mark = f"--statedir={self.folder}"
        return [each.pid for each in running.own_processes() if mark in each.argv]

    @property
    def log(self) -> Path:
        """The daemon's log."""
        return self.folder / "tailscaled.log"


@pytest.fixture(scope="session")
def lab(session_home: Home, real_programs: dict[str, str]) -> Iterator[Lab]:
    """Bring up one lab with one host, for all tests that do not change it."""
    environment = {**os.environ, **variables(session_home), **real_programs}
    started = run_inv("lab.up", f"--hosts={HOST}", environment=environment, deadline=120)
    assert started.exit_status == 0, started.stderr
    yield Lab(environment, session_home.state / "platform-manager" / "lab")
    assert run_inv("lab.down", environment=environment, deadline=60).exit_status == 0


@pytest.fixture
def node(lab: Lab, home: Home, real_programs: dict[str, str]) -> Iterator[Node]:
    """Return a node that is not up yet; its daemon is ended with the test."""
    port = free_port()
    name = home.folder.name.replace("_", "-").lower().strip("-")
    environment = {
        **real_programs,
        **lab.settings(),
        "TAILNET": "default",
        "TS_HOSTNAME": name,
        "TS_SOCKS5_SERVER": f"127.0.0.1:{port}",
    }
    node = Node(name, port, environment, home.state / "platform-manager" / "default")
    yield node
    assert node.inv("net.down").exit_status == 0


def other_tailnet(node: Node) -> dict[str, str]:
    """Return what makes the node's commands those of a second tailnet beside the first."""
    return {"TAILNET": "other", "TS_SOCKS5_SERVER": f"127.0.0.1:{free_port()}", "TS_HOSTNAME": f"{node.name}-b"}
