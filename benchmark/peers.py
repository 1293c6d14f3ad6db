"""Owns what is compared over many hosts: our command and its peers, how each is started, the files that each reads.

Nothing of whoever runs them changes what they do: a home of their own, a configuration of their own. pssh is the
distribution's, because the one that the Python index has is for Python 2; where it is not installed it is left out.
parallel-ssh checks no host keys, which the others all do.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import settings

if TYPE_CHECKING:
    from tasks.lab.fleet import FleetHost

FLEET = "fleet"
SAID = b"reached-"
COMMAND = "echo reached-$((1 + 1))"  # what the command line itself holds is not what the host says
SCRIPTS = settings.ROOT / "benchmark" / "programs"
OURS, YARDSTICK, FABRIC, UNCHECKED = "ours", "asyncssh", "Fabric, pooled", "parallel-ssh, no host keys"
PSSH = "pssh"
LIBRARIES = {YARDSTICK: "with_asyncssh.py", FABRIC: "with_fabric.py", UNCHECKED: "with_parallel_ssh.py"}
TUNED = ("-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=aes128-gcm@openssh.com")
PSSH_PROGRAMS = ("parallel-ssh", "pssh")  # as Debian and Fedora call it
# Without the `|| :` xargs gives up all hosts for one that ssh cannot reach.
XARGS = """\
names=$1 forks=$2 command=$3; shift 3
xargs -a "$names" -P "$forks" -I HOST sh -c '"$@" || :' sh "$@" HOST "$command"
"""


@dataclass(frozen=True)
class Tool:
    """One of the compared: its name, what runs, and the environment that it runs in."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ground:
    """Where the tools run: a lab's tailnet with its hosts, the programs compared, a folder for their files."""

    folder: Path
    tailnet: settings.Settings
    peers: Path
    forks: int
    variables: Mapping[str, str]
    hosts: "tuple[FleetHost, ...]"

    @property
    def key(self) -> Path:
        """The private key that logs in."""
        return self.tailnet.state_folder / "lab" / "client_key"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys."""
        return self.tailnet.state_folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """The configuration that a person would write for ssh."""
        return self.folder / "ssh_config"

    def tools(self) -> list[Tool]:
        """Return all that is compared, ours first."""
        return [
            self._ours(),
            *(self._library(name, SCRIPTS / script) for name, script in LIBRARIES.items()),
            self._ssh("ssh tuned, xargs -P", *TUNED),
            self._ssh("ssh, xargs -P"),
            *self._pssh(),
            self._tool("clush", *self._clush()),
            self._pyinfra(),
            self._ansible("Ansible raw", "raw"),
        ]

    def _ours(self) -> Tool:
        """Return our command: for one host as somebody would type it for one."""
        many = (f"--hosts={FLEET}", f"--forks={self.forks}")
        which = many if len(self.hosts) > 1 else (f"--host={self.hosts[0].name}",)
        return Tool(OURS, (*invoke(), "remote.run", *which, f"--command={COMMAND}"), self.variables)

    def _tool(self, name: str, *argv: str) -> Tool:
        # A home of their own: nothing is left in the other.
        return Tool(name, argv, {**self.variables, "HOME": str(self.folder), "CLUSTERSHELL_CFGDIR": str(self.folder)})

    def _library(self, name: str, script: Path) -> Tool:
        arguments = (str(self.tailnet.proxy_port), str(self.known_hosts), str(self.key), getuser(), str(self.forks))
        line = ("sh", "-c", f'"$@" <{self.folder}/addresses', "sh", str(self.peers / "python"), str(script))
        return self._tool(name, *line, *arguments, COMMAND)

    def _ssh(self, name: str, *more: str) -> Tool:
        before = ("sh", "-c", XARGS, "sh", str(self.folder / "names"), str(self.forks), COMMAND)
        return self._tool(name, *before, "ssh", "-F", str(self.ssh_config), *more)

    def _pssh(self) -> Iterator[Tool]:
        found = next(filter(None, map(shutil.which, PSSH_PROGRAMS)), None)
        if found:
            words = ("-h", str(self.folder / "names"), "-p", str(self.forks), "-t", "0", "-i")
            yield self._tool(PSSH, found, *words, "-x", f"-F {self.ssh_config}", COMMAND)

    def _clush(self) -> tuple[str, ...]:
        how = ("-f", str(self.forks), "-o", f"-F {self.ssh_config}")
        return (str(self.peers / "clush"), *how, "-w", f"@{FLEET}", COMMAND)

    def _pyinfra(self) -> Tool:
        words = ("-y", "--parallel", str(self.forks), str(self.folder / "inventory.py"), "exec", "--", COMMAND)
        # It shows what hosts say on stderr.
        return self._tool("pyinfra", "sh", "-c", 'exec "$@" 2>&1', "sh", str(self.peers / "pyinfra"), *words)

    def _ansible(self, name: str, module: str) -> Tool:
        variables = {
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
            "ANSIBLE_SSH_COMMON_ARGS": f"-F {self.ssh_config}",
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }
        how = ("-i", str(self.folder / "names"), "all", "-f", str(self.forks))
        plain = self._tool(name, str(self.peers / "ansible"), *how, "-m", module, "-a", COMMAND)
        return replace(plain, environment={**plain.environment, **variables})


def write_files(ground: Ground) -> None:
    """Write what the peers need to know: an ssh configuration, lists of hosts, an inventory of pyinfra's."""
    hosts, folder = ground.hosts, ground.folder
    blocks = [f"Host {host.name}\n  HostName {host.address}\n  Port {host.port}\n" for host in hosts]
    proxy = f"nc -X 5 -x 127.0.0.1:{ground.tailnet.proxy_port} %h %p"
    common = (
        f"Host *\n  User {getuser()}\n  IdentityFile {ground.key}\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {ground.known_hosts}\n  ProxyCommand {proxy}\n"
    )
    ground.ssh_config.write_text("".join([*blocks, common]))
    (folder / "names").write_text("".join(f"{host.name}\n" for host in hosts))
    (folder / "addresses").write_text("".join(f"{host.address} {host.port}\n" for host in hosts))
    (folder / "groups.conf").write_text(f"[Main]\ndefault: local\n[local]\nmap: cat {folder}/names\n")
    (folder / "inventory.py").write_text(_pyinfra_inventory(ground, [host.name for host in hosts]))


def invoke() -> tuple[str, ...]:
    """Return the words that start our own `inv`."""
    return (sys.executable, str(Path(sys.executable).with_name("inv")))


def _pyinfra_inventory(ground: Ground, names: Sequence[str]) -> str:
    data = {
        "ssh_config_file": str(ground.ssh_config),
        "ssh_known_hosts_file": str(ground.known_hosts),
        "ssh_user": getuser(),
        "ssh_key": str(ground.key),
        "ssh_strict_host_key_checking": "yes",
    }
    return f"hosts = {[(name, data) for name in names]!r}\n"
