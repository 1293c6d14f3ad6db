"""Owns running processes: who they are, their family, their end. A pid alone is never believed: it may be reused."""

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import TimedOut


@dataclass(frozen=True)
class Identity:
    """A process that cannot be taken for another: pid plus start time (clock ticks since boot)."""

    pid: int
    parent: int
    start_time: int
    uid: int
    program: str
    argv: tuple[str, ...]


def identify(pid: int) -> Identity | None:
    """Return who the process is, or None when it is gone, a zombie, or hidden from us (a /proc with hidepid)."""
    try:
        # Field 2 is the name in brackets and may hold any bytes; count the fields after its last bracket.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode().split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        uid = Path(f"/proc/{pid}").stat().st_uid
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # A leader that has ended while other threads are ending is Z too, and the process still holds its ports.
    if fields[0] in "ZX" and int(fields[17]) <= 1:
        return None
    argv = tuple(word.decode(errors="replace") for word in words)
    return Identity(pid, int(fields[1]), int(fields[19]), uid, _program(pid, argv), argv)


def _program(pid: int, argv: Sequence[str]) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return Path(argv[0]).name if argv else "unknown"


def own_processes() -> Iterator[Identity]:
    """Yield every living process of this user that /proc shows."""
    uid = os.geteuid()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            identity = identify(int(entry.name))
            if identity is not None and identity.uid == uid:
                yield identity


def environment_of(identity: Identity) -> tuple[str, ...]:
    """Return the NAME=value words that the process was started with; none where we may not see them."""
    try:
        words = Path(f"/proc/{identity.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in words if word)


def descendants(roots: Sequence[Identity]) -> list[Identity]:
    """Return the roots and every process of ours below them, parents first."""
    everybody = list(own_processes())
    family = list(roots)
    known = {root.pid for root in roots}
    for member in family:
        children = [each for each in everybody if each.parent == member.pid and each.pid not in known]
        family += children
        known.update(child.pid for child in children)
    return family


def stop(identity: Identity, *, grace: float) -> None:
    """End the process: SIGTERM, `grace` seconds, SIGKILL; return when it is gone. Never signals another process."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal(identity, number) or _wait_gone(identity, grace):
            return
    raise TimedOut(f"{identity.program} (pid {identity.pid}) does not end, though it was killed")


def _signal(identity: Identity, number: signal.Signals) -> bool:
    """Signal by pidfd after the start time was compared, so that a reused pid is never hit."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not _is_same(identity):
            return False
        signal.pidfd_send_signal(descriptor, number)
        if number == signal.SIGTERM:
            # A stopped process (SIGSTOP) acts on SIGTERM only when it goes on.
            signal.pidfd_send_signal(descriptor, signal.SIGCONT)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def _wait_gone(identity: Identity, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while _is_same(identity):
        if time.monotonic() > end:
            return False
        wait_exit(identity.pid, min(0.05, seconds))
    return True


def wait_exit(pid: int, seconds: float) -> bool:
    """Wait for the process to end; return whether it did within the time."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _is_same(identity: Identity) -> bool:
    now = identify(identity.pid)
    return now is not None and now.start_time == identity.start_time
