"""Owns the connection to one of many hosts: straight on the transport, without Fabric.

Fabric's Connection is a millisecond and a Config for each host, and its import costs as much as ten logins. What is
done here is what it does in `ssh`, in the same order: key exchange, host key, login, one channel.
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterator
from typing import Protocol

from tasks.errors import Failure, Fleeting
from tasks.remote.feeding import Feed
from tasks.remote.following import Ended, Follower
from tasks.remote.halting import Halt
from tasks.remote.hostkeys import Verifier
from tasks.remote.login import Attempts, Login
from tasks.remote.output import ReaderGone, Sink
from tasks.remote.transport import BANNER_SECONDS, BROKEN, Tell, Transport, host_key, lost, not_connected, words


class Reachable(Protocol):
    """What a link needs of the way to a host."""

    def verifier(self) -> Verifier:
        """Return what decides about the host's key."""
        ...

    def login(self) -> Login:
        """Return who logs in, and with which keys."""
        ...


class Link:
    """A host, connected and logged in, for one command or one login shell."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run one shell command with nothing on its stdin, or what `feed` writes; hand its output on as it comes.

        A connection that breaks meanwhile is Unavailable, "outcome unknown". Whatever ends us ends the command too.
        """
        with self._told_when_lost():
            return self._follower.run(command, out, err, feed)

    def log_in(self, term: str) -> Ended:
        """Be the terminal, of the kind `term`, of a login shell there; a connection that breaks is Unavailable."""
        from tasks.remote import interactive

        with self._told_when_lost():
            return interactive.log_in(self._follower, term)

    def another(self) -> "Link":
        """Return a link for another command on the same connection; closing either closes it."""
        follower = self._follower
        return Link(dataclasses.replace(follower, channel=follower.transport.open_session()))

    def close(self) -> None:
        """Hang up."""
        self._follower.transport.hang_up()

    @contextlib.contextmanager
    def _told_when_lost(self) -> Iterator[None]:
        try:
            yield
        except ReaderGone:
            raise
        except BROKEN as error:
            raise lost(self._follower.name, words(error)) from None


class Commands:
    """A host that runs one command after another on one connection, which ends with the context."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._is_fresh = True

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run one shell command."""
        current = self._link if self._is_fresh else self._link.another()
        self._is_fresh = False
        return current.run(command, out, err, feed)

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()


def connect(sock: socket.socket, way: Reachable, tell: Tell, halt: Halt) -> Link:
    """Check the key of the host at the socket, log in, open a channel; asked to halt, whatever goes on breaks off."""
    verifier, login = way.verifier(), way.login()
    began = time.monotonic()
    transport = Transport(sock, kinds=[key.kind for key in verifier.known().keys], tell=tell)
    try:
        with _breaking_off(sock, halt):
            transport.shake_hands()
            verifier.check(host_key(transport.get_remote_server_key()))
            Attempts(verifier.host, login).authenticate(transport)
            return Link(Follower(verifier.host, transport, transport.open_session(), halt=halt))
    except BROKEN as error:
        transport.hang_up()
        halt.check()
        raise _not_connected(verifier.host, error, time.monotonic() - began) from None
    except BaseException:
        transport.hang_up()
        raise


def _not_connected(name: str, error: Exception, seconds: float) -> Failure:
    if "banner" in words(error) and seconds < BANNER_SECONDS:
        # It did not stay silent, it closed the connection. Nothing has begun, so another try harms nobody.
        why = "it has too many logins at once (MaxStartups), or lets nobody in from here"
        return Fleeting(f"{name} hung up before it said who it is", why=why)
    return not_connected(name, error)


@contextlib.contextmanager
def _breaking_off(sock: socket.socket, halt: Halt) -> Iterator[None]:
    def break_off() -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    with halt.waking(break_off):
        yield
