"""A port that nobody has."""

import contextlib
import socket

import pytest

from tasks.loopback import EPHEMERAL, HERE, free_port, is_free, own_ports


def test_a_free_port_is_free() -> None:
    port = free_port()

    assert port != 0
    assert is_free(port)


def test_a_port_with_a_server_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free(listener.getsockname()[1])


def test_a_port_of_datagrams_is_another() -> None:
    port = free_port(socket.SOCK_DGRAM)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", port))


def test_a_free_port_is_one_of_ours() -> None:
    assert free_port() in own_ports(EPHEMERAL.read_text())


@pytest.mark.parametrize(
    ("ephemeral", "ours"),
    [
        ("32768\t60999\n", range(21000, 32000)),
        ("15000\t65535\n", range(4000, 15000)),
        ("5000\t65535\n", range(1024, 5000)),
        ("1024\t65535\n", range(21000, 32000)),
    ],
)
def test_our_ports_are_below_the_kernels_where_that_leaves_any(ephemeral: str, ours: range) -> None:
    assert own_ports(ephemeral) == ours


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_that_somebody_has_is_left_to_him(kind: socket.SocketKind) -> None:
    """The next in turn, here; whoever has it."""
    following = free_port() + 1
    with socket.socket(socket.AF_INET, kind) as stranger:
        with contextlib.suppress(OSError):  # somebody has it already
            stranger.bind((HERE, following))

        assert free_port(kind) != following


def test_no_port_is_given_twice() -> None:
    """Its server may need a while to start."""
    ports = [free_port() for _ in range(200)]

    assert len(set(ports)) == 200
