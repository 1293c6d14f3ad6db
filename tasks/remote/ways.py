"""Owns the way to a host: who it is, where it is, a socket to it, a session on it. One for all hosts of a command.

What many hosts share (the inventory, the tailnet's status, the known hosts, the dialler) is read once.
"""

import dataclasses
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.console import visible
from tasks.remote import destination
from tasks.remote.dialling import Dialler
from tasks.remote.hostkeys import Store, Verifier
from tasks.remote.inventory import Host, Inventory
from tasks.tailnet import TailnetStatus

if TYPE_CHECKING:
    from tasks.remote.halting import Halt
    from tasks.remote.link import Link
    from tasks.remote.login import Login
    from tasks.remote.ssh import Session

# What OpenSSH tries by itself, in its order; DSA and security keys need an agent or are gone.
DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class Ways:
    """The ways to every host. `user` logs in where the inventory names nobody, with the keys of `keys_folder`.

    `ask` puts a first contact to a person, None means nobody is there; `say` tells what a person should know.
    """

    inventory: Inventory
    status: TailnetStatus
    resolve: destination.Resolve
    store: Store
    dialler: Dialler
    user: str
    keys_folder: Path
    ask: Callable[[str], bool] | None
    say: Callable[[str], None]

    def to(self, name: str) -> "Way":
        """Return the way to the host of that name; a failure says why there is none."""
        host = self.inventory.host(name, self.status)
        if host.not_applied:
            self.say(f"{name}: not applied: {', '.join(host.not_applied)}")
        found = destination.locate(host.address, host.port, self.status, self.resolve)
        return Way(host, dataclasses.replace(found, name=host.name), self)

    def dial(self, name: str, port: int) -> socket.socket:
        """Return a socket to any port of the host of that name."""
        there = self.to(name).destination
        return self.dialler.connect(dataclasses.replace(there, port=port, forwarded=port != there.port))


@dataclass(frozen=True)
class Way:
    """The way to one host."""

    host: Host
    destination: destination.Destination
    ways: Ways

    def dial(self) -> socket.socket:
        """Return a socket to the host's SSH port."""
        return self.ways.dialler.connect(self.destination)

    def verifier(self) -> Verifier:
        """Return what decides about the host's key."""
        there = self.destination
        published = () if there.routed else there.peer.host_keys
        return Verifier(self.ways.store, self.host.name, there.key_name, there.port, published, self.ways.ask)

    def login(self) -> "Login":
        """Return who logs in, and with which keys."""
        from tasks.remote.login import Login

        named = self.host.identity is not None
        return Login(self.host.user or self.ways.user, self._identities(), named)

    def session(self) -> "Session":
        """Return a session: dialled, the host's key checked, logged in."""
        sock = self.dial()
        # Not earlier: the host makes its side of the connection ready while we load what speaks SSH.
        from tasks.remote import ssh

        return ssh.connect(sock, self.verifier(), self.login(), lambda text: self.ways.say(visible(text)))

    def link(self, tell: Callable[[str], None], halt: "Halt") -> "Link":
        """Return a link: the same for one of many, which breaks off when it is asked to halt."""
        sock = self.dial()
        from tasks.remote import link  # not earlier, as above

        return link.connect(sock, self, tell, halt)

    def _identities(self) -> tuple[Path, ...]:
        if self.host.identity:
            return (self.host.identity,)
        paths = (self.ways.keys_folder / name for name in DEFAULT_IDENTITIES)
        return tuple(path for path in paths if path.is_file())
