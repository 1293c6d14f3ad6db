"""Owns the servers that the tests of `remote` talk to: a SOCKS5 proxy like tailscaled's, an SSH server, a LocalAPI.

The proxy answers 1 ("general failure") to everything that fails, as tailscaled does; it keeps what it was asked for, so
that a test can say that nothing was asked.
"""

# ruff: noqa: ARG002 - paramiko says what a server method is given

import contextlib
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer, UnixStreamServer

import paramiko

GENERAL_FAILURE = 1
REFUSED = 0  # a port of a route: nothing listens there
SILENT = -1  # a port of a route: the proxy fails after `slow` seconds, as tailscaled does after five


@dataclass
class Socks:
    """A SOCKS5 proxy on loopback. `routes` says which port of this machine stands for `name:port`.

    `mode` may be "socks", "mute" (accepts, says nothing), "trickle" (one byte of the greeting, then nothing) or
    "http" (another protocol).
    """

    routes: dict[str, int] = field(default_factory=dict)
    slow: float = 5.0
    mode: str = "socks"
    asked: list[str] = field(default_factory=list)
    refuse_first: int = 0
    port: int = 0
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _frozen: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def cut(self) -> None:
        """Break every connection, as a daemon that dies does."""
        for ends in self._pairs:
            for end in ends:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Go on holding the connections and pass nothing on: a dead link."""
        self._frozen.set()

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def end(self) -> None:
        """Let every thread end."""
        self._ended.set()
        self.cut()

    def _answer(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.mode == "socks":
                self._speak(client)
            else:
                client.sendall({"mute": b"", "trickle": b"\x05", "http": b"HTTP/1.1 400 Bad Request\r\n"}[self.mode])
                self._ended.wait(20)

    def _speak(self, client: socket.socket) -> None:
        _read(client, _read(client, 2)[1])
        client.sendall(b"\x05\x00")
        name = _read_address(client, _read(client, 4)[3])
        self.asked.append(f"{name}:{int.from_bytes(_read(client, 2))}")
        port = self.routes.get(self.asked[-1], REFUSED)
        if self.refuse_first > 0 or port <= 0:
            self.refuse_first -= 1
            if port == SILENT:
                self._ended.wait(self.slow)
            client.sendall(bytes([5, GENERAL_FAILURE, 0, 1, 0, 0, 0, 0, 0, 0]))
            return
        with socket.create_connection(("127.0.0.1", port)) as target:
            client.sendall(bytes([5, 0, 0, 1, 127, 0, 0, 1, 0, 0]))
            self._relay(client, target)

    def _relay(self, client: socket.socket, target: socket.socket) -> None:
        self._pairs.append((client, target))
        for end in (client, target):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not self._ended.is_set():
            ready, _, _ = select.select([client, target], [], [], 0.05)
            for source in ready:
                data = source.recv(262144)
                if self._frozen.is_set():
                    continue
                if not data:
                    return
                (target if source is client else client).sendall(data)


@contextlib.contextmanager
def socks(**given: object) -> Iterator[Socks]:
    """Run a proxy for the time of a test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Socks(port=listener.getsockname()[1], **given)  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            server.end()
            # Closing a socket does not wake who accepts on it.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


Script = Callable[[paramiko.Channel], None]


@dataclass
class SSHServer(paramiko.ServerInterface):
    """An SSH server in this process. `commands` says what a command line does; "none" in `methods` lets anybody in."""

    key: paramiko.PKey
    commands: Mapping[str, Script]
    methods: str = "none"
    allowed: paramiko.PKey | None = None
    banner: str = ""
    version: str = "SSH-2.0-Tailscale"
    port: int = 0
    logins: int = 0
    signals: list[str] = field(default_factory=list)
    heeds_signals: bool = True
    shell: Script | None = None
    terminals: list[str] = field(default_factory=list)
    before_login: Callable[[], None] = lambda: None

    def check_auth_none(self, username: str) -> int:
        """Let in without anything, if that is the method."""
        self.before_login()
        return self._logged_in(self.methods == "none")

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        """Let the one key in."""
        return self._logged_in(self.allowed is not None and key.asbytes() == self.allowed.asbytes())

    def get_allowed_auths(self, username: str) -> str:
        """Say which methods there are."""
        return self.methods

    def get_banner(self) -> tuple[str | None, str | None]:
        """Greet before the login."""
        return (self.banner, "en") if self.banner else (None, None)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        """Open sessions."""
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        """Run the script of that command line; refuse others."""
        script = self.commands.get(command.decode(errors="surrogateescape").lstrip())  # as a shell takes it
        if script is None:
            return False
        self._due[channel] = script
        return True

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        """Give a terminal where there is a shell to log in to, and note its kind and size."""
        self.terminals.append(f"{term.decode()} {height} {width}")
        return self.shell is not None

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        """Note the new size."""
        self.terminals.append(f"{height} {width}")
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        """Run the login shell, if there is one."""
        if self.shell is None:
            return False
        self._due[channel] = self.shell
        return True

    def begin(self, channel: paramiko.Channel) -> None:
        """Run what was asked for on the channel, now that the client has its yes: no real server speaks before it."""
        script = self._due.pop(channel, None)
        if script is not None:
            threading.Thread(target=self._run, args=(script, channel), daemon=True).start()

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = _Server(client, self)
            transport.local_version = self.version
            transport.add_server_key(self.key)
            self._transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=self, event=threading.Event())

    def end(self) -> None:
        """Close every connection."""
        for transport in self._transports:
            transport.close()
            transport.join(2)

    def __post_init__(self) -> None:
        self._transports: list[_Server] = []
        self._due: dict[paramiko.Channel, Script] = {}

    def _logged_in(self, yes: bool) -> int:
        self.logins += yes
        return paramiko.common.AUTH_SUCCESSFUL if yes else paramiko.common.AUTH_FAILED

    def _run(self, script: Script, channel: paramiko.Channel) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            script(channel)
            channel.close()


