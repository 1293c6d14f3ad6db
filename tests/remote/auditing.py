"""Owns the watch over what this very process does: programs it starts, sockets it connects, names it looks up.

Python tells every such act to its audit hooks before it is done, whichever library or thread does it. A hook cannot be
taken away again, so there is one for all tests, which minds nothing unless a watch is on.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PROGRAMS = {
    *("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"),
}
LOOKUPS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}
SENDING = {"socket.connect", "socket.sendto", "socket.sendmsg"}


@dataclass
class Watch:
    """What may be connected to, and what was done besides."""

    allowed: set[object]
    done: list[str] = field(default_factory=list)

    def see(self, event: str, arguments: tuple[object, ...]) -> None:
        """Note what is not allowed, and keep it from happening."""
        if event in SENDING and arguments[1] in self.allowed:
            return
        self.done.append(f"{event} {arguments[1:] if event in SENDING else arguments}")
        raise PermissionError(self.done[-1])


_watches: list[Watch] = []


@contextmanager
def watch(*allowed: object) -> Iterator[Watch]:
    """Watch this process; only these addresses may be connected to."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    own = Watch(set(allowed))
    _watches.append(own)
    try:
        yield own
    finally:
        _watches.remove(own)


_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _watches and (event in PROGRAMS or event in LOOKUPS or event in SENDING):
        for each in _watches:
            each.see(event, arguments)
