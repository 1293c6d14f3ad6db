"""Owns what Ansible is told of our hosts: an inventory as its scripts give it, and the variables that it runs with.

The project's own inventory stays Ansible's to read, with everything that stands in it; ours is laid over it and says
only how hosts are reached, and which machines of the tailnet there are besides.
"""

import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path

from tasks.remote.inventory import Host
from tasks.remote.names import SSH_PORT

# Of 104 bytes for a unix socket's path, sixteen random ones are ssh's and ten are Ansible's.
LONGEST_CONTROL_FOLDER = 70
PERSIST_SECONDS = 60


def inventory(hosts: Iterable[Host], configuration: Path) -> dict[str, object]:
    """Return the document that `--list` prints: groups, and with `_meta` every host's variables."""
    usable = [host for host in hosts if not host.problem]
    groups: dict[str, dict[str, object]] = {}
    for group in dict.fromkeys(group for host in usable for group in host.groups):
        groups[group] = {"hosts": [host.name for host in usable if group in host.groups]}
    common = f"-F {shlex.quote(str(configuration))}"
    return {
        **groups,
        "_meta": {"hostvars": {host.name: variables(host) for host in usable}},
        "all": {"hosts": [host.name for host in usable], "vars": {"ansible_ssh_common_args": common}},
    }


def variables(host: Host) -> dict[str, object]:
    """Return how Ansible reaches a host. The rest (port aside, which it would set) is in the ssh configuration."""
    own: dict[str, object] = {"ansible_host": host.dialled}
    if host.port != SSH_PORT:
        own["ansible_port"] = host.port
    if host.user:
        own["ansible_user"] = host.user
    if host.identity:
        own["ansible_ssh_private_key_file"] = str(host.identity)
    return own


def environment(configuration: Path, control_folder: Path, forks: int) -> Mapping[str, str]:
    """Return Ansible's settings: our ssh, one connection kept per host, no file copied for each module.

    ssh_args, which an inventory's own ansible_ssh_common_args add to and do not replace.
    """
    words = f"-F {shlex.quote(str(configuration))} -o ControlMaster=auto -o ControlPersist={PERSIST_SECONDS}s"
    return {
        "ANSIBLE_SSH_ARGS": words,
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_folder),
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORKS": str(forks),
        # Our configuration is strict; Ansible would only turn that off.
        "ANSIBLE_HOST_KEY_CHECKING": "true",
    }