class _Server(paramiko.Transport):
    """paramiko's server, which notes the signals that a client sends, and answers before it begins."""

    def __init__(self, sock: socket.socket, server: SSHServer) -> None:
        super().__init__(sock)
        table = paramiko.Transport._channel_handler_table  # type: ignore[attr-defined]
        original = table[paramiko.common.MSG_CHANNEL_REQUEST]

        def note(channel: paramiko.Channel, message: paramiko.Message) -> None:
            peeked = paramiko.Message(message.get_remainder())
            if peeked.get_text() == "signal":
                peeked.get_boolean()
                server.signals.append(peeked.get_text())
                if server.heeds_signals:
                    channel.close()
            else:
                original(channel, message)
                server.begin(channel)

        self._channel_handler_table = {**table, paramiko.common.MSG_CHANNEL_REQUEST: note}


@contextlib.contextmanager
def ssh_server(server: SSHServer) -> Iterator[SSHServer]:
    """Run an SSH server for the time of a test."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve, args=(listener,))
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            server.end()


def says(out: bytes = b"", err: bytes = b"", status: int = 0) -> Script:
    """Return a command that writes this and ends so."""

    def script(channel: paramiko.Channel) -> None:
        channel.sendall(out)
        channel.sendall_stderr(err)
        channel.send_exit_status(status)

    return script


def dies_of(name: str | bytes) -> Script:
    """Return a command that a signal kills, which a hostile server may call what it likes."""

    def script(channel: paramiko.Channel) -> None:
        message = paramiko.Message()
        message.add_byte(paramiko.common.cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        for part in ("exit-signal", False, name, False, "", ""):
            message.add_boolean(part) if isinstance(part, bool) else message.add_string(part)
        channel.transport._send_user_message(message)  # type: ignore[union-attr]

    return script


def hangs(started: threading.Event) -> Script:
    """Return a command that says "started" and then nothing until the connection ends."""

    def script(channel: paramiko.Channel) -> None:
        channel.sendall(b"started\n")
        started.set()
        channel.status_event.wait(30)

    return script


@dataclass
class Daemon:
    """What the LocalAPI of a test says: its peers, what names resolve to, why dials fail."""

    peers: dict[str, dict[str, object]] = field(default_factory=dict)
    dial_errors: dict[str, str] = field(default_factory=dict)
    state: str = "Running"


def peer(name: str, address: str, **more: object) -> dict[str, object]:
    """Return a peer as tailscaled's JSON has it."""
    usual = {"HostName": name, "DNSName": f"{name}.tail.test.", "TailscaleIPs": [address], "Online": True}
    return {**usual, **more}


@contextlib.contextmanager
def local_api(path: Path, daemon: Daemon) -> Iterator[None]:
    """Serve the LocalAPI on a unix socket for the time of a test."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ThreadingUnixStreamServer(str(path), _handler(daemon)) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=UnixStreamServer.serve_forever, args=(server, 0.02))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


def _handler(daemon: Daemon) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = {
                "Version": "1.102.4",
                "BackendState": daemon.state,
                "HaveNodeKey": True,
                "CurrentTailnet": {"Name": "test", "MagicDNSSuffix": "tail.test"},
                "Self": peer("controller", "100.64.0.99"),
                "Peer": daemon.peers,
            }
            answer = status if "/status" in self.path else {"Bytes": None}
            self._say(200, json.dumps(answer).encode())

        def do_POST(self) -> None:
            if "/ping" in self.path:
                self._say(200, b'{"Err": "no reply"}')
                return
            where = f"{self.headers['Dial-Host']}:{self.headers['Dial-Port']}"
            words = daemon.dial_errors.get(where, "")
            self._say(502 if words else 101, words.encode())

        def address_string(self) -> str:
            return "a unix socket"

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _say(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def _read_address(connection: socket.socket, kind: int) -> str:
    if kind == 3:
        return _read(connection, _read(connection, 1)[0]).decode()
    family, length = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
    return socket.inet_ntop(family, _read(connection, length))
