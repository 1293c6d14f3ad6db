"""Owns the decision what may be dialled: destinations on the tailnet, and nothing else, before a byte leaves.

tailscaled's proxy dials *any* address, from this machine's own network when the tailnet has no way to it (tailscale:
net/tsdial/tsdial.go), so "the proxy connected" proves nothing. A peer goes to the proxy by name; every other name is
resolved first and its address held against the peers' addresses and the routes that they announce.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass

from tasks.errors import Unavailable
from tasks.remote import names
from tasks.remote.proxy import LONGEST_NAME
from tasks.tailnet import Peer, TailnetStatus

RUNNING = "Running"

Resolve = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class Destination:
    """Where to dial: `address` is what the proxy is told, `key_name` the name that host keys are kept under.

    `peer` is the machine itself, or the one that routes to it when `routed`. `forwarded` means that the port is not the
    one of the host's SSH server, but another that somebody named.
    """

    name: str
    address: str
    port: int
    key_name: str
    peer: Peer
    routed: bool = False
    forwarded: bool = False


def locate(address: str, port: int, status: TailnetStatus, resolve: Resolve) -> Destination:
    """Return where that name or address is on the tailnet; Unavailable, with the reason, when it is not there.

    `resolve` asks the tailnet's own resolver; it is not asked about names that only the tailnet could know.
    """
    if status.state != RUNNING:
        raise Unavailable("the network is not up", why=f"tailscaled says {status.state}", next_step="`inv net.up`")
    peer = status.peer(address)
    if peer is not None:
        return Destination(address, _dialled(address, peer), port, peer.dns_name or address.lower(), peer)
    if _is_ourselves(address, status):
        raise Unavailable(f"{address} is this machine itself", next_step="`inv remote.hosts`")
    if names.ip_address(address):
        return _routed(address, (address,), port, status)
    if "." not in address or _is_below(address, status.suffix):
        raise _unknown(address, "no machine of the tailnet has this name")
    addresses = resolve(address)
    if not addresses:
        raise _unknown(address, "the tailnet's resolver does not know it")
    return _routed(address, addresses, port, status)


def _routed(name: str, addresses: tuple[str, ...], port: int, status: TailnetStatus) -> Destination:
    for address in addresses:
        peer = status.peer(address)
        if peer is not None:
            return Destination(name, address, port, peer.dns_name or name.lower(), peer)
        router = _router(address, status)
        if router is not None:
            return Destination(name, address, port, name.lower(), router, routed=True)
    where = "" if addresses == (name,) else f" ({', '.join(addresses)})"
    raise Unavailable(
        f"{name}{where} is not on the tailnet",
        why="no peer has this address and none announces a route to it; only the tailnet is dialled",
        next_step="`inv remote.hosts`",
    )


def _router(address: str, status: TailnetStatus) -> Peer | None:
    """Return the peer with the narrowest route to the address; an exit node's route to everything is none."""
    wanted = ipaddress.ip_address(address)
    best: tuple[int, Peer] | None = None
    for peer in status.peers:
        for route in peer.routes:
            network = ipaddress.ip_network(route, strict=False)
            if network.prefixlen and wanted in network and (best is None or network.prefixlen > best[0]):
                best = network.prefixlen, peer
    return best[1] if best else None


def _dialled(address: str, peer: Peer) -> str:
    """Return what the proxy is told: the peer's name, or its address where the proxy cannot carry the name."""
    if names.ip_address(address) or not peer.dns_name or len(peer.dns_name) > LONGEST_NAME:
        return names.ip_address(address) or next(iter(peer.addresses), peer.name)
    return peer.dns_name


def _is_ourselves(address: str, status: TailnetStatus) -> bool:
    ours = status.self_peer
    return ours is not None and address.rstrip(".").lower() in {
        ours.name.lower(),
        ours.dns_name.lower(),
        *ours.addresses,
    }


def _is_below(name: str, suffix: str) -> bool:
    return bool(suffix) and name.rstrip(".").lower().endswith(f".{suffix.lower()}")


def _unknown(name: str, why: str) -> Unavailable:
    return Unavailable(f"unknown host {name}", why=why, next_step="`inv remote.hosts`")
