"""Owns ports of this machine that lead to services of the tailnet, for programs that know no proxy."""

import contextlib
import os
import re
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tasks.errors import Failure, Unavailable, UsageFailure
from tasks.loopback import HERE

MAP = re.compile(r"(\d{1,5}):(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):(\d{1,5})")
HIGHEST_PORT = 65535
CHUNK = 262144
# Closing sends a reset: the program learns that the connection failed, not that it ended.
RESET = struct.pack("ii", 1, 0)


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
        for forward in forwards:
            tell(str(forward))
        while True:
            for key, _ in selector.select():
                listener, forward = key.fileobj, key.data
                assert isinstance(listener, socket.socket)
                client, _ = listener.accept()
                threading.Thread(target=_connect, args=(client, forward, dial, tell), daemon=True).start()


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
        why = os.strerror(error.errno or 0).lower()
        raise Unavailable(f"cannot listen on {HERE}:{forward.here}", why=why, next_step="another port here") from None
    with listener:
        yield listener


def _connect(client: socket.socket, forward: Forward, dial: Dial, tell: Tell) -> None:
    with client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            service = dial(forward)
        except Failure as failure:
            tell(f"error: {forward}: {failure}")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return
        with service:
            back = threading.Thread(target=_pass_on, args=(service, client), daemon=True)
            back.start()
            _pass_on(client, service)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until their end, and that end too; when either side breaks, break the other."""
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
