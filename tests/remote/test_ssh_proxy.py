"""The ProxyCommand as ssh sees it: a program on a socket pair, from which a connected descriptor comes."""

import contextlib
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.remote import ssh_proxy
from tests.conftest import Home
from tests.remote import servers

QUICK_ONLY = "/bin/false"


@dataclass
class Ssh:
    """What ssh does with a ProxyCommand."""

    daemon: Path
    proxy: servers.Socks

    def command(self, host: str, port: int = 22, python: str = sys.executable) -> tuple[str, ...]:
        """Return the program and its words."""
        words = (python, str(self.daemon), f"127.0.0.1:{self.proxy.port}", host, str(port))
        return sys.executable, "-I", "-S", ssh_proxy.__file__, *words

    def dial(self, host: str, port: int = 22, python: str = QUICK_ONLY) -> tuple[bytes, str]:
        """Return what the other end says first through the descriptor, and what the program says on stderr."""
        ours, its = socket.socketpair()
        with ours, its:
            ended = subprocess.run(
                self.command(host, port, python),
                stdin=its.fileno(),
                stdout=its.fileno(),
                stderr=subprocess.PIPE,
                text=True,
                timeout=20,
                check=False,
            )
            its.close()
            byte, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        if byte != b"\0":
            return b"", ended.stderr
        with socket.socket(fileno=descriptors[0]) as connected:
            return connected.recv(64), ended.stderr


@pytest.fixture
def daemon() -> servers.Daemon:
    """Return what the daemon says."""
    return servers.Daemon(peers={"k1": servers.peer("web", "100.64.0.1")})


@pytest.fixture
def ssh(home: Home, daemon: servers.Daemon, proxy: servers.Socks) -> Iterator[Ssh]:
    """Return an ssh on a tailnet with the machine `web`, whose port 22 greets."""
    path = home.runtime / "tailscaled.sock"
    with contextlib.ExitStack() as stack:
        stack.enter_context(servers.local_api(path, daemon))
        proxy.routes["web.tail.test:22"] = stack.enter_context(_greeter())
        yield Ssh(path, proxy)


@contextlib.contextmanager
def _greeter() -> Iterator[int]:
    """Listen, and have the kernel hold a connection whose greeting is sent at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.sendall(b"SSH-2.0-here\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_peer_is_dialled_by_c_modules_alone_and_its_socket_handed_over(ssh: Ssh) -> None:
    """Not one byte of the greeting is lost, and the other Python is not started."""
    assert ssh.dial("web.tail.test") == (b"SSH-2.0-here\r\n", "")
    assert ssh.proxy.asked == ["web.tail.test:22"]


@pytest.mark.parametrize("host", ["web.tail.tes", "eb.tail.test", "controller.tail.test", 'x", "y', "wéb.tail.test"])
def test_what_is_no_peer_is_not_dialled_by_the_quick_way(ssh: Ssh, host: str) -> None:
    assert ssh.dial(host) == (b"", "")
    assert ssh.proxy.asked == []


def test_a_network_that_is_not_up_is_not_used(ssh: Ssh, daemon: servers.Daemon) -> None:
    daemon.state = "Stopped"

    assert ssh.dial("web.tail.test", python=sys.executable) == (
        b"",
        "error: the network is not up: tailscaled says Stopped\n  next: `inv net.up`\n",
    )
    assert ssh.proxy.asked == []


def test_a_destination_off_the_tailnet_is_refused(ssh: Ssh) -> None:
    said = ssh.dial("192.0.2.1", python=sys.executable)

    assert said == (
        b"",
        "error: 192.0.2.1 is not on the tailnet: no peer has this address and none announces a route to it; "
        "only the tailnet is dialled\n  next: `inv remote.hosts`\n",
    )
    assert ssh.proxy.asked == []


def test_a_short_name_goes_the_thorough_way_to_the_same_end(ssh: Ssh) -> None:
    assert ssh.dial("web", python=sys.executable) == (b"SSH-2.0-here\r\n", "")
    assert ssh.proxy.asked == ["web.tail.test:22"]


def test_a_failed_dial_is_explained_in_the_daemons_words(ssh: Ssh, daemon: servers.Daemon) -> None:
    daemon.dial_errors["web.tail.test:23"] = "dial failure: connection was refused"

    assert ssh.dial("web.tail.test", 23, sys.executable) == (
        b"",
        "error: port 23 of web.tail.test is closed: dial failure: connection was refused\n"
        "  next: start its ssh server, or set ansible_port\n",
    )


def test_a_refusal_for_no_reason_is_tried_again(ssh: Ssh) -> None:
    """tailscaled's proxy fails about once in 500 dials when many hosts are behind one node."""
    ssh.proxy.refuse_first = 2

    assert ssh.dial("web.tail.test", python=sys.executable) == (b"SSH-2.0-here\r\n", "")


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "a;b", "$(id)"])
def test_what_is_no_host_name_is_told(ssh: Ssh, host: str) -> None:
    connected, said = ssh.dial(host, python=sys.executable)

    assert (connected, said) == (b"", f"error: expected a host name or an address, got {host!r}\n")


def test_a_daemon_that_is_down_is_told_with_what_to_run(home: Home, proxy: servers.Socks) -> None:
    """ssh itself would only say that the connection was closed."""
    path = home.runtime / "tailscaled.sock"

    assert Ssh(path, proxy).dial("web.tail.test", python=sys.executable) == (
        b"",
        f"error: the network is down: no tailscaled listens at {path}\n  next: `inv net.up`\n",
    )


def test_an_ssh_that_keeps_its_connection_shows_why_there_is_none(ssh: Ssh, home: Home) -> None:
    """It gives its ProxyCommand /dev/null for stderr; Ansible's ssh is always such a one."""
    options = {
        "ProxyCommand": shlex.join(ssh.command("gone.tail.test")),
        "ProxyUseFdpass": "yes",
        "ControlMaster": "auto",
        "ControlPath": home.runtime / "c",
        "ControlPersist": "5",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    argv = ["ssh", "-F", "/dev/null", *words, "gone.tail.test", "true"]

    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 255
    assert "error: unknown host gone.tail.test: no machine of the tailnet has this name\n  next: " in ended.stderr


KEEPING = """
import socket, subprocess, sys

ours, its = socket.socketpair()
print(subprocess.run(sys.argv[1:], stdin=its, stdout=its, stderr=subprocess.DEVNULL).returncode)
"""


@pytest.mark.parametrize("kind", ["a full pipe", "a file"])
def test_what_ssh_writes_to_is_not_waited_for_and_not_overwritten(ssh: Ssh, tmp_path: Path, kind: str) -> None:
    """A pipe that takes no more gets nothing, a file gets one line more."""
    log = tmp_path / "log"
    log.write_text("earlier\n")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    with os.fdopen(reader), os.fdopen(writer, "wb") as full, log.open("r+b") as file:
        argv = [sys.executable, "-c", KEEPING, *ssh.command("192.0.2.1")]
        stderr = full if kind == "a full pipe" else file
        ended = subprocess.run(argv, stdout=subprocess.PIPE, stderr=stderr, timeout=60, check=False)

    assert ended.stdout == b"0\n"
    assert log.read_text().startswith("earlier\nerror: 192.0.2.1 is" if kind == "a file" else "earlier\n")
