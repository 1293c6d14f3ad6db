"""Owns what OpenSSH is told of our hosts: the text of its configuration, the published host keys, the marked section.

The same rules as the suite's own connections: a peer is dialled by its MagicDNS name, keys that the tailnet publishes
are all that counts for it, everything else is held against the project's known_hosts, and nothing is trusted by itself.
"""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigurationFailure
from tasks.remote import hostkeys, inventory, names
from tasks.remote.inventory import Host
from tasks.remote.names import SSH_PORT
from tasks.tailnet import Peer

# Inside quotes OpenSSH expands % and $, and a quote would end them.
QUOTABLE = re.compile(r'[^"\\$\x00-\x1f\x7f]+')


@dataclass(frozen=True)
class Place:
    """What all hosts share: the words of the ProxyCommand (host and port follow), the files, the tailnet's names."""

    tailnet: str
    suffix: str
    proxy_command: tuple[str, ...]
    known_hosts: Path
    published: Path


def configuration(hosts: Sequence[Host], place: Place) -> str:
    """Return a whole file for `ssh -F`, in which every destination goes to our ProxyCommand, known or not."""
    lines = ["# Written by `inv remote.ssh-config`, anew each time."]
    return _text([*lines, *_hosts(hosts, place), "Host *", *_common(place)])


def section(hosts: Sequence[Host], place: Place) -> str:
    """Return the lines for the head of ~/.ssh/config, which say something about our hosts alone."""
    patterns = [pattern for host, own in _patterns(hosts) for pattern in own]
    patterns += [f"*.{place.suffix}"] if place.suffix else []
    begin, end = _marks(place.tailnet)
    # A Host line without a pattern would make ssh refuse the whole file.
    common = [f"Host {' '.join(patterns)}", *_common(place)] if patterns else []
    lines = [begin, *_hosts(hosts, place), *common]
    # What follows in the file was about every host before, and stays so.
    return _text([*lines, "Match all", end])


def with_section(text: str, added: str, tailnet: str) -> str:
    """Return the configuration with that section at its head, because OpenSSH takes the first value that it finds."""
    return added + without_section(text, tailnet)


def without_section(text: str, tailnet: str) -> str:
    """Return the configuration as it was before the section."""
    begin, end = _marks(tailnet)
    head, *rest = _split(text, begin)
    if not rest:
        return text
    _, *tail = _split(rest[0], end)
    if not tail:
        raise ConfigurationFailure("our section in the ssh configuration has lost its last line", why=f"expected {end}")
    return head + tail[0]


def _split(text: str, mark: str) -> list[str]:
    """Return what is before and behind the first such line, whose end an editor may have made another."""
    return re.split(re.escape(mark) + r"\r?\n", text, maxsplit=1)


def published_keys(peers: Sequence[Peer], own: str) -> str:
    """Return a known_hosts of the keys that the tailnet publishes, and of what our own says beside them.

    That is what it revokes, and what it says of other ports: whoever asks for a machine by its name, as Ansible does,
    is sent here for every port of it.
    """
    lines = [
        f"{peer.dns_name} {key.kind} {key.blob}"
        for peer in peers
        for key in map(hostkeys.parse_key, peer.host_keys)
        if key
    ]
    publishing = [peer.dns_name for peer in peers if peer.host_keys]
    for line in hostkeys.parse(own):
        who = line.who if line.marker == hostkeys.REVOKED else _on_other_ports(line, publishing)
        if who:
            lines.append(f"{line.marker} {who} {line.key.kind} {line.key.blob}".lstrip())
    return "".join(f"{line}\n" for line in lines)


def _on_other_ports(line: hostkeys.Line, names_on_usual: Iterable[str]) -> str:
    """Return whom the line means beside machines on the usual port; a hash that is none of them means another port."""
    if line.who.startswith(hostkeys.HASHED):
        return "" if any(map(line.is_about, names_on_usual)) else line.who
    patterns = [pattern for pattern in line.who.split(",") if pattern[:1] in {"[", "!"}]
    return ",".join(patterns) if any(pattern[0] == "[" for pattern in patterns) else ""


def left_out(hosts: Iterable[Host]) -> dict[str, str]:
    """Return the hosts that the configuration says nothing about, and why."""
    problems = {host.name: host.problem or _unspeakable(host) for host in hosts}
    return {name: problem for name, problem in problems.items() if problem}


def _unspeakable(host: Host) -> str:
    try:
        names.host_name(host.name)
        if host.identity:
            _quoted(host.identity)
    except (ValueError, ConfigurationFailure) as error:
        return str(error)
    return ""


def _hosts(hosts: Sequence[Host], place: Place) -> Iterator[str]:
    for host, patterns in _patterns(hosts):
        yield f"Host {' '.join(patterns)}"
        yield f"    HostName {host.dialled}"
        if host.port != SSH_PORT:
            yield f"    Port {host.port}"
        if host.user:
            yield f"    User {host.user}"
        if host.identity:
            yield f"    IdentityFile {_quoted(host.identity)}"
            yield "    IdentitiesOnly yes"
        if host.peer and host.peer.host_keys and host.port == SSH_PORT:
            yield f"    UserKnownHostsFile {_quoted(place.published)}"


def _patterns(hosts: Sequence[Host]) -> Iterator[tuple[Host, list[str]]]:
    """Yield each host with all its names; several hosts of the inventory may be one machine, whose names one has."""
    unusable = left_out(hosts)
    usable = [host for host in hosts if host.name not in unusable]
    more: dict[str, list[str]] = {}
    taken = {host.name for host in usable}
    for host in inventory.usual_first(usable):
        more[host.name] = [name for name in _names_of_machine(host) if name not in taken]
        taken.update(more[host.name])
    for host in usable:
        yield host, [host.name, *more[host.name]]


def _names_of_machine(host: Host) -> Iterable[str]:
    peer = (host.peer.dns_name, host.peer.name, *host.peer.addresses) if host.peer else ()
    return filter(None, dict.fromkeys((host.address, *peer)))


def _common(place: Place) -> Iterator[str]:
    words = " ".join(shlex.quote(word).replace("%", "%%") for word in place.proxy_command)
    yield f"    ProxyCommand {words} '%h' %p"
    yield "    ProxyUseFdpass yes"
    yield f"    UserKnownHostsFile {_quoted(place.known_hosts)}"
    yield "    GlobalKnownHostsFile /dev/null"
    yield "    StrictHostKeyChecking yes"
    yield "    UpdateHostKeys no"
    # An address may be another machine's tomorrow.
    yield "    CheckHostIP no"
    # Not post-quantum, as the WireGuard tunnel around it is not either; saves 65 ms of CPU per connection.
    yield "    KexAlgorithms ^curve25519-sha256"
    yield "    Ciphers ^aes128-gcm@openssh.com"
    yield "    ServerAliveInterval 15"


def _quoted(path: Path) -> str:
    text = str(path)
    if QUOTABLE.fullmatch(text) is None:
        raise ConfigurationFailure(f"the ssh configuration cannot hold the path {names.shown(text)}")
    return f'"{text.replace("%", "%%")}"'


def _marks(tailnet: str) -> tuple[str, str]:
    return f"# >>> platform-manager, tailnet {tailnet}", f"# <<< platform-manager, tailnet {tailnet}"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
