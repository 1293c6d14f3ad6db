"""Owns the list of hosts as people and programs see it."""

from tasks.console import table, visible
from tasks.remote.inventory import Host, Inventory
from tasks.remote.names import SSH_PORT


def as_table(inventory: Inventory) -> str:
    """Return the hosts for people: name, groups, address, user, whether they are online."""
    rows = [["host", "groups", "address", "user", "online"], *map(_row, inventory.hosts.values())]
    return visible(table(rows)) if len(rows) > 1 else "there are no hosts"


def as_records(inventory: Inventory) -> list[dict[str, object]]:
    """Return the hosts for programs."""
    return [_record(host) for host in inventory.hosts.values()]


def _row(host: Host) -> list[str]:
    online = "-" if host.peer is None else "yes" if host.peer.online else "no"
    address = host.address if host.port == SSH_PORT else f"{host.address}:{host.port}"
    return [host.name, ",".join(host.groups) or "-", host.problem or address, host.user or "-", online]


def _record(host: Host) -> dict[str, object]:
    return {
        "name": host.name,
        "groups": list(host.groups),
        "address": host.address,
        "port": host.port,
        "user": host.user or None,
        "online": host.peer.online if host.peer else None,
        "system": (host.peer.system or None) if host.peer else None,
        "not_applied": list(host.not_applied),
        "problem": host.problem or None,
    }
