"""The daemon's JSON becomes our records: as recorded from tailscaled 1.102 with headscale, with its nulls and gaps."""

import base64
import json

import pytest

from tasks.errors import Unavailable
from tasks.net.netmap import decode_dns, decode_status
from tasks.tailnet import Peer
from tests.net.test_dnsmessage import A, message

NODE = {
    "ID": "2",
    "HostName": "controller",
    "DNSName": "controller.lab.test.",
    "OS": "linux",
    "UserID": 1,
    "TailscaleIPs": ["100.64.0.2", "fd7a:115c:a1e0::2"],
    "AllowedIPs": ["100.64.0.2/32"],
    "Addrs": None,
    "CurAddr": "",
    "Relay": "lab",
    "Online": True,
    "LastSeen": "0001-01-01T00:00:00Z",
    "Capabilities": None,
}
WEB = {
    "HostName": "Web1",
    "DNSName": "web1.lab.test.",
    "OS": "linux",
    "TailscaleIPs": ["100.64.0.1"],
    "PrimaryRoutes": ["10.0.0.0/24"],
    "Tags": ["tag:web"],
    "CurAddr": "127.0.0.1:40404",
    "Relay": "lab",
    "Online": False,
    "LastSeen": "2026-11-24T11:00:00Z",
    "KeyExpiry": "2027-01-01T00:00:00Z",
    "Expired": True,
    "sshHostKeys": ["ssh-ed25519 AAAA"],
}
DB = {"HostName": "db1", "DNSName": "", "TailscaleIPs": None, "Tags": None, "PrimaryRoutes": None, "sshHostKeys": None}
RUNNING = {
    "Version": "1.102.4-t1",
    "TUN": False,
    "BackendState": "Running",
    "HaveNodeKey": True,
    "AuthURL": "",
    "TailscaleIPs": ["100.64.0.2"],
    "Self": NODE,
    "Health": ["b is ill", "a is ill"],
    "MagicDNSSuffix": "old.test",
    "CurrentTailnet": {"Name": "lab", "MagicDNSSuffix": "lab.test", "MagicDNSEnabled": True},
    "CertDomains": None,
    "Peer": {"nodekey:2": WEB, "nodekey:1": DB, "nodekey:3": {"HostName": "shared", "ShareeNode": True}},
    "User": None,
    "ClientVersion": None,
}


def encoded(value: object) -> bytes:
    """Return the body of an answer."""
    return json.dumps(value).encode()


def test_a_running_node_and_its_peers() -> None:
    """Names without the dot, health sorted (Go's order is random), no date for never, nobody's shared devices."""
    status = decode_status(encoded(RUNNING))

    assert (status.state, status.version, status.has_node_key) == ("Running", "1.102.4-t1", True)
    assert (status.tailnet, status.suffix, status.health) == ("lab", "lab.test", ("a is ill", "b is ill"))
    assert status.self_peer == Peer(
        name="controller",
        dns_name="controller.lab.test",
        addresses=("100.64.0.2", "fd7a:115c:a1e0::2"),
        online=True,
        system="linux",
        relay="lab",
    )
    assert status.peers == (
        Peer(name="db1", dns_name="", addresses=(), online=False),
        Peer(
            name="web1",
            dns_name="web1.lab.test",
            addresses=("100.64.0.1",),
            online=False,
            system="linux",
            tags=("tag:web",),
            routes=("10.0.0.0/24",),
            host_keys=("ssh-ed25519 AAAA",),
            current_address="127.0.0.1:40404",
            relay="lab",
            last_seen="2026-11-24T11:00:00Z",
            key_expiry="2027-01-01T00:00:00Z",
            expired=True,
        ),
    )


def test_a_daemon_that_waits_for_a_login() -> None:
    """Almost everything is null or missing."""
    status = decode_status(
        encoded(
            {
                "Version": "1.102.4",
                "BackendState": "NeedsLogin",
                "AuthURL": "http://127.0.0.1/register/x",
                "Self": {"HostName": "here", "DNSName": "", "TailscaleIPs": None},
                "Health": None,
                "CurrentTailnet": None,
                "MagicDNSSuffix": "tail1.ts.net.",
                "Peer": None,
            }
        )
    )

    assert (status.state, status.has_node_key, status.tailnet) == ("NeedsLogin", False, "")
    assert (status.suffix, status.health, status.peers) == ("tail1.ts.net", (), ())
    assert status.self_peer == Peer(name="here", dns_name="", addresses=(), online=False)


def test_an_empty_object_is_a_status_of_nothing() -> None:
    status = decode_status(b"{}")

    assert (status.state, status.self_peer, status.is_up) == ("", None, False)


@pytest.mark.parametrize("content", [b"", b"not json", b"[]", b'{"Peer": 7}', b"\xff", b'{"Health": [1]}'])
def test_what_is_no_status_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        decode_status(content)

    assert caught.value.what == "tailscaled answered something that is not its status"
    assert caught.value.why != ""


def test_a_dns_answer_is_unpacked_from_base64() -> None:
    body = encoded({"Bytes": base64.b64encode(message(A)).decode(), "Resolvers": None})

    assert decode_dns(body) == ("100.64.0.2",)
    assert decode_dns(encoded({"Bytes": None, "Resolvers": []})) == ()
