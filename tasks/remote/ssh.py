"""Owns one host's SSH: connect, log in, run a command. The only file that knows Fabric and paramiko.

Fabric's own habits that are replaced here, each seen in fabric 3.2.3 and paramiko 5.1: every host key is accepted
(AutoAddPolicy), a failed connect leaks its thread, output is kept and joined anew at each chunk, a lost connection and
a killed command both look like "exit -1". paramiko's keepalive is never answered, so a dead link goes unnoticed.
"""

import contextlib
import functools
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from fabric.config import Config
from fabric.connection import Connection
from fabric.runners import Remote
from paramiko import common
from paramiko.ssh_exception import (
    AuthenticationException,
    BadAuthenticationType,
    IncompatiblePeer,
    SSHException,
)

from tasks.errors import Failure, Refused, TimedOut, Unavailable
from tasks.remote.hostkeys import HostKey, Verifier, parse_key
from tasks.remote.output import ReaderGone, Sink

BANNER_SECONDS = 10.0
LOGIN_SECONDS = 30.0
# Tailscale SSH in check mode shows a link and waits until a person has followed it.
CHECK_SECONDS = 600.0
CHANNEL_SECONDS = 15.0
# A silent link is asked after 12 s, again after 24 s, and given up after 36 s.
SILENT_SECONDS = 12.0
UNANSWERED = 2
FAREWELL_SECONDS = 1.0
CHUNK = 4 * 1024 * 1024  # all that can be waiting is read at once: a part of it would move the rest in memory
LARGEST_PACKET = 256 * 1024
FASTEST_CIPHER = "aes128-gcm@openssh.com"
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
TAILSCALE = "SSH-2.0-Tailscale"
KEEPALIVE = "keepalive@openssh.com"

Dial = Callable[[], socket.socket]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Login:
    """Who logs in, and with what: these key files, and the agent's keys where `agent` allows it."""

    user: str
    identities: tuple[Path, ...] = ()
    agent: bool = True


@dataclass(frozen=True)
class Ended:
    """How a remote command ended: its own status, or 128 + n and the signal's name when one killed it."""

    exit_status: int
    signal: str = ""


class Session:
    """One host, connected and logged in."""

    def __init__(self, connection: "_Connection", name: str) -> None:
        self._connection = connection
        self._name = name

    def run(self, command: str, out: Sink, err: Sink) -> Ended:
        """Run one shell command with nothing on its stdin; hand its output on as it comes.

        A connection that breaks meanwhile is Unavailable, "outcome unknown". Whatever ends us ends the command too.
        """
        try:
            ended: Ended = self._connection.run(command, out=out, err=err)
        except ReaderGone:
            raise
        except (SSHException, EOFError, OSError) as error:
            raise _lost(self._name, _words(error)) from None
        return ended

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(verifier: Verifier, login: Login, dial: Dial, tell: Tell) -> Session:
    """Connect to the verifier's host through a socket from `dial`, check its key, log in.

    `tell` is told what the server has to say before the login (a banner, the link of Tailscale SSH's check mode).
    """
    connection = _Connection(verifier, login, dial, tell)
    try:
        connection.open()
    except (SSHException, EOFError, OSError) as error:
        raise _translated(verifier.host, error) from None
    return Session(connection, verifier.host)


def fetch_host_key(dial: Dial, name: str) -> HostKey:
    """Return the key that the host shows, the one that it would be verified by; nobody logs in."""
    transport = _Transport(dial())
    transport.banner_timeout = BANNER_SECONDS
    try:
        transport.start_client()
        return _host_key(transport.get_remote_server_key())
    except (SSHException, EOFError, OSError) as error:
        raise _translated(name, error) from None
    finally:
        _hang_up(transport)


class _Gateway:
    """What Fabric takes for a jump host: it asks for a channel and gets a socket through the proxy."""

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self.transport = self

    def open(self) -> None:
        """Nothing to open: there is no jump host."""

    def open_channel(self, kind: str, dest_addr: tuple[str, int], src_addr: tuple[str, int]) -> socket.socket:  # noqa: ARG002
        """Return the socket. Where to is the dialler's business."""
        return self._dial()


