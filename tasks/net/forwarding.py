"""Owns ports of this machine that lead to services of the tailnet, for programs that know no proxy."""

import contextlib
import os
import re
import select
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tasks.errors import Failure, Unavailable, UsageFailure, reason
from tasks.interrupting import LONGEST_WAIT
from tasks.loopback import HERE

MAP = re.compile(r"(\d{1,5}):(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(\d{1,5})")
HIGHEST_PORT = 65535
CHUNK = 262144
# Closing sends a reset: the program learns that the connection failed, not that it ended.
RESET = struct.pack("ii", 1, 0)
PAUSE = 0.1  # seconds until a client that could not even be refused is looked at again


@dataclass(frozen=True)
class Forward:
    """A port here, and the host and port that it leads to."""

    here: int
    host: str
    there: int

    def __str__(self) -> str:
        return f"{HERE}:{self.here} → {self.host}:{self.there}"


Dial = Callable[[Forward], socket.socket]
Tell = Callable[[str], None]


def parse(texts: Sequence[str]) -> tuple[Forward, ...]:
    """Return the forwards that `5432:db1:5432` mean."""
    found = [_parsed(text) for text in texts]
    if not found or len({forward.here for forward in found}) < len(found):
        raise UsageFailure("--map: expected at least one, such as 5432:db1:5432, and each port here once")
    return tuple(found)


def serve(forwards: Sequence[Forward], dial: Dial, tell: Tell) -> None:
    """Accept on every port here and pass on, until it is interrupted; what cannot be dialled is told and reset."""
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
        for forward in forwards:
            selector.register(stack.enter_context(_listening(forward)), selectors.EVENT_READ, forward)
        door = Door(tell)
        stack.callback(door.close)
        for forward in forwards:
            tell(str(forward))
        while True:
            for key, _ in selector.select(LONGEST_WAIT):
                assert isinstance(key.fileobj, socket.socket)
                if client := door.take(key.fileobj):
                    _begin(client, key.data, dial, door)


class Door:
    """Takes clients in, and refuses them while descriptors or threads have run out.

    For that it keeps a descriptor: a client that is left in the backlog would be announced, and not be had, again and
    again.
    """

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self._told = False
        self._spare: int | None = None
        self._keep_one()

    def take(self, listener: socket.socket) -> socket.socket | None:
        """Return the client that waits there; None when it had to be refused, or has gone."""
        try:
            return listener.accept()[0]
        except BlockingIOError:
            return None
        except OSError as error:
            self.tell_lack(error)
        self.close()
        try:
            _reset(listener.accept()[0])
        except OSError:
            time.sleep(PAUSE)  # another thread was quicker to take what became free
        self._keep_one()
        return None

    def tell_lack(self, error: OSError | RuntimeError) -> None:
        """Say why clients are refused: once, until one was served again."""
        if not self._told:
            why, limit = _lack(error)
            self.tell(f"error: clients are refused: {why}\n  next: end some, or start it with a higher `{limit}`")
        self._told = True

    def served(self) -> None:
        """Hear that a client was led to its service."""
        self._told = False

    def close(self) -> None:
        """Let go of the descriptor that is kept."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _keep_one(self) -> None:
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)


def _lack(error: OSError | RuntimeError) -> tuple[str, str]:
    """Return what ran out, and the limit on it."""
    if isinstance(error, OSError):
        return reason(error), "ulimit -n"
    return str(error), "ulimit -u"


def _parsed(text: str) -> Forward:
    match = MAP.fullmatch(text)
    if match is None or not all(0 < int(port) <= HIGHEST_PORT for port in (match[1], match[3])):
        raise UsageFailure(f"--map: expected PORT:HOST:PORT, such as 5432:db1:5432, got {text!r}")
    return Forward(int(match[1]), match[2].strip("[]"), int(match[3]))


@contextlib.contextmanager
def _listening(forward: Forward) -> Iterator[socket.socket]:
    try:
        listener = socket.create_server((HERE, forward.here))
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()  # its own words name the address once more
        raise Unavailable(f"cannot listen on {HERE}:{forward.here}", why=why, next_step="another port here") from None
    with listener:
        listener.setblocking(False)  # a client may have gone again between its announcement and accept()
        yield listener


def _begin(client: socket.socket, forward: Forward, dial: Dial, door: Door) -> None:
    """Serve the client in a thread of its own; refuse it when there can be none."""
    try:
        threading.Thread(target=_connect, args=(client, forward, dial, door), daemon=True).start()
    except RuntimeError as error:
        door.tell_lack(error)
        _reset(client)


def _connect(client: socket.socket, forward: Forward, dial: Dial, door: Door) -> None:
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            service = dial(forward)
        except Failure as failure:
            door.tell(f"error: {forward}: {failure}")
            _reset(client)
            return
        except OSError as error:
            door.tell_lack(error)
            _reset(client)
            return
        door.served()
        with service:
            _join(client, service)


def _reset(end: socket.socket) -> None:
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    end.close()


def _join(client: socket.socket, service: socket.socket) -> None:
    """Pass bytes on both ways, and their ends too, until both ways have ended.

    When either side breaks, the other hears no good end but a reset, unless it had its end already.
    """
    ways = [_OneWay(client, service), _OneWay(service, client)]
    try:
        client.setblocking(False)
        service.setblocking(False)
        while ways := [way for way in ways if not way.ended]:
            _await(ways)
            for way in ways:
                way.go_on()
    except OSError:
        for way in ways:
            if not way.ended:
                _reset(way.target)


@dataclass
class _OneWay:
    """Bytes from one socket to another, neither of which blocks."""

    source: socket.socket
    target: socket.socket
    held: memoryview = field(default_factory=lambda: memoryview(b""))
    ended: bool = False

    @property
    def awaited(self) -> tuple[int, int]:
        """The descriptor that keeps it from going on, and what has to happen to that."""
        return (self.target.fileno(), select.POLLOUT) if self.held else (self.source.fileno(), select.POLLIN)

    def go_on(self) -> None:
        """Pass on as much as goes without waiting."""
        with contextlib.suppress(BlockingIOError):
            self.held = self.held or memoryview(self.source.recv(CHUNK))
            if self.held:
                self.held = self.held[self.target.send(self.held) :]
            else:
                self.target.shutdown(socket.SHUT_WR)
                self.ended = True


def _await(ways: Sequence[_OneWay]) -> None:
    wanted: dict[int, int] = {}
    for descriptor, event in (way.awaited for way in ways):
        wanted[descriptor] = wanted.get(descriptor, 0) | event
    poller = select.poll()
    for descriptor, events in wanted.items():
        poller.register(descriptor, events)
    poller.poll()
