"""Composes copies of files to and from one host or many: progress with its rate, a line of what came of each.

A thin layer beside the commands `remote.put` and `remote.get`.
"""

import os
import posixpath
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, reach
from tasks.errors import NotSaved, RemoteExit, reason
from tasks.interrupting import Interrupted
from tasks.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tasks.remote.fanout import Event, Turn
    from tasks.remote.places import Copied, Storage

REDRAW_SECONDS = 0.2
MEGABYTE = 1e6


@dataclass(frozen=True)
class Copy:
    """A copy to make on any host; it gets the host's files and its name. `total` in bytes, if it is known before."""

    make: "Callable[[Storage, str, Meter], Copied]"
    total: int | None = None


def to_hosts(source: Path, target: str) -> Copy:
    """Return the copy of a file or a folder of this machine to a path there."""
    from tasks.remote import sending, sums

    digest = sums.digest_meanwhile(source) if source.is_file() else None

    def make(storage: "Storage", _host: str, meter: Meter) -> "Copied":
        return sending.send(storage, source, target, meter.hear, digest)

    return Copy(make, sending.size_of(source))


def from_hosts(source: str, to: str, *, many: bool) -> Copy:
    """Return the copy of a file or a folder of a host to a path here; of many, each into a folder of its name.

    A path that ends in a slash is a folder, and is made.
    """
    from tasks.remote import fetching

    target = Path(to).expanduser()

    def make(storage: "Storage", host: str, meter: Meter) -> "Copied":
        here = target / host if many else target
        try:
            (here if many or to.endswith("/") else here.parent).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NotSaved(f"cannot make the folder {here}", why=reason(error)) from None
        return fetching.fetch(storage, source, here, meter.hear, meter.expect)

    return Copy(make)


def on_one(settings: Settings, host: str, copy: Copy) -> None:
    """Copy to or from one host and say what came of it."""
    from tasks.remote.link import Commands
    from tasks.remote.places import Storage

    meter = Meter(copy.total)
    with Commands(reach.link_to(settings, host)) as commands:
        try:
            copied = copy.make(Storage(commands, host), host, meter)
        finally:
            meter.end()
    _tell(host, copied, meter)


def on_many(settings: Settings, pattern: str, copy: Copy, forks: int) -> None:
    """Copy to or from many hosts at once; say what came of each, and in the end of all."""
    from tasks.remote import fanout, patterns, summary
    from tasks.remote.link import Commands
    from tasks.remote.places import Storage

    # Of many hosts at once nobody is asked anything: an unknown host key is that host's failure.
    ways = replace(reach.ways_of(settings), ask=None)
    names = patterns.select(pattern, ways.inventory)
    meter, copies = Meter(copy.total * len(names) if copy.total else None), {}
    say = _labelling(names, meter)

    def work(turn: "Turn") -> None:
        with turn.connecting():
            # Behind its name: what a host says before the login must not look like words of ours.
            connected = ways.to(turn.name).link(lambda text: say(turn.name, text), turn.halt)
        with Commands(connected) as commands:
            turn.start()
            copies[turn.name] = copy.make(Storage(commands, turn.name), turn.name, meter)

    def hear(event: "Event | None") -> None:
        if not isinstance(event, fanout.Outcome):
            return
        if event.failure and event.failure.cause != fanout.CANCELLED:
            say(event.name, f"error: {event.failure}")
        elif not event.failure:
            meter.end()
            _tell(event.name, copies[event.name], meter)

    results = fanout.run(names, work, fanout.Limits(forks), hear)
    meter.end()
    console.step(summary.as_table(results.outcomes, time.monotonic() - meter.started))
    if results.interrupted:
        raise Interrupted(results.interrupted)
    status = summary.exit_status(results.outcomes)
    if status:
        raise RemoteExit(status)


def _labelling(names: "Sequence[str]", meter: "Meter") -> "Callable[[str, str], None]":
    """Return what says something about a host, behind its name, in place of the meter's line."""
    from tasks.remote import labels, output

    labelled = labels.Labels(labels.width_for(names), output.write_all, coloured=False)

    def say(name: str, text: str) -> None:
        meter.end()
        labelled.say(name, text)

    return say


class Meter:
    """Draws how much is over, how fast, and how long the rest takes, on a terminal; `total`: bytes, if known."""

    def __init__(self, total: int | None) -> None:
        self.started = time.monotonic()
        self._total = total
        self._done = 0
        self._drawn_at = self.started
        self._is_terminal = os.isatty(2)

    def hear(self, count: int) -> None:
        """Note that so many bytes more are over."""
        self._done += count
        now = time.monotonic()
        if self._is_terminal and now - self._drawn_at >= REDRAW_SECONDS:
            self._drawn_at = now
            sys.stderr.write(f"\r\x1b[K{self.line(now - self.started)}")
            sys.stderr.flush()

    def expect(self, count: int) -> None:
        """Note that so many bytes more will come."""
        self._total = (self._total or 0) + count

    def line(self, seconds: float) -> str:
        """Return the line after so many seconds."""
        rate = self._done / max(seconds, 0.001)
        line = f"{self._done / MEGABYTE:.1f} MB, {rate / MEGABYTE:.1f} MB/s"
        if self._total and rate:
            line += f", {max(self._total - self._done, 0) / rate:.0f} s left"
        return line

    def end(self) -> None:
        """Take the line away."""
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _tell(host: str, copied: "Copied", meter: Meter) -> None:
    where = f"{host}: {console.visible(copied.path)}"
    beside = f", {_count(copied.unchanged)} unchanged" if copied.unchanged else ""
    if copied.files:
        rate = f"{size_text(copied.size)} in {time.monotonic() - meter.started:.1f} s"
        console.say(f"{where}: {_count(copied.files)} copied and verified, {rate}{beside}")
    else:
        console.say(f"{where}: nothing to copy{beside}")
    for name in copied.left_out:
        console.step(f"not copied, neither file nor folder: {console.visible(name)}")


def size_text(count: int) -> str:
    """Return a number of bytes for people: small ones are not rounded to nothing."""
    for unit, size in (("MB", MEGABYTE), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def _count(files: int) -> str:
    return f"{files} file" if files == 1 else f"{files} files"


def target_there(target: str, source: Path) -> str:
    """Return the path on the host: as given, else the source's name in the login's home."""
    return target or posixpath.join(".", source.resolve().name)
