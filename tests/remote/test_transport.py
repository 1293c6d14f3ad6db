"""The protocol: which host key is asked for, what a server says to a login, what its failures are called."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest
from paramiko.ssh_exception import IncompatiblePeer

from tasks.errors import TimedOut, Unavailable
from tasks.remote import transport
from tasks.remote.hostkeys import HostKey
from tasks.remote.transport import Transport
from tests.remote.servers import SSHServer

Serve = Callable[..., SSHServer]


def dial(port: int) -> socket.socket:
    """Connect to a server of this test."""
    return socket.create_connection(("127.0.0.1", port))


def test_a_host_shows_its_key_without_a_login(serve: Serve, host_key: paramiko.PKey) -> None:
    """For remote.trust."""
    server = serve()

    shown = transport.fetch_host_key("web", dial(server.port))

    assert shown == HostKey(host_key.get_name(), host_key.get_base64())
    assert server.logins == 0


def test_a_key_exchange_that_stops_ends_in_time_without_a_thread_for_the_clock() -> None:
    """Of many hosts at once each would have one more."""
    with socket.create_server(("127.0.0.1", 0)) as listener, dial(listener.getsockname()[1]) as connection:
        client, _ = listener.accept()
        with client:
            client.sendall(b"SSH-2.0-stops\r\n")
            shaking = Transport(connection)
            shaking.handshake_timeout = 2.0
            before = set(threading.enumerate())
            shaking.start_client(event=threading.Event())
            client.recv(4096)
            during = set(threading.enumerate())
            shaking.join(20)

    assert (during - before, shaking.is_active()) == ({shaking}, False)


def test_a_host_is_asked_for_the_kind_of_key_that_it_is_known_by(serve: Serve) -> None:
    """`ssh-rsa` names the key; its signatures are called otherwise."""
    with dial(serve().port) as connection:
        known = Transport(connection, kinds=["ssh-rsa", "sk-unknown", "ecdsa-sha2-nistp521"])
    with dial(serve().port) as connection:
        unknown = Transport(connection)

    assert known.get_security_options().key_types[:3] == ("rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp521")
    assert unknown.get_security_options().key_types[0] == "ssh-ed25519"
    assert sorted(known.get_security_options().key_types) == sorted(unknown.get_security_options().key_types)


def listener_that(says: bytes) -> tuple[socket.socket, threading.Thread]:
    """Return a listener that says this and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(says)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    return listener, thread


@pytest.mark.parametrize(
    ("says", "kind", "words"),
    [
        (b"", TimedOut, "web accepts connections but shows no SSH banner: "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", TimedOut, "web accepts connections but shows no SSH banner: "),
        (b"SSH-2.0-x\r\n", Unavailable, "the SSH connection to web failed: the connection was closed"),
    ],
)
def test_a_server_that_is_none_is_told(says: bytes, kind: type[Exception], words: str) -> None:
    """No banner (MaxStartups looks like it), another protocol, one that hangs up."""
    listener, thread = listener_that(says)
    with listener, pytest.raises(kind) as caught:
        transport.fetch_host_key("web", dial(listener.getsockname()[1]))
    thread.join()

    assert str(caught.value).startswith(words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (IncompatiblePeer("no acceptable host key"), "web speaks only an SSH that is no longer safe: "),
        (TimeoutError("the server does not answer the login"), "web is connected but silent: the server does not"),
        (
            ConnectionResetError(104, "Connection reset by peer"),
            "the SSH connection to web failed: connection reset by",
        ),
        (EOFError(), "the SSH connection to web failed: the connection was closed"),
    ],
)
def test_failures_are_put_into_words(error: Exception, words: str) -> None:
    """An old appliance, a silent server, a reset, an end."""
    assert str(transport.not_connected("web", error)).startswith(words)


def test_a_key_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """A passphrase is for ssh-agent; anything else is no key."""
    locked, nonsense = tmp_path / "locked", tmp_path / "nonsense"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", locked], check=True)
    nonsense.write_text("hello")

    with pytest.raises(PermissionError, match=f"^it has a passphrase: run `ssh-add {locked}`$"):
        transport.load_key(locked)
    with pytest.raises(ValueError):
        transport.load_key(nonsense)


def test_what_is_no_file_or_a_huge_one_is_not_read_as_a_key(tmp_path: Path) -> None:
    """A pipe would be waited for for ever, a device would fill the memory."""
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(2**20 + 1)

    for path in (pipe, huge, Path("/dev/zero"), tmp_path):
        with pytest.raises(ValueError, match=r"^no key: not a file, or too large for one$"):
            transport.load_key(path)
    with pytest.raises(FileNotFoundError):
        transport.load_key(tmp_path / "missing")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_every_kind_of_key_is_read(tmp_path: Path, kind: str) -> None:
    """As ssh-keygen writes them."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / "id"], check=True)

    assert kind in transport.load_key(tmp_path / "id").get_name()