class _Transport(paramiko.Transport):
    """paramiko's transport, which says when the server spoke, shows its banner and hears why a command ended."""

    # typeshed's stubs leave these out; paramiko says that subclasses may change them (transport.py, __init__).
    _handler_table: dict[int, Callable[[paramiko.Message], None]]
    _channel_handler_table: dict[int, Callable[[paramiko.Channel, paramiko.Message], None]]
    _send_user_message: Callable[[paramiko.Message], None]

    def __init__(self, sock: socket.socket, *, kinds: Sequence[str] = (), tell: Tell | None = None) -> None:
        # Its errors, tracebacks included, would go to stderr; what they say is in the exceptions.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        super().__init__(sock, default_max_packet_size=LARGEST_PACKET)
        options = self.get_security_options()
        options.ciphers = _first((FASTEST_CIPHER,), options.ciphers)
        # A host known by its RSA key alone must show that one, though we like others better.
        options.key_types = _first(kinds, options.key_types)
        self.answered = threading.Event()
        self.signals: dict[int, str] = {}
        self._tell = tell
        self._handler_table.update(
            {
                common.MSG_USERAUTH_BANNER: self._show_banner,
                common.MSG_REQUEST_SUCCESS: self._note_answer,
                common.MSG_REQUEST_FAILURE: self._note_answer,
            }
        )
        self._channel_handler_table = {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
            common.MSG_CHANNEL_REQUEST: self._hear_channel_request,
        }

    def ask_for_life(self) -> None:
        """Send a keepalive that wants an answer; whatever the server says to it sets `answered`."""
        self.answered.clear()
        message = _message(common.cMSG_GLOBAL_REQUEST)
        message.add_string(KEEPALIVE)
        message.add_boolean(True)
        self._send_user_message(message)

    def _show_banner(self, message: paramiko.Message) -> None:
        if self._tell:
            self._tell(message.get_string().decode(errors="replace").rstrip())

    def _note_answer(self, _: paramiko.Message) -> None:
        self.answered.set()

    def _hear_channel_request(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        # paramiko drops exit-signal (channel.py, _handle_request).
        peeked = paramiko.Message(message.get_remainder())
        if peeked.get_text() == "exit-signal":
            peeked.get_boolean()
            self.signals[channel.chanid] = peeked.get_text()
        channel._handle_request(message)  # type: ignore[attr-defined]


class _KeyCheck(paramiko.MissingHostKeyPolicy):
    """paramiko asks it about every key, because its own known hosts stay empty."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        self._verifier.check(_host_key(key))


class _Authentication:
    """Tries to log in: without anything (Tailscale SSH knows who we are), then key by key; remembers what it tried."""

    def __init__(self, host: str, login: Login) -> None:
        self._host = host
        self._login = login
        self._tried: list[str] = []

    def authenticate(self, transport: paramiko.Transport) -> None:
        """Log in, or raise Refused with everything that was tried and what the server would take."""
        user = self._login.user
        transport.auth_timeout = CHECK_SECONDS if transport.remote_version.startswith(TAILSCALE) else LOGIN_SECONDS
        allowed = self._try("none", functools.partial(transport.auth_none, user))
        if not allowed:
            return
        for name, key in self._keys() if "publickey" in allowed else ():
            if not self._try(name, functools.partial(transport.auth_publickey, user, key)):
                return
            if not transport.is_active():
                break  # sshd's MaxAuthTries
        raise Refused(
            f"{self._host} refuses to log {user} in",
            why=f"tried {', '.join(self._tried)}; the server takes {', '.join(allowed)}",
            next_step=f"add a key to {user}'s authorized_keys there, or set ansible_user and its private key file",
        )

    def _try(self, name: str, attempt: Callable[[], Sequence[str]]) -> Sequence[str]:
        """Return nothing for success, else the methods that the server would take."""
        self._tried.append(name)
        try:
            return attempt()
        except BadAuthenticationType as refused:
            return list(refused.allowed_types)
        except AuthenticationException as refused:
            if "timeout" in str(refused).lower():
                raise TimedOut(f"{self._host} does not answer the login", why=f"tried {name}") from None
            if len(self._tried) == 1:
                raise SSHException("the server hung up during the login") from None
            return ["publickey"]

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        held = list(paramiko.Agent().get_keys()) if self._login.agent else []
        wanted = {_public_blob(path) for path in self._login.identities}
        # With a key file named, the agent gives that key and no other: sshd ends a login after six tries.
        for key in held:
            if not self._login.identities or key.asbytes() in wanted:
                yield f"agent key {key.comment or key.get_name()}", key
        for path in self._login.identities:
            loaded = self._load(path)
            if loaded is not None and loaded.asbytes() not in {key.asbytes() for key in held}:
                yield str(path), loaded

    def _load(self, path: Path) -> paramiko.PKey | None:
        try:
            return paramiko.PKey.from_path(path)
        except TypeError:
            self._tried.append(f"{path} (it has a passphrase: run `ssh-add {path}`)")
        except OSError as error:
            self._tried.append(f"{path} ({_words(error)})")
        except (ValueError, SSHException, paramiko.pkey.UnknownKeyType):
            self._tried.append(f"{path} (no key that we can read)")
        return None


class _Runner(Remote):  # type: ignore[misc]
    """Fabric's runner with constant memory: no copy of the output, no threads, no polling."""

    def run(self, command: str, *, out: Sink, err: Sink) -> Ended:
        """Run the command to its end."""
        channel, transport = self.context.create_session(), self.context.transport
        try:
            # Not waiting for the reply saves a round trip; a refusal closes the channel.
            _request(transport, channel, "exec", True, command)
            channel.shutdown_write()
            return self._follow(channel, out, err)
        except BaseException:
            if transport.is_active() and not channel.closed:
                _request(transport, channel, "signal", False, "TERM")
                channel.status_event.wait(FAREWELL_SECONDS)
            raise
        finally:
            channel.close()

    def _follow(self, channel: paramiko.Channel, out: Sink, err: Sink) -> Ended:
        transport = self.context.transport
        bell = _Bell()
        channel.in_buffer.set_event(bell)
        channel.in_stderr_buffer.set_event(bell)
        unanswered = 0
        while not (channel.closed or (channel.eof_received and channel.exit_status_ready())):
            if bell.listen(SILENT_SECONDS):
                unanswered = 0
            elif unanswered >= UNANSWERED and not transport.answered.is_set():
                raise _lost(self.context.host_name, f"it has been silent for {SILENT_SECONDS * (unanswered + 1):.0f} s")
            else:
                unanswered = 1 if transport.answered.is_set() else unanswered + 1
                transport.ask_for_life()
            _drain(channel, out, err)
        _drain(channel, out, err)
        return self._ended(channel, transport)

    def _ended(self, channel: paramiko.Channel, transport: _Transport) -> Ended:
        name = transport.signals.get(channel.chanid, "")
        if name:
            number = getattr(signal, f"SIG{name}", 0)
            return Ended(128 + number, name)
        if channel.exit_status >= 0:
            return Ended(channel.exit_status)
        if not transport.is_active():
            raise _lost(self.context.host_name, _words(transport.get_exception()))
        if not channel.event_ready:
            raise Refused(f"{self.context.host_name} refuses to run commands")
        raise _lost(self.context.host_name, "the server ended the command without a status")


class _Connection(Connection):  # type: ignore[misc]
    """Fabric's connection with our host key check, our login, our runner, and no thread left behind."""

    # Invoke takes an attribute that the class does not know for a key of its configuration.
    host_name = ""
    transport: _Transport | None

    def __init__(self, verifier: Verifier, login: Login, dial: Dial, tell: Tell) -> None:
        kinds = tuple(key.kind for key in verifier.known().keys)
        super().__init__(
            verifier.name,
            user=login.user,
            port=verifier.port,
            config=_config(),
            gateway=_Gateway(dial),
            connect_kwargs={
                "auth_strategy": _Authentication(verifier.host, login),
                "banner_timeout": BANNER_SECONDS,
                "channel_timeout": CHANNEL_SECONDS,
                # The client hands over disabled algorithms too; we disable none.
                "transport_factory": lambda sock, **_: _Transport(sock, kinds=kinds, tell=tell),
            },
        )
        self.host_name = verifier.host
        self.client.set_missing_host_key_policy(_KeyCheck(verifier))

    def open(self) -> None:
        """Connect; when that fails, leave no thread and no half-open connection (fabric#2259)."""
        try:
            super().open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up, whether or not the login had succeeded."""
        transport = self.client.get_transport()
        if transport is not None:
            _hang_up(transport)
        self.client.close()


class _Bell(threading.Event):
    """Rings when one of a command's two pipes has something to read."""

    def clear(self) -> None:
        """Stay as it is: a pipe that is empty clears its event, and the other pipe may not be."""

    def listen(self, seconds: float) -> bool:
        """Wait for a ring, and be ready for the next."""
        rang = self.wait(seconds)
        super().clear()
        return rang


@functools.cache
def _config() -> Config:
    # The user's ssh_config is not read: a `Host *` ProxyCommand there would go around the proxy, or be injected into.
    return Config(overrides={"load_ssh_configs": False, "runners": {"remote": _Runner}}, lazy=True)


def _first(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    spelled = [name for kind in wanted for name in (RSA_SIGNATURES if kind == "ssh-rsa" else (kind,))]
    chosen = [name for name in dict.fromkeys(spelled) if name in known]
    return (*chosen, *(name for name in known if name not in chosen))


def _request(transport: _Transport, channel: paramiko.Channel, kind: str, reply: bool, content: str) -> None:
    message = _message(common.cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string(kind)
    message.add_boolean(reply)
    message.add_string(content)
    transport._send_user_message(message)


def _message(kind: bytes) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(kind)
    return message


def _drain(channel: paramiko.Channel, out: Sink, err: Sink) -> None:
    while channel.recv_ready() or channel.recv_stderr_ready():
        if channel.recv_ready():
            out(channel.recv(CHUNK))
        if channel.recv_stderr_ready():
            err(channel.recv_stderr(CHUNK))


def _hang_up(transport: paramiko.Transport) -> None:
    # Wakes the reading thread at once; by itself it looks up ten times a second.
    with contextlib.suppress(OSError):
        transport.sock.shutdown(socket.SHUT_RDWR)
    transport.close()
    if transport.is_alive():
        transport.join(FAREWELL_SECONDS)


def _host_key(key: paramiko.PKey) -> HostKey:
    return HostKey(key.get_name(), key.get_base64())


def _public_blob(path: Path) -> bytes:
    try:
        key = parse_key(path.with_name(path.name + ".pub").read_text())
    except (OSError, UnicodeDecodeError):
        return b""
    return key.raw if key else b""


def _lost(name: str, why: str) -> Unavailable:
    return Unavailable(f"connection to {name} lost, outcome unknown", why=why)


def _translated(name: str, error: Exception) -> Failure:
    words = _words(error)
    if isinstance(error, IncompatiblePeer):
        return Unavailable(
            f"{name} speaks only an SSH that is no longer safe", why=words, next_step="upgrade its server"
        )
    if "banner" in words:
        return TimedOut(
            f"{name} accepts connections but shows no SSH banner",
            why=f"nothing within {BANNER_SECONDS:.0f} s, or the server is overloaded (MaxStartups)",
            next_step="check that the port is an SSH server's",
        )
    return Unavailable(f"the SSH connection to {name} failed", why=words)


def _words(error: BaseException | None) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or "the connection was closed" if error else "the connection was closed"
