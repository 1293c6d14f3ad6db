"""Composes copies of files to and from hosts: one host's way, progress with its rate, a line of what came of it.

A thin layer beside the commands `remote.put` and `remote.get`.
"""

import os
import posixpath
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, reach
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.remote.feeding import Feed
    from tasks.remote.following import Ended
    from tasks.remote.output import Sink

REDRAW_SECONDS = 0.2
MEGABYTE = 1e6


class Commands:
    """A host that runs one command after another, on one connection and without Fabric's 60 ms."""

    def __init__(self, settings: Settings, host: str) -> None:
        from tasks.remote import link
        from tasks.remote.halting import Halt

        way = reach.ways_of(settings).to(host)
        self._link = link.connect(way, lambda text: console.step(console.visible(text)), Halt())
        self._is_fresh = True

    def run(self, command: str, out: "Sink", err: "Sink", feed: "Feed | None" = None) -> "Ended":
        """Run a shell line."""
        current = self._link if self._is_fresh else self._link.another()
        self._is_fresh = False
        return current.run(command, out, err, feed)

    def __enter__(self) -> "Commands":
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()


def put(settings: Settings, host: str, source: Path, target: str) -> None:
    """Copy a file or a folder to a host and say what came of it."""
    from tasks.remote import sending
    from tasks.remote.places import Storage, digest_meanwhile

    digest = digest_meanwhile(source) if source.is_file() else None
    meter = Meter(sending.size_of(source))
    with Commands(settings, host) as session:
        try:
            copied = sending.send(Storage(session, host), source, target, meter.hear, digest)
        finally:
            meter.end()
    _tell(f"{host}: {console.visible(copied.path)}", copied.files, copied.size, meter, copied.unchanged)
    _tell_left_out(copied.left_out)


def get(settings: Settings, host: str, source: str, target: Path) -> None:
    """Copy a file or a folder from a host and say what came of it."""
    from tasks.remote import fetching
    from tasks.remote.places import Storage

    meter = Meter(None)
    with Commands(settings, host) as session:
        try:
            copied = fetching.fetch(Storage(session, host), source, target, meter.hear)
        finally:
            meter.end()
    _tell(copied.path, copied.files, copied.size, meter, copied.unchanged)
    _tell_left_out(copied.left_out)


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


def _tell(path: str, files: int, size: int, meter: Meter, unchanged: int) -> None:
    seconds = time.monotonic() - meter.started
    if not files:
        console.say(f"{path}: nothing to copy, {_count(unchanged)} unchanged")
        return
    beside = f", {_count(unchanged)} unchanged" if unchanged else ""
    rate = f"{size / MEGABYTE:.1f} MB in {seconds:.1f} s"
    console.say(f"{path}: {_count(files)} copied and verified, {rate}{beside}")


def _count(files: int) -> str:
    return f"{files} file" if files == 1 else f"{files} files"


def _tell_left_out(names: tuple[str, ...]) -> None:
    for name in names:
        console.step(f"not copied, neither file nor folder: {console.visible(name)}")


def target_there(target: str, source: Path) -> str:
    """Return the path on the host: as given, else the source's name in the login's home."""
    return target or posixpath.join(".", source.resolve().name)
