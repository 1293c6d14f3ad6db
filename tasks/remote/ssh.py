"""Owns one host's SSH session: connect, log in, run a command. The only file that knows Fabric.

Fabric's habits that are replaced here, each seen in fabric 3.2.3: every host key is accepted (AutoAddPolicy), a failed
connect leaks its thread, output is kept in memory and joined anew at each chunk, the user's ssh_config is obeyed.
"""

import functools
import socket

from fabric.config import Config
from fabric.connection import Connection
from fabric.runners import Remote

from tasks.remote.feeding import Feed
from tasks.remote.following import SILENT_SECONDS, Ended, Follower
from tasks.remote.hostkeys import Verifier
from tasks.remote.login import Attempts, Login
from tasks.remote.output import ReaderGone, Sink
from tasks.remote.transport import BROKEN, KeyPolicy, Tell, Transport, lost, not_connected, words


class Session:
    """One host, connected and logged in."""

    def __init__(self, connection: "_Connection", name: str) -> None:
        self._connection = connection
        self._name = name

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run one shell command with nothing on its stdin, or what `feed` writes; hand its output on as it comes.

        A connection that breaks meanwhile is Unavailable, "outcome unknown". Whatever ends us ends the command too.
        """
        try:
            ended: Ended = self._connection.run(command, out=out, err=err, feed=feed)
        except ReaderGone:
            raise
        except BROKEN as error:
            raise lost(self._name, words(error)) from None
        return ended

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(
    sock: socket.socket, verifier: Verifier, login: Login, tell: Tell, *, silence: float = SILENT_SECONDS
) -> Session:
    """Check the key of the host at the socket, which the verifier knows, and log in.

    `tell` is told what the server has to say before the login (a banner, the link of Tailscale SSH's check mode).
    After `silence` seconds without a byte the server is asked whether it lives, three times in all.
    """
    connection = _Connection(sock, verifier, login, tell)
    connection.silence = silence
    try:
        connection.open()
    except BROKEN as error:
        raise not_connected(verifier.host, error) from None
    return Session(connection, verifier.host)


class _Gateway:
    """What Fabric takes for a jump host: it asks for a channel and gets our socket, once."""

    def __init__(self, sock: socket.socket) -> None:
        self._sockets = [sock]
        self.transport = self

    def open(self) -> None:
        """Nothing to open: there is no jump host."""

    def open_channel(self, kind: str, dest_addr: tuple[str, int], src_addr: tuple[str, int]) -> socket.socket:  # noqa: ARG002
        """Return the socket. Fabric would open a connection that has gone again, and know nothing of its command."""
        if not self._sockets:
            raise EOFError("it is closed")
        return self._sockets.pop()


class _Runner(Remote):  # type: ignore[misc]
    """Fabric's runner with constant memory: no copy of the output, no threads, no polling."""

    def run(self, command: str, *, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run the command to its end."""
        host: _Connection = self.context
        follower = Follower(host.host_name, host.transport, host.create_session(), host.silence)
        return follower.run(command, out, err, feed)


class _Connection(Connection):  # type: ignore[misc]
    """Fabric's connection with our host key check, our login, our runner, and no thread left behind."""

    # Invoke takes an attribute that the class does not know for a key of its configuration.
    host_name = ""
    silence = SILENT_SECONDS
    transport: Transport

    def __init__(self, sock: socket.socket, verifier: Verifier, login: Login, tell: Tell) -> None:
        kinds = [key.kind for key in verifier.known().keys]
        super().__init__(
            verifier.name,
            user=login.user,
            port=verifier.port,
            config=_config(),
            gateway=_Gateway(sock),
            connect_kwargs={
                "auth_strategy": Attempts(verifier.host, login),
                # The client hands over disabled algorithms too; we disable none.
                "transport_factory": lambda sock, **_: Transport(sock, kinds=kinds, tell=tell),
            },
        )
        self.host_name = verifier.host
        self.client.set_missing_host_key_policy(KeyPolicy(verifier.check))

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
            transport.hang_up()
        self.client.close()


@functools.cache
def _config() -> Config:
    # The user's ssh_config is not read: a `Host *` ProxyCommand there would go around the proxy, or be injected into.
    return Config(overrides={"load_ssh_configs": False, "runners": {"remote": _Runner}}, lazy=True)
