"""A socket through the proxy: the name goes out unresolved, one deadline holds, each way to fail has its own words."""

import socket
import time

import pytest

from tasks.errors import Failure, TimedOut, Unavailable
from tasks.loopback import free_port
from tasks.remote.proxy import GeneralFailure, Proxy
from tests.remote import servers


def failure(proxy: Proxy, name: str = "web.tail.test", *, deadline: float = 8.0) -> Failure:
    """Return how a connection fails."""
    with pytest.raises(Failure) as caught:
        proxy.connect(name, 22, deadline=deadline)
    return caught.value


def test_a_name_reaches_the_proxy_as_it_is_and_a_plain_socket_comes_back(proxy: servers.Socks) -> None:
    """No resolver of this machine is asked; the socket is Python's own, blocking and without delay."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        proxy.routes["web.tail.test:22"] = target.getsockname()[1]
        with Proxy("127.0.0.1", proxy.port).connect("web.tail.test", 22, deadline=8.0) as connection:
            answer, _ = target.accept()
            with answer:
                answer.sendall(b"hello")

                assert connection.recv(5) == b"hello"
            assert type(connection) is socket.socket
            assert connection.gettimeout() is None
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert proxy.asked == ["web.tail.test:22"]


@pytest.mark.parametrize("address", ["100.64.0.1", "fd7a:115c:a1e0::1"])
def test_an_address_reaches_the_proxy_too(proxy: servers.Socks, address: str) -> None:
    """IPv4 and IPv6."""
    with pytest.raises(GeneralFailure):
        Proxy("127.0.0.1", proxy.port).connect(address, 22, deadline=8.0)

    assert proxy.asked == [f"{address}:22"]


def test_a_general_failure_says_how_long_it_took(proxy: servers.Socks) -> None:
    """At once means refused; close to tailscaled's five seconds means that nothing answered."""
    with pytest.raises(GeneralFailure, match=r"^general SOCKS server failure after \d+\.\d s$") as caught:
        Proxy("127.0.0.1", proxy.port).connect("web.tail.test", 22, deadline=8.0)

    assert 0 < caught.value.seconds < 20


def test_no_proxy_means_that_the_network_is_down() -> None:
    """Told at once, with the command that brings it up."""
    port = free_port()

    assert str(failure(Proxy("127.0.0.1", port))) == (
        f"the network is down: no proxy at 127.0.0.1:{port}\n  next: `inv net.up`"
    )


@pytest.mark.parametrize("mode", ["mute", "trickle"])
def test_a_proxy_that_hangs_is_given_up_at_the_deadline(proxy: servers.Socks, mode: str) -> None:
    """Even when a byte comes now and then: the clock is one, not one for each read."""
    proxy.mode = mode
    started = time.monotonic()

    hung = failure(Proxy("127.0.0.1", proxy.port), deadline=0.5)

    assert isinstance(hung, TimedOut)
    assert hung.what == f"the proxy at 127.0.0.1:{proxy.port} does not answer"
    assert time.monotonic() - started < 15  # one that hangs does so for twenty


def test_another_protocol_is_not_taken_for_a_proxy(proxy: servers.Socks) -> None:
    """Somebody else's server on the port."""
    proxy.mode = "http"

    wrong = failure(Proxy("127.0.0.1", proxy.port))

    assert isinstance(wrong, Unavailable)
    assert wrong.what == f"the proxy at 127.0.0.1:{proxy.port} does not speak SOCKS5"


def test_a_name_that_socks_cannot_carry_is_refused_before_anything_is_sent(proxy: servers.Socks) -> None:
    """PySocks would write a wrong length."""
    assert failure(Proxy("127.0.0.1", proxy.port), "a." * 70).what.endswith(
        "is too long for a SOCKS5 proxy (140 characters)"
    )
    assert proxy.asked == []
