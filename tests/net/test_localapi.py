"""The conversation with the daemon over its unix socket, against an HTTP server of the test's own."""

import base64
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tasks.errors import TimedOut, Unavailable
from tasks.net.localapi import LocalAPI
from tests.conftest import Home
from tests.net.test_dnsmessage import AAAA, A, message
from tests.net.test_netmap import RUNNING, encoded

Answer = tuple[int, bytes]
DEADLINE = 5.0


class Server(HTTPServer):
    """Answers requests of the form `GET path` from a table, and keeps what it was asked."""

    address_family = socket.AF_UNIX

    def __init__(self, path: Path, answers: dict[str, Answer]) -> None:
        super().__init__(str(path), Handler)  # type: ignore[arg-type]  # a unix socket's address is its path
        self.answers = answers
        self.asked: list[tuple[str, dict[str, str]]] = []

    def server_bind(self) -> None:
        """Bind without asking for a host name."""
        self.socket.bind(self.server_address)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Answer from the server's table."""
        self.client_address = ("unix", 0)
        super().handle_one_request()

    def do_GET(self) -> None:
        """Answer a GET or a POST."""
        assert isinstance(self.server, Server)
        request = f"{self.command} {self.path}"
        self.server.asked.append((request, dict(self.headers)))
        status, body = self.server.answers.get(request, (404, b"404 page not found\n"))
        self.send_response(status)
        if status != 101:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server uses
        """Say nothing."""


@pytest.fixture
def path(home: Home) -> Path:
    """Return where the socket lies."""
    return home.runtime / "api.sock"


@contextmanager
def serving(path: Path, table: dict[str, Answer]) -> Iterator[Server]:
    """Serve the table at the path."""
    with Server(path, table) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_status_is_asked_with_the_name_that_tailscaled_wants(path: Path) -> None:
    """It answers no other Host, so that no web page can reach it."""
    with serving(path, {"GET /localapi/v0/status": (200, encoded(RUNNING))}) as server:
        status = LocalAPI(path, deadline=DEADLINE).status()

    assert (status.state, [peer.name for peer in status.peers]) == ("Running", ["db1", "web1"])
    assert server.asked[0][1]["Host"] == "local-tailscaled.sock"


def test_status_without_peers_is_asked_for_as_such(path: Path) -> None:
    with serving(path, {"GET /localapi/v0/status?peers=false": (200, b'{"BackendState": "Stopped"}')}):
        assert LocalAPI(path, deadline=DEADLINE).status(peers=False).state == "Stopped"


def test_a_refusal_gives_the_daemons_words(path: Path) -> None:
    table = {"GET /localapi/v0/status": (403, b"status access denied\n")}
    with serving(path, table), pytest.raises(Unavailable) as caught:
        LocalAPI(path, deadline=DEADLINE).status()

    assert str(caught.value) == "tailscaled answered 403 to /localapi/v0/status: status access denied"


def test_a_name_is_resolved_by_the_tailnets_own_resolver(path: Path) -> None:
    """IPv4 first, and the name is one word of the query whatever is in it."""
    questions = {
        f"GET /localapi/v0/dns-query?name=a%26b%20.lab.test.&type={kind}": (200, answer_with(record))
        for kind, record in (("A", A), ("AAAA", AAAA))
    }
    with serving(path, questions):
        assert LocalAPI(path, deadline=DEADLINE).resolve("a&b .lab.test.") == ("100.64.0.2", "fd7a:115c:a1e0::2")


def answer_with(record: tuple[int, bytes]) -> bytes:
    """Return the body of a DNS answer."""
    return json.dumps({"Bytes": base64.b64encode(message(record)).decode()}).encode()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param((101, b""), "", id="the dial works"),
        pytest.param((200, b""), "not a route of the tailnet", id="not a tailnet route"),
        pytest.param(
            (502, b"dial failure: connection was refused\n"), "dial failure: connection was refused", id="502"
        ),
    ],
)
def test_why_a_dial_fails_is_asked(path: Path, answer: Answer, words: str) -> None:
    with serving(path, {"POST /localapi/v0/dial": answer}) as server:
        assert LocalAPI(path, deadline=DEADLINE).dial_error("web1", 22) == words

    sent = server.asked[0][1]
    assert (sent["Dial-Host"], sent["Dial-Port"], sent["Upgrade"]) == ("web1", "22", "ts-dial")


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("what", ["logout", "disconnect-control"])
def test_orders_are_posted(path: Path, what: str, status: int) -> None:
    with serving(path, {f"POST /localapi/v0/{what}": (status, b"")}) as server:
        order(LocalAPI(path, deadline=DEADLINE), what)()

    assert [request for request, _ in server.asked] == [f"POST /localapi/v0/{what}"]


def order(api: LocalAPI, what: str) -> Callable[[], None]:
    """Return the method that posts so."""
    return api.logout if what == "logout" else api.disconnect_control


def test_an_order_that_is_refused_is_a_failure(path: Path) -> None:
    with serving(path, {"POST /localapi/v0/logout": (500, b"no")}), pytest.raises(Unavailable) as caught:
        LocalAPI(path, deadline=DEADLINE).logout()

    assert str(caught.value) == "tailscaled answered 500 to /localapi/v0/logout: no"


def test_the_listener_is_known_by_its_credentials(path: Path) -> None:
    with serving(path, {}):
        assert LocalAPI(path, deadline=DEADLINE).server_pid() == os.getpid()


def test_a_socket_that_nobody_listens_on_has_no_server(path: Path) -> None:
    """Whether the file is there or not."""
    assert LocalAPI(path).server_pid() is None
    with pytest.raises(Unavailable) as missing:
        LocalAPI(path).status()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert path.exists()
    assert LocalAPI(path).server_pid() is None
    with pytest.raises(Unavailable) as caught:
        LocalAPI(path).status()
    down = f"the network is down: no tailscaled listens at {path}\n  next: `inv net.up`"
    assert (str(missing.value), str(caught.value)) == (down, down)


def test_a_failure_is_told_without_its_number(path: Path) -> None:
    """Here a file is in a folder's place."""
    path.write_text("a file")

    with pytest.raises(Unavailable, match=r"^tailscaled does not answer: not a directory$"):
        LocalAPI(path / "tailscaled.sock").status()


def test_a_daemon_that_accepts_and_says_nothing_ends_by_the_deadline(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(TimedOut) as caught:
            LocalAPI(path, deadline=0.05).status()

    assert str(caught.value) == "tailscaled does not answer: no reply within 0.05 s"


def test_a_server_that_is_none_is_said_to_be_none(path: Path) -> None:
    """Something that is no HTTP."""
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(path))
        stranger.listen()

        def talk() -> None:
            connection, _ = stranger.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(Unavailable) as caught:
            LocalAPI(path, deadline=DEADLINE).status()
        thread.join()

    assert caught.value.what == "tailscaled does not answer"


@pytest.mark.parametrize(
    ("answer", "answered"),
    [
        pytest.param((200, b'{"IP":"100.64.0.1","Err":"","LatencySeconds":0.0006}'), True, id="answered"),
        pytest.param((200, b'{"Err":"no matching peer"}'), False, id="an error"),
        pytest.param((500, b"down"), False, id="500"),
    ],
)
def test_a_peer_is_pinged(path: Path, answer: Answer, answered: bool) -> None:
    """By the tailnet's own ping, which says only that the machine is there."""
    with serving(path, {"POST /localapi/v0/ping?ip=100.64.0.1&type=TSMP": answer}):
        assert LocalAPI(path, deadline=DEADLINE).ping("100.64.0.1") is answered
