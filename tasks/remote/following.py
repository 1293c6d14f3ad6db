"""Owns one command on one channel: its output as it comes, the watch over the link, how it ended.

One thread and no polling: paramiko's reading thread rings when there is something to do.
"""

import contextlib
import signal
import threading
import time
from dataclasses import dataclass, field

from tasks.errors import Refused
from tasks.remote import ending
from tasks.remote.ending import Ending
from tasks.remote.feeding import Feed, feeding
from tasks.remote.halting import Halt
from tasks.remote.output import Sink
from tasks.remote.transport import BROKEN, FAREWELL_SECONDS, Channel, Transport, lost, words

# A silent link is asked after 12 s, again after 24 s, and given up after 36 s.
SILENT_SECONDS = 12.0
UNANSWERED = 2
REPLY_SECONDS = 3.0
CHUNK = 4 * 1024 * 1024  # all that can be waiting is read at once: reading a part would move the rest in memory
# What obeys no SIGTERM is killed, by what `ending` runs there or by the server; both waits together stay well below the
# two seconds that Ctrl-C may take.
ENDINGS = ((ending.TERM, FAREWELL_SECONDS), (ending.KILL, FAREWELL_SECONDS + 0.5))
KILLED = 128 + signal.SIGKILL
MAY_RUN = "its command may still run there"


@dataclass(frozen=True)
class Ended:
    """How a remote command ended: its own status, or 128 + n and the signal's name when one killed it."""

    exit_status: int
    signal: str = ""


@dataclass(frozen=True)
class Follower:
    """Follows one command on one channel: output as it comes, a watch over the link, how it ended."""

    name: str
    transport: Transport
    channel: Channel
    silence: float = SILENT_SECONDS
    halt: Halt = field(default_factory=Halt)

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run the command with nothing on its stdin, or what `feed` writes; whatever ends us ends the command too."""
        how = ending.of(command, self.transport.remote_version)
        try:
            self.transport.request(self.channel, "exec", how.command, reply=True)
            # Our next packet carries the acknowledgement that sshd's Nagle algorithm waits for. Not without end, as
            # paramiko's own exec_command waits: on a dead link the watch below must get its turn.
            with self.halt.waking(self.channel.event.set):
                self.channel.event.wait(min(REPLY_SECONDS, self.silence))
            with feeding(self.channel, feed):
                self._follow(out, err)
            return self.ended()
        except BaseException as error:
            if not self._end_remotely(how):
                self._tell_that_it_may_run(error)
            raise
        finally:
            self.channel.close()

    def _end_remotely(self, how: Ending) -> bool:
        """End the command there, and return whether the host says that it has ended, with all that it started."""
        if self.channel.closed or not self.transport.is_active():
            return self.channel.status_event.is_set() and self.transport.is_active()
        begun = time.monotonic()
        helper = self._helper(how)
        told = threading.Event()
        if helper:
            helper.in_buffer.set_event(told)
        for name, seconds in ENDINGS:
            end = begun + seconds
            # sshd's own signal reaches the command's first group alone, and its status then comes before the helper has
            # done anything: it is only asked for once the helper has, or is late.
            if helper and how.by_session:
                told.wait(end - time.monotonic())
            self._signal(name)
            if self._has_status_by(end) and self._left_nothing(how, helper):
                return self.transport.is_active()
        return False

    def _helper(self, how: Ending) -> Channel | None:
        """Run what ends the command there; None where there is no such thing, or the host lets it not run."""
        with contextlib.suppress(*BROKEN):
            if line := how.line():
                helper = self.transport.open_session(timeout=FAREWELL_SECONDS)
                self.transport.request(helper, "exec", line, reply=True)
                return helper
        return None

    def _left_nothing(self, how: Ending, helper: Channel | None) -> bool:
        """Whether the end of a command was the end of all that it started, as far as the host can say that."""
        killed = self.channel.exit_status == KILLED or self.transport.signals.get(self.channel.chanid) == ending.KILL
        if how.by_sudo and killed:
            return False
        return not how.by_session or (helper is not None and helper.recv_ready())

    def _signal(self, name: str) -> None:
        with contextlib.suppress(*BROKEN):
            self.transport.request(self.channel, "signal", name, reply=False)

    def _has_status_by(self, end: float) -> bool:
        """Throw away what it still writes, behind which its status would not come: a full window lets nothing by."""
        bell = self._listened_to()
        while not self.channel.status_event.is_set() and (seconds := end - time.monotonic()) > 0:
            bell.listen(seconds)
            self._drain(_throw_away, _throw_away)
        return self.channel.status_event.is_set()

    def _tell_that_it_may_run(self, error: BaseException) -> None:
        failure = self.halt.failure
        if failure:
            raise type(failure)(failure.what, why=MAY_RUN, cause="unknown") from None
        if isinstance(error, KeyboardInterrupt):
            error.args = (f"{self.name}: {MAY_RUN}",)

    def _follow(self, out: Sink, err: Sink) -> None:
        bell = self._listened_to()
        with self.halt.waking(bell.set):
            self._listen(bell, out, err)
        self._drain(out, err)

    def _listened_to(self) -> "_Bell":
        bell = _Bell()
        self.channel.in_buffer.set_event(bell)
        self.channel.in_stderr_buffer.set_event(bell)
        return bell

    def _listen(self, bell: "_Bell", out: Sink, err: Sink) -> None:
        watch = Watch(self)
        while not (self.channel.closed or (self.channel.eof_received and self.channel.exit_status_ready())):
            watch.look(heard=bell.listen(self.silence))
            self.halt.check()
            self._drain(out, err)

    def _drain(self, out: Sink, err: Sink) -> None:
        """Hand on what is waiting, and no more: of a command that writes without end nobody would get a turn."""
        if self.channel.recv_ready():
            out(self.channel.recv(CHUNK))
        if self.channel.recv_stderr_ready():
            err(self.channel.recv_stderr(CHUNK))

    def ended(self) -> Ended:
        """Return how the command ended, once its output has; a connection that broke instead is Unavailable."""
        self.channel.status_event.wait(FAREWELL_SECONDS)
        name = self.transport.signals.get(self.channel.chanid, "")
        if name:
            return Ended(128 + getattr(signal, f"SIG{name}", 0), name)
        if self.channel.exit_status >= 0:
            return Ended(self.channel.exit_status)
        if not self.transport.is_active():
            raise lost(self.name, words(self.transport.get_exception()))
        if not self.channel.event_ready:
            raise Refused(f"{self.name} refuses to run commands")
        raise lost(self.name, "the server ended the command without a status")


class Watch:
    """Sees a dead link under a command: one that is silent, and of which repeated questions get no answer."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._unanswered = 0

    def look(self, *, heard: bool) -> None:
        """Note whether something was heard within the follower's `silence`; Unavailable when the link is dead."""
        transport, silence = self._follower.transport, self._follower.silence
        if heard or transport.answered.is_set():
            self._unanswered = 0
        if heard:
            return
        if self._unanswered >= UNANSWERED:
            raise lost(self._follower.name, f"it has been silent for {silence * (self._unanswered + 1):.0f} s")
        self._unanswered += 1
        transport.ask_for_life()


def _throw_away(_: bytes) -> None:
    """Take output that nobody wants."""


class _Bell(threading.Event):
    """Rings when one of a command's two pipes has something to read."""

    rang = False

    def clear(self) -> None:
        """Stay as it is: a pipe that is empty clears its event, and the other pipe may not be."""

    def listen(self, seconds: float) -> bool:
        """Wait for a ring, and be ready for the next."""
        self.rang = self.wait(seconds)
        super().clear()
        return self.rang
