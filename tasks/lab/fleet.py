"""Owns many hosts on few nodes: one sshd for each host, on a port of its own behind the lab's nodes.

A userspace tailscaled hands a connection to any port of its tailnet address on to the same port of loopback, so that a
host is a node's name and a port. What it costs is a login, as anywhere; what it spares is a daemon for each.
"""

import getpass
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import files, process
from tasks.lab.headscale import DOMAIN
from tasks.lab.hosts import SSHD_CONFIGURATION, Machine, make_key
from tasks.loopback import free_port

GROUP = "fleet"


@dataclass(frozen=True)
class FleetHost:
    """One host: its name in the inventory, the node that it is behind, and the port there."""

    name: str
    node: str
    port: int

    @property
    def address(self) -> str:
        """What is dialled."""
        return f"{self.node}.{DOMAIN}"


def members(nodes: Sequence[str], count: int) -> Iterator[FleetHost]:
    """Yield so many hosts, spread over the nodes in turn; each has a port that nobody listens on."""
    width = len(str(count))
    for number in range(count):
        yield FleetHost(f"host{number + 1:0{width}}", nodes[number % len(nodes)], free_port())


def start(machine: Machine, hosts: Sequence[FleetHost]) -> None:
    """Start an sshd for each host; they share one host key, one home and the lab's end."""
    folder = files.private_folder(machine.folder / "hosts" / GROUP)
    key = folder / "ssh_host_ed25519_key"
    make_key(key)
    for host in hosts:
        text = SSHD_CONFIGURATION.format(
            port=host.port,
            folder=folder,
            key=machine.client_key,
            home=files.private_folder(folder / "home"),
            lab=machine.folder,
        )
        configuration = folder / f"sshd_config.{host.port}"
        files.write_private(configuration, text.encode())
        process.detach(
            (str(machine.sshd), "-D", "-e", "-f", str(configuration)),
            environment=machine.environment,
            log=folder / "sshd.log",
            folder=folder,
        ).let_go()


def inventory(machine: Machine, hosts: Sequence[FleetHost]) -> dict[str, object]:
    """Return the hosts in Ansible's format."""
    variables = {"ansible_user": getpass.getuser(), "ansible_ssh_private_key_file": str(machine.client_key)}
    own = {host.name: {"ansible_host": host.address, "ansible_port": host.port} for host in hosts}
    return {GROUP: {"hosts": own, "vars": variables}}


def known_hosts(machine: Machine, hosts: Sequence[FleetHost]) -> str:
    """Return the lines by which the hosts are known."""
    public = (machine.folder / "hosts" / GROUP / "ssh_host_ed25519_key.pub").read_text()
    key = " ".join(public.split()[:2])
    return "".join(f"[{host.address}]:{host.port} {key}\n" for host in hosts)


def write(machine: Machine, hosts: Sequence[FleetHost], *, inventory_folder: Path, known_hosts_file: Path) -> None:
    """Put the hosts beside those that the lab has written already: into its inventory and its known hosts."""
    text = json.dumps(inventory(machine, hosts), indent=1)  # JSON is YAML
    files.write_private(inventory_folder / "fleet.yml", text.encode())
    before = known_hosts_file.read_bytes()
    files.write_private(known_hosts_file, before + known_hosts(machine, hosts).encode())
