"""Owns the SSH protocol of one connection: keys, logins, keepalive, requests. The only file that knows paramiko.

What paramiko 5.1 does and is changed here: exit-signal is dropped, so that a killed command and a lost connection both
end with -1; the keepalive is never answered, so that a dead link goes unnoticed; the login's banner is dropped.
"""

import contextlib
import functools
import logging
import re
import socket
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko import common
from paramiko.ssh_exception import AuthenticationException, BadAuthenticationType, IncompatiblePeer, SSHException

from tasks.errors import Failure, TimedOut, Unavailable
from tasks.remote.hostkeys import HostKey

BANNER_SECONDS = 10.0
CHANNEL_SECONDS = 15.0
FAREWELL_SECONDS = 1.0
LARGEST_KEY = 1024 * 1024
LARGEST_PACKET = 256 * 1024
FASTEST_CIPHER = "aes128-gcm@openssh.com"
RSA_SIGNATURES = ("rsa-sha2-512", "rsa-sha2-256")
OPENSSH = "SSH-2.0-OpenSSH"
TAILSCALE = "SSH-2.0-Tailscale"
SIGNAL_NAME = re.compile(rb"[A-Z0-9]{1,16}")
KEEPALIVE = "keepalive@openssh.com"
BROKEN = (SSHException, EOFError, OSError)
"""Everything that paramiko raises when a connection does not come about or breaks."""

Tell = Callable[[str], None]
Key = paramiko.PKey
Channel = paramiko.Channel


@dataclass(frozen=True)
class Answer:
    """What a server says to an attempt to log in: yes, or no and the methods that it would take."""

    accepted: bool
    methods: tuple[str, ...] = ()


class Transport(paramiko.Transport):
    """paramiko's transport, which shows the server's banner, notes its answers and hears why a command ended."""

    # The stubs leave these out; paramiko means subclasses to change the table (transport.py, __init__).
    _handler_table: dict[int, Callable[[paramiko.Message], None]]
    _channel_handler_table: dict[int, Callable[[paramiko.Channel, paramiko.Message], None]]
    _send_user_message: Callable[[paramiko.Message], None]
    _send_message: Callable[[paramiko.Message], None]
    _parse_global_request: Callable[[paramiko.Message], None]

    def __init__(self, sock: socket.socket, *, kinds: Sequence[str] = (), tell: Tell | None = None) -> None:
        # Its errors, tracebacks included, would go to stderr; what they say is in the exceptions.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        super().__init__(sock, default_max_packet_size=LARGEST_PACKET, packetizer_class=Packetizer)
        self.banner_timeout = BANNER_SECONDS
        self.channel_timeout = CHANNEL_SECONDS
        options = self.get_security_options()
        options.ciphers = _first((FASTEST_CIPHER,), options.ciphers)
        # A host known by its RSA key alone must show that one, though we like others better.
        options.key_types = _first(kinds, options.key_types)
        self.answered = threading.Event()
        self.signals: dict[int, str] = {}
        self._tell = tell
        self._handler_table |= {
            common.MSG_USERAUTH_BANNER: self._show_banner,
            common.MSG_GLOBAL_REQUEST: self._acknowledge,
            common.MSG_REQUEST_SUCCESS: self._note_answer,
            common.MSG_REQUEST_FAILURE: self._note_answer,
        }
        self._channel_handler_table = {
            **paramiko.Transport._channel_handler_table,  # type: ignore[attr-defined]
            common.MSG_CHANNEL_REQUEST: self._hear_channel_request,
        }

    def shake_hands(self) -> None:
        """Exchange keys with the server; TimeoutError when it takes longer than its parts may."""
        done = threading.Event()
        # With an event of ours it returns at once; its own waiting looks ten times a second.
        self.start_client(event=done)
        finished = done.wait(self.banner_timeout + self.handshake_timeout)
        error = self.get_exception()
        if error is not None:
            raise error
        if not finished:
            raise TimeoutError("the server does not finish the key exchange")
        if not self.is_active():
            raise EOFError("the server hung up during the key exchange")

    def try_none(self, user: str) -> Answer:
        """Try to log in without anything."""
        return self._answer(lambda: self.auth_none(user))

    def try_key(self, user: str, key: Key) -> Answer:
        """Try to log in with a key."""
        return self._answer(lambda: self.auth_publickey(user, key))

    def ask_for_life(self) -> None:
        """Send a keepalive that wants an answer; whatever the server says to it sets `answered`."""
        self.answered.clear()
        message = _message(common.cMSG_GLOBAL_REQUEST)
        message.add_string(KEEPALIVE)
        message.add_boolean(True)
        self._send_user_message(message)

    def request(self, channel: paramiko.Channel, kind: str, content: str, *, reply: bool) -> None:
        """Send a channel request and wait for nothing; an answer to it sets the channel's `event`."""
        channel.event.clear()
        message = _message(common.cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string(kind)
        message.add_boolean(reply)
        message.add_string(content.encode(errors="surrogateescape"))  # words of ours may be no UTF-8
        self._send_user_message(message)

    def hang_up(self) -> None:
        """Close the connection and wait for its thread."""
        # Wakes the reading thread at once; by itself it looks up ten times a second.
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.close()
        if self.is_alive():
            self.join(FAREWELL_SECONDS)

    def _answer(self, attempt: Callable[[], Sequence[str]]) -> Answer:
        try:
            further = tuple(attempt())
        except BadAuthenticationType as refused:
            return Answer(False, tuple(refused.allowed_types))
        except AuthenticationException as refused:
            # paramiko has but one class for "no", "timeout" and "hung up" (auth_handler.py, wait_for_response).
            if "timeout" in str(refused).lower():
                raise TimeoutError("the server does not answer the login") from None
            return Answer(False)
        except BROKEN:
            if self.is_active():
                raise
            return Answer(False)
        return Answer(not further, further)

    def _show_banner(self, message: paramiko.Message) -> None:
        if self._tell:
            self._tell(message.get_string().decode(errors="replace").rstrip())

    def _parse_debug(self, message: paramiko.Message) -> None:
        """Pass over what sshd says to whoever debugs it; paramiko would format it, byte by byte, for nobody."""

    def _log(self, level: int, msg: object, *args: object) -> None:
        """Say nothing: what matters is in the exceptions."""

    def _acknowledge(self, message: paramiko.Message) -> None:
        """Let the bytes of an empty message carry the acknowledgement of sshd's unasked one (hostkeys-00@openssh.com).

        sshd's Nagle algorithm waits for it before it confirms our channel: 40 ms less for every connection.
        """
        self._parse_global_request(message)
        ignored = _message(common.cMSG_IGNORE)
        ignored.add_string("")
        self._send_message(ignored)

    def _note_answer(self, _: paramiko.Message) -> None:
        self.answered.set()

    def _hear_channel_request(self, channel: paramiko.Channel, message: paramiko.Message) -> None:
        peeked = paramiko.Message(message.get_remainder())
        if peeked.get_string() == b"exit-signal":
            peeked.get_boolean()
            name = peeked.get_string()
            # Whatever a server makes of it: it is shown, and a line end in it would forge a line of ours.
            self.signals[channel.chanid] = name.decode() if SIGNAL_NAME.fullmatch(name) else "?"
        channel._handle_request(message)  # type: ignore[attr-defined]


class Packetizer(paramiko.packet.Packetizer):
    """paramiko's reader of packets, which looks at the clock where paramiko starts a thread for each handshake."""

    _end: float | None = None

    def start_handshake(self, timeout: float) -> None:
        """Give the key exchange so many seconds."""
        self._end = time.monotonic() + timeout

    def handshake_timed_out(self) -> bool:
        """Whether they have passed; paramiko asks whenever it waits."""
        return self._end is not None and time.monotonic() > self._end

    def complete_handshake(self) -> None:
        """The key exchange is done."""
        self._end = None


class KeyPolicy(paramiko.MissingHostKeyPolicy):
    """paramiko asks it about every host key, because its own known hosts stay empty; `check` raises or returns."""

    def __init__(self, check: Callable[[HostKey], None]) -> None:
        self._check = check

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: Key) -> None:  # noqa: ARG002
        """Let the key be checked."""
        self._check(host_key(key))


