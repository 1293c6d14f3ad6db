"""Owns the hosts: those of the project's inventory, those of the tailnet, and how the two become one list.

Every peer of the tailnet is a host, even with no inventory at all; its tags are groups (`tag:web` is `tag_web`).
"""

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tasks.errors import ConfigurationFailure, Unavailable
from tasks.remote import ansible, document, names, precedence
from tasks.remote.document import Node, Scalar
from tasks.remote.names import SSH_PORT
from tasks.remote.precedence import Entry
from tasks.tailnet import Peer, TailnetStatus

Value = TypeVar("Value")
# Of two spellings Ansible's ssh plugin takes the one that it lists last (plugins/connection/ssh.py); so first here.
ADDRESS = ("ansible_ssh_host", "ansible_host")
PORT = ("ansible_ssh_port", "ansible_port")
USER = ("ansible_ssh_user", "ansible_user")
IDENTITY = ("ansible_ssh_private_key_file", "ansible_private_key_file")
CONNECTION = ("ansible_connection",)
JINJA = re.compile(r"\{\{|\{%")
SSH_CONNECTIONS = {"ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh"}
# Variables that change how Ansible connects or runs, and that we do not apply: each is named, none is passed over.
NOT_APPLIED = re.compile(
    r"ansible_(?:password|become\w*|timeout|host_key_checking|shell_(?:type|executable)|pipelining"
    r"|(?:ssh|scp|sftp|paramiko)_(?!host$|port$|user$|private_key_file$)\w+)"
)


@dataclass(frozen=True)
class Host:
    """One machine that commands can run on.

    `address` is what is dialled (a name or an address), `user` is empty when the inventory names none, `groups` go
    from the widest to the narrowest. `problem` says why the host cannot be used though it is listed; `not_applied`
    are variables that Ansible would obey and we do not.
    """

    name: str
    address: str
    port: int = SSH_PORT
    user: str = ""
    identity: Path | None = None
    groups: tuple[str, ...] = ()
    not_applied: tuple[str, ...] = ()
    problem: str = ""
    peer: Peer | None = None

    @property
    def dialled(self) -> str:
        """What other programs dial: the peer's MagicDNS name, where it has one."""
        return (self.peer.dns_name if self.peer else "") or self.address

    @property
    def spellings(self) -> set[str]:
        """What else the machine is called, in small letters: its address, and its peer's names and addresses."""
        of_peer = (self.peer.name, self.peer.dns_name, *self.peer.addresses) if self.peer else ()
        return {each.lower() for each in (self.address, *of_peer)}


@dataclass(frozen=True)
class Inventory:
    """Every host there is, by its name. `unread` are files encrypted as a whole, whose variables nobody here knows."""

    hosts: Mapping[str, Host]
    unread: tuple[Path, ...] = ()

    def host(self, name: str, status: TailnetStatus | None = None) -> Host:
        """Return the host of that name: the inventory's, else the peer's of that name or address, else the name itself.

        A name without a dot that nobody knows is unavailable at once: asking a resolver for it would tell the world.
        """
        found = self.hosts.get(name) or self.hosts.get(name.lower())
        if found is not None:
            return _usable(found)
        peer = status.peer(name) if status else None
        if peer is not None:
            return _usable(next((host for host in usual_first(self.hosts.values()) if host.peer == peer), _of(peer)))
        if "." in name or ":" in name or (status and _is_ours(name, status)):
            return Host(name, name)
        near = difflib.get_close_matches(name, self.hosts, n=3)
        raise Unavailable(
            f"unknown host {name}",
            why=f"did you mean {' or '.join(near)}?" if near else "it is neither in the inventory nor on the tailnet",
            next_step="`inv remote.hosts`",
        )

    def called(self, name: str) -> list[str]:
        """Return the hosts that a name or address means which is no host's own, the usual ports first; none if none."""
        wanted = name.lower()
        if wanted in self.hosts:
            return [wanted]
        return [host.name for host in usual_first(self.hosts.values()) if wanted in host.spellings]


def load(source: Path) -> Inventory:
    """Read the project's inventory, a folder or a file in Ansible's layout; where nothing is, there are no hosts."""
    if not source.exists():
        return Inventory({})
    folder = source if source.is_dir() else source.parent
    merged = precedence.merge(ansible.read(source), folder)
    return Inventory({entry.name: _host(entry, folder) for entry in merged.entries}, merged.unread)


def with_tailnet(inventory: Inventory, status: TailnetStatus) -> Inventory:
    """Return the inventory with the tailnet's peers: known hosts learn their tags and peer, others are added."""
    by_name = _peers_by_name(status)
    hosts = {name: _joined(host, by_name.get(host.address.lower())) for name, host in inventory.hosts.items()}
    taken = {host.peer.dns_name for host in hosts.values() if host.peer}
    for peer in status.peers:
        added = _of(peer)
        if peer.dns_name not in taken and _is_name(added.address):
            hosts.setdefault(added.name if added.name not in hosts else peer.dns_name, added)
    return replace(inventory, hosts=hosts)


