"""Owns the daemon's JSON: the parts of it that we read, decoded into our records. The only file that knows msgspec.

Field names are those of tailscale's ipn/ipnstate/ipnstate.go; unknown ones are passed over, `null` is read as empty.
"""

from typing import TypeVar

import msgspec

from tasks.errors import Unavailable
from tasks.net import dnsmessage
from tasks.tailnet import Peer, TailnetStatus

Kind = TypeVar("Kind")
NEVER = "0001-01-01"  # Go's zero time


class PeerJson(msgspec.Struct):
    """`ipnstate.PeerStatus`, for `Self` and each peer."""

    HostName: str = ""
    DNSName: str = ""
    OS: str = ""
    TailscaleIPs: list[str] | None = None
    Tags: list[str] | None = None
    PrimaryRoutes: list[str] | None = None
    CurAddr: str = ""
    Relay: str = ""
    Online: bool = False
    LastSeen: str = ""
    KeyExpiry: str = ""
    Expired: bool = False
    ShareeNode: bool = False
    ssh_host_keys: list[str] | None = msgspec.field(name="sshHostKeys", default=None)


class TailnetJson(msgspec.Struct):
    """`ipnstate.TailnetStatus`."""

    Name: str = ""
    MagicDNSSuffix: str = ""


class StatusJson(msgspec.Struct):
    """`ipnstate.Status`."""

    Version: str = ""
    BackendState: str = ""
    HaveNodeKey: bool = False
    Health: list[str] | None = None
    CurrentTailnet: TailnetJson | None = None
    MagicDNSSuffix: str = ""
    Self: PeerJson | None = None
    Peer: dict[str, PeerJson] | None = None


class DnsJson(msgspec.Struct):
    """`apitype.DNSQueryResponse`: the raw DNS answer, in base64."""

    Bytes: bytes | None = None


class PingJson(msgspec.Struct):
    """`ipnstate.PingResult`: an empty `Err` means that the machine answered."""

    Err: str = ""


def decode_status(content: bytes) -> TailnetStatus:
    """Turn the body of `GET status` into a record, peers in the order of their names."""
    raw = _decode(content, StatusJson)
    tailnet = raw.CurrentTailnet or TailnetJson()
    peers = [_peer(peer) for peer in (raw.Peer or {}).values() if not peer.ShareeNode]
    return TailnetStatus(
        state=raw.BackendState,
        version=raw.Version,
        has_node_key=raw.HaveNodeKey,
        tailnet=tailnet.Name,
        suffix=(tailnet.MagicDNSSuffix or raw.MagicDNSSuffix).rstrip("."),
        self_peer=_peer(raw.Self) if raw.Self else None,
        peers=tuple(sorted(peers, key=lambda peer: peer.name)),
        health=tuple(sorted(raw.Health or ())),
    )


def decode_dns(content: bytes) -> tuple[str, ...]:
    """Return the A and AAAA addresses in the body of `GET dns-query`; none for an error or an empty answer."""
    return dnsmessage.addresses(_decode(content, DnsJson).Bytes or b"")


def decode_ping(content: bytes) -> bool:
    """Return whether the body of `POST ping` tells of an answer."""
    return not _decode(content, PingJson).Err


def _peer(raw: PeerJson) -> Peer:
    dns_name = raw.DNSName.rstrip(".").lower()
    return Peer(
        name=dns_name.partition(".")[0] or raw.HostName.lower(),
        dns_name=dns_name,
        addresses=tuple(raw.TailscaleIPs or ()),
        online=raw.Online,
        system=raw.OS,
        tags=tuple(raw.Tags or ()),
        routes=tuple(raw.PrimaryRoutes or ()),
        host_keys=tuple(raw.ssh_host_keys or ()),
        current_address=raw.CurAddr,
        relay=raw.Relay,
        last_seen="" if raw.LastSeen.startswith(NEVER) else raw.LastSeen,
        key_expiry=raw.KeyExpiry,
        expired=raw.Expired,
    )


def _decode(content: bytes, kind: type[Kind]) -> Kind:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError as error:
        raise Unavailable("tailscaled answered something that is not its status", why=str(error)) from None
