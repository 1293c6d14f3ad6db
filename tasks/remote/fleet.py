"""Owns one command on many hosts: for each a way, a link, and where its output goes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tasks.console import visible
from tasks.errors import RemoteExit
from tasks.remote.fanout import Turn
from tasks.remote.ways import Ways

if TYPE_CHECKING:
    from tasks.remote.feeding import Feed
    from tasks.remote.link import Link


class Taker(Protocol):
    """What takes one output of one host, and is told when that is all."""

    def __call__(self, data: bytes) -> None:
        """Take bytes."""
        ...

    def close(self) -> None:
        """Nothing follows."""
        ...


@dataclass(frozen=True)
class Command:
    """One shell line for every host. `takers` makes what takes a host's stdout and stderr; `say` tells about a host."""

    line: str
    ways: Ways
    takers: Callable[[str], tuple[Taker, Taker]]
    say: Callable[[str, str], None]
    feed: "Feed | None" = None

    def run(self, turn: Turn) -> None:
        """Run it in a host's turn; RemoteExit when it did not end with 0."""
        way = self.ways.to(turn.name)
        with turn.connecting():
            connected = way.link(lambda text: self.say(turn.name, visible(text)), turn.halt)
        try:
            turn.start()
            self._follow(connected, turn.name)
        finally:
            connected.close()

    def _follow(self, connected: "Link", name: str) -> None:
        out, err = self.takers(name)
        try:
            ended = connected.run(self.line, out, err, self.feed)
        finally:
            out.close()
            err.close()
        if ended.exit_status:
            raise RemoteExit(ended.exit_status, signal=ended.signal)
