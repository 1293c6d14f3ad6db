"""Ports of this machine that lead elsewhere: what a map means, bytes both ways, ends, failures."""

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.errors import Unavailable, UsageFailure
from tasks.loopback import free_port
from tasks.net import forwarding
from tasks.net.forwarding import Forward
from tests.conftest import ROOT
from tests.net.conftest import CTRL_C_ELSEWHERE, is_waiting
from tests.waiting import until


@pytest.mark.parametrize(
    ("text", "forward"),
    [
        ("5432:db1:5432", Forward(5432, "db1", 5432)),
        ("1:a.b.c:65535", Forward(1, "a.b.c", 65535)),
        ("80:[fd7a::1]:8080", Forward(80, "fd7a::1", 8080)),
    ],
)
def test_a_map_is_port_host_port(text: str, forward: Forward) -> None:
    assert forwarding.parse([text]) == (forward,)


@pytest.mark.parametrize("text", ["", "5432", "db1:5432", "0:db1:1", "1:db1:65536", "1::1", "a:b:c", "1:fd7a::1:1"])
def test_what_is_no_map_is_refused(text: str) -> None:
    with pytest.raises(UsageFailure) as failure:
        forwarding.parse([text])

    assert str(failure.value) == f"--map: expected PORT:HOST:PORT, such as 5432:db1:5432, got {text!r}"


@pytest.mark.parametrize("texts", [[], ["1:a:1", "1:b:1"]])
def test_at_least_one_and_each_port_once(texts: list[str]) -> None:
    with pytest.raises(UsageFailure):
        forwarding.parse(texts)


def _answer_in_capitals(listener: socket.socket) -> None:
    """Answer at the end of what is told, until the listener is closed."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                told = b""
                while data := connection.recv(1000):
                    told += data
                connection.sendall(told.upper())


@pytest.fixture
def service() -> Iterator[int]:
    """Give the port of something on the tailnet that answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_in_capitals, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


FORWARDING = """
import contextlib, re, resource, socket, sys, threading
from pathlib import Path
from tasks.errors import Unavailable
from tasks.net import forwarding

here, there, descriptors = map(int, sys.argv[1:4])
resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
if sys.argv[5] == "three threads":
    # One takes its stack's size of the address space; 100 MB more are for everything else.
    threading.stack_size(512 * 2**20)
    used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 1636 * 2**20,) * 2)

def dial(_):
    if not Path(sys.argv[4]).exists():
        raise Unavailable("db1 is offline", next_step="`inv net.status`")
    return socket.create_connection(("127.0.0.1", there))

with contextlib.suppress(KeyboardInterrupt):
    forwarding.serve([forwarding.Forward(here, "db1", 5432)], dial, lambda text: print(text, flush=True))
"""


@contextlib.contextmanager
def forwarding_to(
    there: int, online: Path, *, port: int, descriptors: int = 256, threads: str = "many threads"
) -> Iterator["subprocess.Popen[str]"]:
    """Run a forward of that port, in a child, as Ctrl-C ends it; its service can be dialled while `online` is there."""
    words = (str(port), str(there), str(descriptors), str(online), threads)
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # by itself malloc takes address space for each thread
    argv = [sys.executable, "-c", CTRL_C_ELSEWHERE + FORWARDING, *words]
    with subprocess.Popen(
        argv,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == f"127.0.0.1:{port} → db1:5432\n"
            yield child
        finally:
            child.kill()


def test_bytes_go_both_ways_and_so_do_ends_until_ctrl_c(service: int, tmp_path: Path) -> None:
    """A service that is not there is told, and resets the connection; the next one may be well again."""
    port, online, answers = free_port(), tmp_path / "online", []
    with forwarding_to(service, online, port=port) as child:
        for there in (True, False, True):
            online.touch() if there else online.unlink()
            answers.append(_talk(port))
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=20)

    assert answers == [b"X" * 500_000, b"reset", b"X" * 500_000]
    assert said == f"error: 127.0.0.1:{port} → db1:5432: db1 is offline\n  next: `inv net.status`\n"
    assert child.returncode == 0


def test_ctrl_c_is_heard_though_it_comes_just_before_the_wait(service: int, tmp_path: Path) -> None:
    """There may be no client for days."""
    with forwarding_to(service, tmp_path, port=free_port()) as child:
        until(lambda: is_waiting(child.pid), what="wait for a client")
        said, _ = child.communicate("x", timeout=20)

    assert (child.returncode, said) == (0, "")


