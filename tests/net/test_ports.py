"""Who listens on a port of this machine is known by the socket's inode, and named for a person."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tasks.loopback import free_port
from tasks.net.ports import Listener, greets, is_served_by, listener
from tests.conftest import Home

LISTEN_AS = """
import os, socket, sys
listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
os.setuid(int(sys.argv[2]))
print("listening", flush=True)
sys.stdin.read()
"""


@contextmanager
def listening(
    host: str = "127.0.0.1", port: int = 0, family: socket.AddressFamily = socket.AF_INET
) -> Iterator[socket.socket]:
    """Give a listener of this process."""
    with socket.socket(family) as served:
        served.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        served.bind((host, port))
        served.listen()
        yield served


@contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection on loopback, and give the port."""
    with listening() as served:

        def serve() -> None:
            connection, _ = served.accept()
            with connection:
                talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield served.getsockname()[1]
        thread.join()


def test_a_port_belongs_to_the_process_that_holds_its_socket() -> None:
    with listening() as served:
        port = served.getsockname()[1]

        assert is_served_by("127.0.0.1", port, os.getpid())
        assert not is_served_by("127.0.0.1", port, os.getppid())
        assert not is_served_by("127.0.0.2", port, os.getpid())
    assert not is_served_by("127.0.0.1", port, os.getpid())


def test_a_process_that_is_gone_or_hidden_serves_nothing() -> None:
    with listening() as served:
        child = subprocess.Popen(["/bin/true"])
        child.wait()

        assert not is_served_by("127.0.0.1", served.getsockname()[1], child.pid)


def test_a_connection_is_no_listener() -> None:
    with listening() as served, socket.create_connection(served.getsockname()) as connection:
        assert not is_served_by("127.0.0.1", connection.getsockname()[1], os.getpid())


def test_a_free_port_has_no_listener() -> None:
    """One that somebody has just left, too."""
    port = free_port()
    with listening(port=port) as served, socket.create_connection(("127.0.0.1", port)):
        served.accept()[0].close()

    assert listener("127.0.0.1", port) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_who_holds_a_port_is_named(host: str) -> None:
    with listening(host) as served:
        found = listener("127.0.0.1", served.getsockname()[1])

    assert found is not None
    assert found.pid == os.getpid()
    assert str(found) == f"{found.program} (pid {os.getpid()}, user {found.user})"


def test_a_stranger_on_the_other_loopback_is_none_of_our_business() -> None:
    """Ours is the literal 127.0.0.1, never `localhost`, which may be ::1."""
    with listening("::1", family=socket.AF_INET6) as served:
        assert listener("127.0.0.1", served.getsockname()[1]) is None


def test_a_listener_whose_process_is_hidden_is_still_described() -> None:
    """As of another user, whose descriptors only root may read."""
    assert str(Listener(None, "another program", "0")) == "another program (pid hidden from us, user 0)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program of another user")
def test_another_users_program_is_named_with_its_user(home: Home) -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN_AS, str(port), "65534"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"listening\n"
        found = listener("127.0.0.1", port)
        child.stdin.close()

    assert found is not None
    assert (found.pid, found.user) == (child.pid, "nobody")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user")
def test_an_ordinary_user_learns_at_least_whose_port_it_is(home: Home) -> None:
    script = "import os; os.setuid(65534); from tasks.net.ports import listener; print(listener('127.0.0.1', {}))"
    with listening() as served:
        port = served.getsockname()[1]
        # Imported before it gives up its rights: the checkout need not be readable for everybody.
        text = "import psutil, tasks.net.ports; " + script.format(port)
        ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=20)

    assert ended.stdout == "another program (pid hidden from us, user 0)\n"


def test_a_socks5_server_greets() -> None:
    def welcome(connection: socket.socket) -> None:
        assert connection.recv(10) == b"\x05\x01\x00"
        connection.sendall(b"\x05\x00")

    with answering(welcome) as port:
        assert greets("127.0.0.1", port, deadline=5.0)


@pytest.mark.parametrize("answer", [b"", b"\x05\xff", b"HTTP/1.1 400\r\n", b"\x04\x00"])
def test_any_other_server_does_not(answer: bytes) -> None:
    with answering(lambda connection: connection.sendall(answer)) as port:
        assert not greets("127.0.0.1", port, deadline=5.0)


def test_a_silent_or_missing_server_does_not_greet_within_the_deadline() -> None:
    done = threading.Event()

    def say_nothing(_connection: socket.socket) -> None:
        assert done.wait(10)

    with answering(say_nothing) as port:
        assert not greets("127.0.0.1", port, deadline=0.05)
        done.set()
    assert not greets("127.0.0.1", free_port(), deadline=5.0)
