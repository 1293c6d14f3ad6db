"""Owns the picture of the network: the one screen of `net.status`, and the same as data. Pure."""

from dataclasses import asdict

from tasks.console import table, visible
from tasks.tailnet import Peer, TailnetStatus


def as_text(status: TailnetStatus, name: str, proxy: str, server: str) -> str:
    """Return one screen: what this node is, whether it is well, and who else is there."""
    node = status.self_peer
    lines = [
        f"tailnet   {name}" + (f" ({visible(status.tailnet)})" if status.tailnet else ""),
        f"node      {_node(node)}",
        f"state     {_state(status)}",
        f"proxy     {proxy} (SOCKS5 and HTTP)",
        f"control   {server}" + ("" if node and node.online else ", not connected"),
        f"key       {_expiry(node)}",
        f"health    {visible('; '.join(status.health)) or 'well'}",
    ]
    if status.peers:
        lines += ["", table([("peer", "address", "state", "path", "system", "key"), *map(_row, status.peers)])]
    else:
        lines += ["", "no peers"]
    return "\n".join(lines)


def as_document(status: TailnetStatus, name: str, proxy: str, server: str) -> dict[str, object]:
    """Return the same as data, with the names of our records."""
    return {
        "tailnet": name,
        "up": status.is_up,
        "state": status.state,
        "version": status.version,
        "network": status.tailnet,
        "suffix": status.suffix,
        "proxy": proxy,
        "control_server": server,
        "login_error": status.login_error,
        "health": list(status.health),
        "self": _peer(status.self_peer) if status.self_peer else None,
        "peers": [_peer(peer) for peer in status.peers],
    }


def path_of(peer: Peer) -> str:
    """Say how packets travel to the peer: directly, by a relay, or not known yet."""
    if peer.current_address:
        return f"direct {peer.current_address}"
    return f"relayed by {peer.relay}" if peer.relay and peer.online else "-"


def _peer(peer: Peer) -> dict[str, object]:
    return {**asdict(peer), "path": path_of(peer)}


def _node(node: Peer | None) -> str:
    if node is None or not node.addresses:
        return "no address yet"
    return f"{visible(node.dns_name or node.name)}  {'  '.join(node.addresses)}"


def _state(status: TailnetStatus) -> str:
    if status.is_up:
        return f"up (tailscale {visible(status.version)})"
    return f"{status.state}, not up" + (f": {visible(status.login_error)}" if status.login_error else "")


def _expiry(node: Peer | None) -> str:
    if node is None:
        return "-"
    if node.expired:
        return "expired"
    return f"expires {node.key_expiry}" if node.key_expiry else "does not expire"


def _row(peer: Peer) -> tuple[str, ...]:
    seen = f", last seen {peer.last_seen}" if peer.last_seen else ""
    state = "online" if peer.online else f"offline{seen}"
    address = peer.addresses[0] if peer.addresses else "-"
    return visible(peer.name), address, state, path_of(peer), visible(peer.system), _expiry(peer)
