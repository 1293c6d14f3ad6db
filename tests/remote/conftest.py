"""Owns what the tests of `remote` share: proxies, SSH servers, keys, a tailnet."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import paramiko
import pytest

from tasks.remote.hostkeys import HostKey, Store, Verifier
from tasks.remote.login import Login
from tasks.remote.places import Storage
from tasks.remote.proxy import Proxy
from tasks.remote.ssh import Session, connect
from tasks.tailnet import Peer, TailnetStatus
from tests.remote import servers
from tests.remote.copies import ODD, Shell

Made = TypeVar("Made")
WEB = Peer("web", "web.tail.test", ("100.64.0.1",), online=True, tags=("tag:web",))


@pytest.fixture(scope="session")
def host_key() -> paramiko.PKey:
    """Return a host's key. ECDSA, because paramiko cannot make the other small kind."""
    return paramiko.ECDSAKey.generate()


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    """Return what ends the servers of a test."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def proxy(stack: contextlib.ExitStack) -> servers.Socks:
    """Return a running proxy without routes."""
    return stack.enter_context(servers.socks())


@pytest.fixture
def serve(stack: contextlib.ExitStack, host_key: paramiko.PKey) -> Callable[..., servers.SSHServer]:
    """Return what starts an SSH server with these commands."""

    def start(commands: Mapping[str, servers.Script] | None = None, **given: object) -> servers.SSHServer:
        server = servers.SSHServer(**{"key": host_key, "commands": commands or {}, **given})  # type: ignore[arg-type]
        return stack.enter_context(servers.ssh_server(server))

    return start


@dataclass
class Reached:
    """One host behind a proxy, and what it takes to log in there."""

    proxy: servers.Socks
    known_hosts: Path
    known: HostKey
    name: str = "web.tail.test"
    said: str = ""

    def dial(self) -> socket.socket:
        """Connect through the proxy."""
        return Proxy("127.0.0.1", self.proxy.port).connect(self.name, 22, deadline=8.0)

    def verifier(self, *published: str, ask: Callable[[str], bool] | None = None) -> Verifier:
        """Return what decides about the host's key."""
        return Verifier(Store(self.known_hosts), "web", self.name, 22, published, ask)

    def connect(self, login: Login | None = None, *, silence: float = 12.0) -> Session:
        """Log in on a host whose key the tailnet publishes."""
        verifier = self.verifier(f"{self.known.kind} {self.known.blob}")
        return connect(self.dial(), verifier, login or Login("somebody"), self._hear, silence=silence)

    def _hear(self, text: str) -> None:
        self.said += text


@pytest.fixture
def reach(proxy: servers.Socks, host_key: paramiko.PKey, tmp_path: Path) -> Callable[[int], Reached]:
    """Return what puts the server on a port behind the proxy, as the host web.tail.test."""

    def put(port: int) -> Reached:
        proxy.routes["web.tail.test:22"] = port
        return Reached(proxy, tmp_path / "known_hosts", HostKey(host_key.get_name(), host_key.get_base64()))

    return put


@dataclass
class Heard:
    """What a command wrote on its two outputs."""

    stdout: bytes = b""
    stderr: bytes = b""

    def out(self, data: bytes) -> None:
        """Take from its stdout."""
        self.stdout += data

    def err(self, data: bytes) -> None:
        """Take from its stderr."""
        self.stderr += data


@pytest.fixture
def heard() -> Heard:
    """Return two sinks that keep what they get."""
    return Heard()


def tailnet(*peers: Peer, state: str = "Running") -> TailnetStatus:
    """Return the status of a tailnet with these machines, in which we are `controller`."""
    ours = Peer("controller", "controller.tail.test", ("100.64.0.99",), online=True)
    return TailnetStatus(state, "1.102.4", True, "test", "tail.test", ours, peers, ())


def threads() -> set[str]:
    """Return the threads of this process, by the kernel's ids."""
    return {entry.name for entry in Path("/proc/self/task").iterdir()}


def discard(_: bytes) -> None:
    """Take output and drop it."""


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Return the host, whose login starts in an empty folder."""
    (tmp_path / "there").mkdir()
    return Shell(tmp_path / "there")


@pytest.fixture
def storage(shell: Shell) -> Storage:
    """Return its files."""
    return Storage(shell, "web")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Return a folder with files of odd names, a folder in it, an empty one and a link."""
    folder = tmp_path / "here"
    (folder / "sub" / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD):
        (folder / name).write_bytes(os.urandom(1000 * number))
        (folder / "sub" / name).write_text(name.encode("ascii", "replace").decode())
    (folder / "plain").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    return folder