def _talk(port: int) -> bytes:
    """Return the answer; a reset may be so early that connecting hears of it."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"x" * 500_000)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(100_000):
                answer += data
            return answer
    except OSError:
        return b"reset"


def test_without_a_descriptor_a_client_is_refused_and_no_other_suffers(tmp_path: Path) -> None:
    """That is told, not of each; nothing spins; and when some have ended the next is served again."""
    port = free_port()
    with (
        _echoing() as there,
        forwarding_to(there, tmp_path, port=port, descriptors=40) as child,  # a client takes two
        contextlib.ExitStack() as stack,
    ):
        served = [client for client in _clients(port, stack) if _echoes(client)]
        spent = _processor_seconds(child.pid)
        again = [_echoes(client) for client in served]
        for client in served[:5]:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        until(lambda: _is_served(port), what="client that is served")
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=20)

    assert 5 < len(served) < 20
    assert again == [True] * len(served)
    assert spent < 10  # a client that was left in the backlog would cost the twenty seconds that it waits for an echo
    # Once, and once more whenever one was served in between.
    assert 1 <= said.count("error: clients are refused: too many open files\n  next: ") <= len(served) + 1
    assert child.returncode == 0
    assert "Traceback" not in said


def test_without_a_thread_a_client_is_refused_and_no_other_suffers(tmp_path: Path) -> None:
    """That is told, and the next is served when one has ended."""
    port = free_port()
    with (
        _echoing() as there,
        forwarding_to(there, tmp_path, port=port, threads="three threads") as child,
        contextlib.ExitStack() as stack,
    ):
        served = [client for client in _clients(port, stack) if _echoes(client)]
        again = [_echoes(client) for client in served]
        for client in served:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        until(lambda: _is_served(port), what="client that is served")
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=20)

    assert 1 <= len(served) <= 3
    assert again == [True] * len(served)
    assert said.count("error: clients are refused: can't start new thread\n  next: ") >= 1
    assert "`ulimit -u`" in said
    assert child.returncode == 0
    assert "Traceback" not in said


def _clients(port: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    """Connect sixty at once, and return those whose refusal was not so early that connecting heard of it."""
    clients = []
    for _ in range(60):
        with contextlib.suppress(OSError):
            clients.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)))
    return clients


def _is_served(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as client:
            return _echoes(client)
    except OSError:
        return False


def _echoes(client: socket.socket) -> bool:
    try:
        client.sendall(b"x")
        return client.recv(1) == b"x"
    except OSError:
        return False


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the two ends of a connection through a forward: the client's and the service's."""
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        forwarding_to(listener.getsockname()[1], ROOT, port=port),
        socket.create_connection(("127.0.0.1", port), 20) as client,
        listener.accept()[0] as service,
    ):
        service.settimeout(20)
        yield client, service


@pytest.mark.parametrize("who", ["client", "service"])
def test_a_reset_of_one_side_is_a_reset_for_the_other(who: str) -> None:
    """An end would say that this was all."""
    with connected() as (client, service):
        breaking, hearing = (client, service) if who == "client" else (service, client)
        breaking.sendall(b"half")
        assert hearing.recv(4, socket.MSG_WAITALL) == b"half"
        breaking.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, forwarding.RESET)
        breaking.close()

        with pytest.raises(ConnectionResetError):
            hearing.recv(1)


def test_bytes_wait_for_a_slow_reader_while_others_go_the_other_way() -> None:
    """None is lost, not even behind the other way's end."""
    content = os.urandom(20_000_000)

    def send(service: socket.socket) -> None:
        service.sendall(content)
        service.shutdown(socket.SHUT_WR)

    with connected() as (client, service):
        sender = threading.Thread(target=send, args=(service,))
        sender.start()
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert service.recv(8, socket.MSG_WAITALL) == b"question"
        assert service.recv(1) == b""
        answer = b"".join(iter(lambda: client.recv(100_000), b""))
        sender.join()

    assert answer == content


@contextlib.contextmanager
def _echoing() -> Iterator[int]:
    """Give the port of a server that sends back what comes."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Send it back."""
        while data := self.request.recv(1000):
            self.request.sendall(data)


def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Unavailable) as failure:
            forwarding.serve([Forward(port, "db1", 1)], lambda _: listener, lambda _: None)

    assert str(failure.value) == (
        f"cannot listen on 127.0.0.1:{port}: address already in use\n  next: another port here"
    )
