"""Owns many hosts for tests: a tailnet of servers in this process, behind one proxy, each with its own fate."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import Failure
from tasks.remote.dialling import Dialler
from tasks.remote.hostkeys import HostKey, Store
from tasks.remote.inventory import Host, Inventory
from tasks.remote.proxy import Proxy
from tasks.remote.ways import Ways
from tasks.tailnet import Peer
from tests.remote import servers
from tests.remote.conftest import tailnet


@dataclass
class Crowd:
    """The hosts, and the ways to them. A host whose key is None is not known; `refused` has words of the daemon's."""

    proxy: servers.Socks
    folder: Path
    key: HostKey
    hosts: dict[str, Host] = field(default_factory=dict)
    peers: list[Peer] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def add(self, name: str, port: int, *, online: bool = True, key: HostKey | None = None, known: bool = True) -> None:
        """Add a host whose server listens on that port of this machine."""
        address = f"{name}.tail.test"
        self.hosts[name] = Host(name, address, user="somebody")
        self.peers.append(Peer(name, address, (f"100.64.1.{len(self.peers)}",), online=online))
        self.proxy.routes[f"{address}:22"] = port
        if known:
            Store(self.folder / "known_hosts").add(address, 22, key or self.key)

    def ways(self) -> Ways:
        """Return the ways to all of them."""
        status = tailnet(*self.peers)
        dialler = Dialler(Proxy("127.0.0.1", self.proxy.port), lambda: status, self._dial_error, self.said.append, 1.0)
        return Ways(
            inventory=Inventory(self.hosts),
            status=status,
            resolve=lambda _: (),
            store=Store(self.folder / "known_hosts"),
            dialler=dialler,
            user="somebody",
            keys_folder=self.folder,
            ask=None,
            say=self.said.append,
        )

    def _dial_error(self, address: str, _port: int) -> str:
        return self.refused.get(address, "")


@contextlib.contextmanager
def listener(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Give the port of a server that treats each connection so, in a thread for each."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_accept, args=(server, answer))
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def _accept(server: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    ended = contextlib.ExitStack()
    with ended:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            ended.callback(client.close)
            threading.Thread(target=answer, args=(client,), daemon=True).start()


def overloaded(client: socket.socket) -> None:
    """Answer as sshd does beyond MaxStartups."""
    client.sendall(b"Exceeded MaxStartups\r\n")
    client.shutdown(socket.SHUT_RDWR)


def silent(_: socket.socket) -> None:
    """Say nothing, for as long as the test takes."""


@dataclass
class Recovering:
    """Overloaded for the first connections, then another server."""

    port: int
    drops: int
    dropped: int = 0

    def __call__(self, client: socket.socket) -> None:
        """Treat one connection."""
        if self.dropped < self.drops:
            self.dropped += 1
            overloaded(client)
            return
        server = socket.create_connection(("127.0.0.1", self.port))
        for source, target in ((client, server), (server, client)):
            threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def why(failure: Failure | None) -> str:
    """Return a failure's words in one line, or "ok"."""
    return " ".join(str(failure).split()) if failure else "ok"