def agent_keys() -> list[tuple[str, Key]]:
    """Return the keys of the running ssh-agent, each with the name it goes by."""
    return [(key.comment or key.get_name(), key) for key in paramiko.Agent().get_keys()]


@functools.lru_cache(maxsize=64)
def load_key(path: Path) -> Key:
    """Read a private key, once for all hosts; PermissionError when it has a passphrase, ValueError when it is none."""
    seen = path.stat()
    # Reading a pipe would wait for its writer, reading /dev/zero would never end.
    if not stat.S_ISREG(seen.st_mode) or seen.st_size > LARGEST_KEY:
        raise ValueError("no key: not a file, or too large for one")
    try:
        return Key.from_path(path)
    except TypeError:
        raise PermissionError(f"it has a passphrase: run `ssh-add {path}`") from None
    except (SSHException, paramiko.pkey.UnknownKeyType):
        raise ValueError("no key that we can read") from None


def fetch_host_key(name: str, sock: socket.socket) -> HostKey:
    """Return the key that the host shows first, the one that it would be verified by; nobody logs in."""
    transport = Transport(sock)
    try:
        transport.start_client()
        return host_key(transport.get_remote_server_key())
    except BROKEN as error:
        raise not_connected(name, error) from None
    finally:
        transport.hang_up()


def open_shell(channel: Channel, term: str, columns: int, rows: int) -> None:
    """Start a login shell on a terminal there of that kind and size; what it writes comes as one stream."""
    channel.set_combine_stderr(True)
    channel.get_pty(term, columns, rows)
    channel.invoke_shell()


def host_key(key: Key) -> HostKey:
    """Return paramiko's key as our record."""
    return HostKey(key.get_name(), key.get_base64())


def lost(name: str, why: str) -> Unavailable:
    """Return the failure for a connection that broke in the middle of a command."""
    return Unavailable(f"connection to {name} lost, outcome unknown", why=why, cause="unknown")


def not_connected(name: str, error: BaseException) -> Failure:
    """Return the failure for a connection that did not come about."""
    why = words(error)
    if isinstance(error, IncompatiblePeer):
        return Unavailable(f"{name} speaks only an SSH that is no longer safe", why=why, next_step="upgrade its server")
    if isinstance(error, TimeoutError):
        return TimedOut(f"{name} is connected but silent", why=why)
    if "banner" in why:
        return TimedOut(
            f"{name} accepts connections but shows no SSH banner",
            why=f"nothing within {BANNER_SECONDS:.0f} s, or the server is overloaded (MaxStartups)",
            next_step="check that the port is an SSH server's",
        )
    return Unavailable(f"the SSH connection to {name} failed", why=why)


def words(error: BaseException | None) -> str:
    """Return the words of an exception, or what it means when it has none."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) if error and str(error) else "the connection was closed"


def _first(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    spelled = [name for kind in wanted for name in (RSA_SIGNATURES if kind == "ssh-rsa" else (kind,))]
    chosen = [name for name in dict.fromkeys(spelled) if name in known]
    return (*chosen, *(name for name in known if name not in chosen))


def _message(kind: bytes) -> paramiko.Message:
    message = paramiko.Message()
    message.add_byte(kind)
    return message
