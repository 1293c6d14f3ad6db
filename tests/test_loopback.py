"""A port that nobody has."""

import socket

from tasks.loopback import free_port, is_free


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
