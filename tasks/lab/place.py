"""Owns one lab as a whole: its folders, its processes, and the files that it puts into its tailnet's state folder.

Nothing is remembered: whether it runs, and which hosts, is read from the processes and the control server's socket.
"""

import getpass
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasks import files, process, running
from tasks.errors import ConfigurationFailure, Unavailable
from tasks.lab import fleet, run_folder_for_sshd
from tasks.lab.fleet import FleetHost
from tasks.lab.headscale import DOMAIN, Headscale, PreauthKey
from tasks.lab.hosts import LabHost, Machine, check_names, find_sshd, group_of, make_key
from tasks.loopback import free_port, is_free
from tasks.running import Identity
from tasks.secret import Secret

LOCK_DEADLINE = 120.0  # seconds; a lab with many hosts takes a while
STOP_GRACE = 3.0  # seconds between SIGTERM and SIGKILL
CONTROLLER = "controller"
SPENDER = "spender"  # the node that uses up a single-use key
MARKER = "PLATFORM_LAB"  # in the environment of all that a lab starts
# What keeps a daemon of the lab on this machine, and lets it live where there is nothing but loopback.
KNOBS = {
    "TS_DEBUG_USE_DERP_HTTP": "1",  # the relay speaks plain http here
    "TS_DISABLE_PORTMAPPER": "1",
    "TS_PANIC_IF_HIT_MAIN_CONTROL": "1",
    "TS_DEBUG_OMIT_LOCAL_ADDRS": "1",  # offers 127.0.0.1 alone, so that all data stays on loopback
    "TS_ASSUME_NETWORK_UP_FOR_TEST": "1",  # without it a machine that has only loopback counts as offline
}


@dataclass(frozen=True)
class Programs:
    """What a lab runs."""

    headscale: Path
    tailscale: Path
    tailscaled: Path


