"""Owns a lab whose hosts fail in twelve ways, every one of them real: brought up and ended as a program.

Ways that need a server which no sshd is (silence, a full one) are given a port here and played by the test itself.
"""

import json
import os
import re
import signal
import sys
from pathlib import Path

from tasks import files, running
from tasks.lab import bring_up, installed, lab_of
from tasks.lab.fleet import FleetHost
from tasks.lab.hosts import make_key
from tasks.lab.place import STOP_GRACE, Lab
from tasks.loopback import free_port
from tests.waiting import until

TAILNET = "failing"
NODE, OFFLINE = "node1", "offline1"
HEALTHY = ("healthy1", "healthy2", "healthy3")
# Each behind an sshd of its own. What the command does there is told by the port.
SERVED = ("changed", "newkey", "noauth", "full", "killed", "cut", "hangs", "exit3")
CLOSED, SILENT = "closed", "nobanner"
FAILING = (OFFLINE, CLOSED, SILENT, *SERVED)


def up(silent_port: int) -> dict[str, int]:
    """Bring it up, and return the port of each host that has an sshd."""
    lab = installed(lab_of(TAILNET))
    bring_up(lab, (NODE, OFFLINE))
    names = (*HEALTHY, *SERVED)
    hosts = dict(zip(names, lab.add_fleet((NODE,), len(names)), strict=True))
    files.write_private(lab.inventory / "failing.yml", json.dumps(_inventory(lab, hosts, silent_port)).encode())
    _spoil_keys(lab.state_folder / "known_hosts", hosts)
    _narrow(lab.folder / "hosts" / "fleet" / f"sshd_config.{hosts['full'].port}")
    _end(lab, OFFLINE)
    return {name: host.port for name, host in hosts.items()}


def _inventory(lab: Lab, hosts: dict[str, FleetHost], silent_port: int) -> dict[str, object]:
    """Return the same hosts by the names of their fates; the fleet's own group has what all of them share."""
    stranger = lab.folder / "stranger_key"
    make_key(stranger)
    fleet = json.loads((lab.inventory / "fleet.yml").read_text())["fleet"]["vars"]
    own: dict[str, dict[str, object]] = {
        name: {"ansible_host": host.address, "ansible_port": host.port} for name, host in hosts.items()
    }
    own["noauth"]["ansible_ssh_private_key_file"] = str(stranger)
    node = hosts["exit3"].address
    own |= {CLOSED: {"ansible_host": node, "ansible_port": free_port()}}
    own |= {SILENT: {"ansible_host": node, "ansible_port": silent_port}, OFFLINE: {}}
    groups = {"healthy": HEALTHY, "failing": FAILING}
    return {group: {"hosts": {name: own[name] for name in names}, "vars": fleet} for group, names in groups.items()}


def _spoil_keys(known_hosts: Path, hosts: dict[str, FleetHost]) -> None:
    """Let the file know another key for one host, and none for another."""
    other = known_hosts.with_name("other_key")
    make_key(other)
    key = " ".join(other.with_name("other_key.pub").read_text().split()[:2])
    lines = []
    for line in known_hosts.read_text().splitlines():
        port = line.split()[0].rpartition(":")[2]
        if port == str(hosts["changed"].port):
            lines.append(f"{line.split()[0]} {key}")
        elif port != str(hosts["newkey"].port):
            lines.append(line)
    files.write_private(known_hosts, ("\n".join(lines) + "\n").encode())


def _narrow(configuration: Path) -> None:
    """Let its sshd take one login at a time; it reads its configuration anew."""
    text = configuration.read_text()
    files.write_private(configuration, text.replace("MaxStartups 100:30:500", "MaxStartups 1").encode())
    # The title that sshd gives itself once it listens, and no sooner minds the signal.
    title = re.compile(rf".*{re.escape(str(configuration))} \[listener\].*")
    (pid,) = until(
        lambda: [each.pid for each in running.own_processes() if title.fullmatch(" ".join(each.argv))],
        what="an sshd that listens",
    )
    os.kill(pid, signal.SIGHUP)


def _end(lab: Lab, name: str) -> None:
    socket = f"--socket={lab.runtime_folder}/host-{name}.sock"
    for identity in running.own_processes():
        if socket in identity.argv:
            running.stop(identity, grace=STOP_GRACE)


if __name__ == "__main__":
    if sys.argv[1] == "up":
        Path(sys.argv[3]).write_text(json.dumps(up(int(sys.argv[2]))))
    else:
        lab_of(TAILNET).stop()