def usual_first(hosts: Iterable[Host]) -> list[Host]:
    """Return the hosts, those on the usual port first: of several that are one machine, its names mean that one."""
    return sorted(hosts, key=lambda host: host.port != SSH_PORT)


def tag_groups(peer: Peer) -> tuple[str, ...]:
    """Return the groups that the peer's tags make, in the characters that Ansible allows: `tag:a-b` is `tag_a_b`."""
    return tuple(re.sub(r"\W", "_", tag, flags=re.ASCII) for tag in peer.tags)


def _peers_by_name(status: TailnetStatus) -> dict[str, Peer]:
    return {
        key.lower(): peer
        for peer in reversed(status.peers)
        for key in (peer.name, peer.dns_name, *peer.addresses)
        if key
    }


def _joined(host: Host, peer: Peer | None) -> Host:
    if peer is None:
        return host
    known = [group for group in host.groups if group != precedence.UNGROUPED]
    groups = (*known, *(group for group in tag_groups(peer) if group not in known))
    return replace(host, peer=peer, groups=groups or host.groups)


def _of(peer: Peer) -> Host:
    address = peer.dns_name or next(iter(peer.addresses), peer.name)
    return Host(peer.name, address, groups=tag_groups(peer), peer=peer)


def _is_ours(name: str, status: TailnetStatus) -> bool:
    return status.self_peer is not None and status.self_peer.name.lower() == name.lower()


def _is_name(text: str) -> bool:
    try:
        names.host_name(text)
    except ValueError:
        return False
    return True


def _usable(host: Host) -> Host:
    if host.problem:
        raise ConfigurationFailure(f"host {host.name} cannot be used", why=host.problem)
    return host


def _host(entry: Entry, folder: Path) -> Host:
    values = _Values(entry.variables)
    identity = values.text(IDENTITY)
    connection = values.text(CONNECTION)
    if connection and connection not in SSH_CONNECTIONS:
        values.problem = values.problem or f"ansible_connection is {names.shown(connection)}; only ssh is spoken here"
    return Host(
        name=entry.name,
        address=values.checked(ADDRESS, names.host_name) or entry.name,
        port=values.checked(PORT, names.port, numeric=True) or SSH_PORT,
        user=values.checked(USER, names.user_name) or "",
        identity=_path(identity, folder) if identity else None,
        groups=entry.groups,
        not_applied=tuple(sorted(filter(_is_not_applied, entry.variables))),
        problem=values.problem,
    )


class _Values:
    """Reads the variables of one host that we use; keeps the first that nobody here can read as a `problem`."""

    def __init__(self, variables: Mapping[str, Node]) -> None:
        self._variables = variables
        self.problem = ""

    def text(self, spellings: Sequence[str]) -> str:
        """Return the value as a text, or an empty one."""
        return self.checked(spellings, str) or ""

    def checked(
        self, spellings: Sequence[str], reader: Callable[[str], Value], *, numeric: bool = False
    ) -> Value | None:
        """Return what the reader makes of the value, or None; its ValueError becomes a failure with the place."""
        for name in spellings:
            node = self._variables.get(name)
            if node is not None and not document.is_empty(node):
                return self._checked(name, node, reader, numeric)
        return None

    def _checked(self, name: str, node: Node, reader: Callable[[str], Value], numeric: bool) -> Value | None:
        if not isinstance(node, Scalar):
            raise document.wrong(node.place, f"a text for {name}", document.kind(node))
        unreadable = node.opaque or ("a Jinja expression" if JINJA.search(node.text) else "")
        if unreadable:
            self.problem = self.problem or f"{node.place}: {name} is {unreadable}, which only Ansible can read"
            return None
        meaning = document.meaning(node)
        if meaning and not (numeric and meaning == "a number"):
            raise document.wrong(node.place, f"a text for {name}", f'{meaning}; quote it: "{node.text}"')
        try:
            return reader(node.text)
        except ValueError as error:
            raise ConfigurationFailure(f"{node.place}: {name}: {error}") from None


@functools.cache
def _is_not_applied(name: str) -> bool:
    return NOT_APPLIED.fullmatch(name) is not None


def _path(text: str, folder: Path) -> Path:
    """Return the key file: `~` is the home folder, a relative path starts beside the inventory folder."""
    if not text.isprintable():
        raise ConfigurationFailure(f"expected the path of a private key, got {names.shown(text)}")
    try:
        return folder.parent / Path(text).expanduser()
    except RuntimeError:
        raise ConfigurationFailure(f"expected the path of a private key, got {names.shown(text)}") from None