@dataclass(frozen=True)
class Lab:
    """One lab: the tailnet it makes, running or not. The demo has one of its own beside `lab`."""

    tailnet: str
    state_folder: Path
    runtime_folder: Path
    programs: Programs | None = None

    @property
    def folder(self) -> Path:
        """What the lab's own daemons keep, inside the tailnet's state folder."""
        return self.state_folder / "lab"

    @property
    def inventory(self) -> Path:
        """The lab's hosts, in Ansible's format."""
        return self.folder / "inventory"

    def with_programs(self, programs: Programs) -> "Lab":
        """Return the same lab, able to start."""
        return replace(self, programs=programs)

    def is_up(self) -> bool:
        """Whether the lab's control server is there now."""
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._control_socket)) == 0

    def running_hosts(self) -> tuple[str, ...]:
        """Return the names of the hosts whose daemon runs."""
        pattern = re.compile(rf"--socket={re.escape(str(self.runtime_folder))}/host-(.+)\.sock")
        matches = (pattern.fullmatch(word) for identity in running.own_processes() for word in identity.argv)
        return tuple(sorted(match[1] for match in matches if match))

    def start(self, names: Sequence[str], *, proxy_port: int, say: Callable[[str], None]) -> Secret | None:
        """Start what is not running; return a good key of a new lab, None for one that was up already.

        `proxy_port` is the one for the suite's own node, if it is free.
        """
        check_names(names)
        files.private_folder(self.runtime_folder.parent)
        with files.lock(self._lock, deadline=LOCK_DEADLINE):
            if self.is_up():
                self._check_running(names)
                return None
            self._check_remains(names)
            for folder in (self.runtime_folder, self.state_folder, self.folder):
                files.private_folder(folder)
            return self._start(names, proxy_port, say)

    def add_fleet(self, nodes: Sequence[str], count: int) -> tuple[FleetHost, ...]:
        """Start `count` hosts more, each an sshd behind one of the running nodes, and return them."""
        hosts = tuple(fleet.members(nodes, count))
        fleet.start(self._machine(), hosts)
        known_hosts = self.state_folder / "known_hosts"
        fleet.write(self._machine(), hosts, inventory_folder=self.inventory, known_hosts_file=known_hosts)
        return hosts

    def stop(self) -> bool:
        """End every process of the lab and remove its folders; return whether there was anything."""
        files.private_folder(self.runtime_folder.parent)
        with files.lock(self._lock, deadline=LOCK_DEADLINE):
            found = self.processes()
            for identity in found:
                running.stop(identity, grace=STOP_GRACE)
            run_folder_for_sshd.remove_if_unused()
            there = bool(found) or self.state_folder.exists()
            for folder in (self.state_folder, self.runtime_folder):
                shutil.rmtree(folder, ignore_errors=True)
        return there

    def processes(self) -> list[Identity]:
        """Return every process of the lab: its daemons, the suite's own node, and what was started through them."""
        everybody = list(running.own_processes())
        roots = [identity for identity in everybody if self._is_daemon(identity) or self._is_marked(identity)]
        return [identity for identity in running.descendants(roots) if identity.pid != os.getpid()]

    def make_key(self, kind: str) -> Secret:
        """Make an auth key: `good`, or `expired`, `used` or `revoked`."""
        if not self.is_up():
            raise Unavailable("the lab is down", next_step="`inv lab.up`", cause="down")
        server = self._server()
        made = server.create_key(server.user(), reusable=kind != "used")
        if kind == "expired":
            server.expire_key(made.number)
        elif kind == "revoked":
            server.delete_key(made.number)
        elif kind == "used":
            self._spend(made)
        return made.key

    @property
    def _control_socket(self) -> Path:
        return self.runtime_folder / "headscale.sock"

    @property
    def _lock(self) -> Path:
        # Beside the folder that stop() removes: a lock file is never unlinked.
        return self.runtime_folder.with_name(f"{self.tailnet}.lab.lock")

    @property
    def _environment(self) -> dict[str, str]:
        home = files.private_folder(self.folder / "home")
        return {**process.plain_environment({**KNOBS, "HOME": str(home), "NO_COLOR": "1"}), MARKER: str(self.folder)}

    def _server(self) -> Headscale:
        return Headscale(self._installed.headscale, self.folder, self._control_socket, self._environment)

    def _machine(self) -> Machine:
        programs = self._installed
        return Machine(
            programs.tailscale, programs.tailscaled, find_sshd(), self.folder, self.runtime_folder, self._environment
        )

    @property
    def _installed(self) -> Programs:
        if self.programs is None:
            raise Unavailable(f"the programs of the lab {self.tailnet!r} are not installed")
        return self.programs

    def _check_running(self, names: Sequence[str]) -> None:
        missing = sorted(set(names) - set(self.running_hosts()))
        if missing:
            raise ConfigurationFailure(
                f"the lab is up, but without {', '.join(missing)}",
                next_step=f"`inv lab.down lab.up --hosts={','.join(names)}` makes it anew",
            )

    def _check_remains(self, names: Sequence[str]) -> None:
        """Refuse to start over another's remains. They are not removed unasked: the tailnet's vault is among them."""
        if self.folder.exists() and self._server().has_run:
            raise ConfigurationFailure(
                "an earlier lab was not taken down, and what is left of it cannot go on",
                next_step=f"`inv lab.down lab.up --hosts={','.join(names)}` makes it anew",
            )

    def _start(self, names: Sequence[str], proxy_port: int, say: Callable[[str], None]) -> Secret:
        server, machine = self._server(), self._machine()
        hosts = [LabHost(name, machine) for name in names]
        say(f"starting headscale and {len(hosts)} hosts, all on loopback")
        address = server.start(tuple(sorted({host.tag for host in hosts})))
        user = server.create_user()
        if machine.sshd:
            run_folder_for_sshd.make()
            make_key(machine.client_key)
        for host in hosts:
            host.start()
        for host in hosts:
            host.log_in(address, server.create_key(user, reusable=False, tags=(host.tag,)).key)
            say(f"  {host.name} has joined, port 22 is {'sshd' if host.runs_sshd else 'Tailscale SSH'}")
        self._write_files(hosts, address, proxy_port)
        return server.create_key(user, reusable=True).key

    def _write_files(self, hosts: Sequence[LabHost], address: str, proxy_port: int) -> None:
        files.private_folder(self.inventory)
        inventory = json.dumps(_inventory(hosts), indent=2)  # JSON is YAML
        files.write_private(self.inventory / "hosts.yml", inventory.encode())
        keys = [f"{host.name}.{DOMAIN} {host.host_key()}\n" for host in hosts if host.runs_sshd]
        files.write_private(self.state_folder / "known_hosts", "".join(keys).encode())
        values = {
            "TS_LOGIN_SERVER": address,
            "TS_HOSTNAME": CONTROLLER,
            "TS_SOCKS5_SERVER": f"127.0.0.1:{proxy_port if is_free(proxy_port) else free_port()}",
            "INVENTORY": str(self.inventory),
            "VAULT": "age",  # a person's own, as `.env` names it, knows none of the lab's keys
            **KNOBS,
        }
        lines = [
            "# Written by lab.up for its own tailnet; gone with lab.down.",
            *(f"{k}={v}" for k, v in values.items()),
        ]
        files.write_private(self.state_folder / "settings.env", ("\n".join(lines) + "\n").encode())

    def _spend(self, made: PreauthKey) -> None:
        """Let a throw-away node use the key."""
        host = LabHost(SPENDER, replace(self._machine(), sshd=None))
        address = _login_server(self.state_folder / "settings.env")
        host.start()
        try:
            host.log_in(address, made.key)
        finally:
            for identity in running.own_processes():
                if f"--socket={host.socket}" in identity.argv:
                    running.stop(identity, grace=STOP_GRACE)
            shutil.rmtree(host.folder, ignore_errors=True)

    def _is_daemon(self, identity: Identity) -> bool:
        # Not whoever names our folder: that may be an editor, or the shell that runs us. sshd's title, a whole command
        # line in one word, overwrites its environment.
        has_socket = any(word.startswith(f"--socket={self.runtime_folder}/") for word in identity.argv)
        return has_socket or (identity.program == "sshd" and f"{self.folder}/" in " ".join(identity.argv))

    def _is_marked(self, identity: Identity) -> bool:
        return f"{MARKER}={self.folder}" in running.environment_of(identity)


def _inventory(hosts: Sequence[LabHost]) -> dict[str, object]:
    groups: dict[str, dict[str, dict[str, dict[str, str]]]] = {}
    for host in hosts:
        own = {"ansible_ssh_private_key_file": str(host.machine.client_key)} if host.runs_sshd else {}
        groups.setdefault(group_of(host.name), {"hosts": {}})["hosts"][host.name] = own
    # The only one that an ordinary user's sshd can log in.
    return {"all": {"vars": {"ansible_user": getpass.getuser()}, "children": groups}}


def _login_server(settings_file: Path) -> str:
    name = "TS_LOGIN_SERVER="
    lines = settings_file.read_text().splitlines()
    return next(line.removeprefix(name) for line in lines if line.startswith(name))
