"""What may be dialled: the tailnet and nothing else, decided before a byte leaves."""

import dataclasses
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import Unavailable
from tasks.remote.destination import Destination, locate
from tasks.tailnet import Peer
from tests.remote.conftest import WEB, tailnet

ROUTER = Peer("router", "router.tail.test", ("100.64.0.5",), online=True, routes=("10.0.0.0/8", "0.0.0.0/0", "::/0"))
NARROW = Peer("narrow", "narrow.tail.test", ("100.64.0.6",), online=True, routes=("10.1.0.0/16", "fd00::/64"))


def never(name: str) -> tuple[str, ...]:
    """Resolve nothing: being asked is the mistake."""
    raise AssertionError(f"the resolver was asked for {name}")


def refusal(address: str, *peers: Peer, resolved: tuple[str, ...] | None = None) -> str:
    """Return why the address is not dialled."""
    with pytest.raises(Unavailable) as caught:
        locate(address, 22, tailnet(*peers), never if resolved is None else lambda _: resolved)
    return str(caught.value)


@pytest.mark.parametrize("name", ["web", "WEB", "web.tail.test", "web.tail.test."])
def test_a_peer_goes_to_the_proxy_by_its_full_name(name: str) -> None:
    """Unresolved; its key is kept under the same name."""
    assert locate(name, 22, tailnet(WEB), never) == Destination(name, "web.tail.test", 22, "web.tail.test", WEB)


def test_a_peers_address_goes_as_it_is() -> None:
    """The key is the machine's all the same."""
    assert locate("100.64.0.1", 22, tailnet(WEB), never) == Destination(
        "100.64.0.1", "100.64.0.1", 22, "web.tail.test", WEB
    )


def test_a_peer_without_a_usable_name_goes_by_address() -> None:
    """No MagicDNS, or a name that SOCKS cannot carry."""
    nameless = dataclasses.replace(WEB, dns_name="")
    long = dataclasses.replace(WEB, dns_name="web." + "x." * 70 + "test")

    assert locate("web", 22, tailnet(nameless), never).address == "100.64.0.1"
    assert locate("web", 22, tailnet(long), never).address == "100.64.0.1"


def test_an_address_behind_a_router_is_dialled_by_the_narrowest_route() -> None:
    """A route to everything is an exit node's, and no way into the tailnet."""
    found = locate("10.1.2.3", 2222, tailnet(ROUTER, NARROW), never)

    assert found == Destination("10.1.2.3", "10.1.2.3", 2222, "10.1.2.3", NARROW, routed=True)
    assert locate("fd00::7", 22, tailnet(ROUTER, NARROW), never).peer == NARROW
    assert locate("10.2.0.1", 22, tailnet(ROUTER, NARROW), never).peer == ROUTER


def test_another_name_is_resolved_and_its_address_is_dialled() -> None:
    """The address that was held against the routes, not the name: it could resolve to another one meanwhile."""
    found = locate("db.corp.example", 22, tailnet(NARROW), lambda _: ("192.0.2.1", "10.1.0.9"))
    peer = locate("alias.corp.example", 22, tailnet(WEB), lambda _: ("100.64.0.1",))

    assert found == Destination("db.corp.example", "10.1.0.9", 22, "db.corp.example", NARROW, routed=True)
    assert peer == Destination("alias.corp.example", "100.64.0.1", 22, "web.tail.test", WEB)


def test_what_is_not_on_the_tailnet_is_refused_with_the_reason() -> None:
    """Loopback, the internet, another tailnet's address, whatever the proxy would connect to."""
    why = "no peer has this address and none announces a route to it; only the tailnet is dialled"
    for address in ("8.8.8.8", "127.0.0.1", "::1", "169.254.169.254", "100.64.7.7"):
        assert refusal(address, WEB, ROUTER) == f"{address} is not on the tailnet: {why}\n  next: `inv remote.hosts`"
    assert refusal("example.com", WEB, resolved=("93.184.216.34",)).startswith(
        "example.com (93.184.216.34) is not on the"
    )


def test_a_name_that_only_the_tailnet_could_know_asks_no_resolver() -> None:
    """A bare name, and a name below the tailnet's own suffix."""
    why = "no machine of the tailnet has this name\n  next: `inv remote.hosts`"
    assert refusal("nosuch", WEB) == f"unknown host nosuch: {why}"
    assert refusal("nosuch.Tail.Test", WEB) == f"unknown host nosuch.Tail.Test: {why}"


def test_a_name_that_does_not_resolve_is_unknown() -> None:
    """In words of its own."""
    assert refusal("no.example", resolved=()) == (
        "unknown host no.example: the tailnet's resolver does not know it\n  next: `inv remote.hosts`"
    )


def test_this_machine_is_not_dialled() -> None:
    """tailscaled would connect to its own loopback."""
    for name in ("controller", "controller.tail.test", "100.64.0.99"):
        assert refusal(name) == f"{name} is this machine itself\n  next: `inv remote.hosts`"


def test_nothing_is_dialled_while_the_network_is_not_up() -> None:
    """The proxy works before the login, and would leave by this machine's own network."""
    with pytest.raises(Unavailable, match=r"^the network is not up: tailscaled says NeedsLogin\n"):
        locate("web", 22, tailnet(WEB, state="NeedsLogin"), never)


@given(st.ip_addresses())
def test_no_address_passes_that_no_peer_has_or_routes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Held against the routes by hand."""
    routed = any(address in ipaddress.ip_network(route) for route in ("10.1.0.0/16", "fd00::/64"))
    known = str(address) in {*WEB.addresses, *NARROW.addresses}
    try:
        locate(str(address), 22, tailnet(WEB, NARROW), never)
    except Unavailable:
        assert not routed
        assert not known
    else:
        assert routed or known
