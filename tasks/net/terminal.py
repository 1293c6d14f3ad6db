"""Owns one attempt to log in: pumps the pty of `tailscale up` through login.py. The only file that knows pexpect.

pexpect's own exceptions print the child's argv and the last text read, so none leaves this file.
"""

import math
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pexpect

from tasks import process
from tasks.console import visible
from tasks.errors import Unavailable
from tasks.interrupting import LONGEST_WAIT, put_off
from tasks.net.login import KEY_IS_GOOD, Event, State, following, is_end, recognise
from tasks.secret import REDACTOR, Secret, secret_file

WIDE = (24, 4096)  # rows and columns: nothing that we read for is wrapped
CHUNK = 65536
LONGEST_LINE = 16_384  # characters; a longer one is no message for us
LAST_WORDS = 5


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended, and the words that said so."""

    state: State
    text: str = ""


@dataclass(frozen=True)
class Watch:
    """What the outside wants to hear of an attempt, and may say to it.

    `on_url` gets the address that a person must open, and whether it is for signing in or for an admin's approval (the
    state of the attempt); `typed` is a descriptor that becomes readable when a person typed a line. Without `sign_in`
    the attempt ends where the server asks for a browser, and nobody hears of the address. `on_silence` is called once,
    when the server has not answered for `patience` seconds; `on_taken` as soon as it is read that the server took the
    key, before the program is ended, and perhaps again.
    """

    on_url: Callable[[State, str], None]
    typed: int | None = None
    sign_in: bool = True
    on_silence: Callable[[], None] = lambda: None
    patience: float = 3.0  # an answer takes 0.1
    on_taken: Callable[[], None] = lambda: None


def attempt(argv: Sequence[str], *, key: Secret | None, deadline: float, watch: Watch) -> Attempt:
    """Run `tailscale up` in a pty to the end of the attempt, within `deadline` seconds.

    The key reaches it by `--auth-key=file:` on a memory file of ours: never in argv, environment or on the disk.
    """
    with _key_file(key) as words, _child([*argv, *words]) as child:
        return _Reading(child, watch, time.monotonic() + deadline).to_the_end()


@contextmanager
def _key_file(key: Secret | None) -> Iterator[list[str]]:
    if key is None:
        yield []
        return
    with secret_file(key) as path:
        yield [f"--auth-key=file:{path}"]


@contextmanager
def _child(argv: Sequence[str]) -> Iterator["pexpect.spawn[str]"]:
    try:
        child = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            env=process.plain_environment(process.CHILD_LOCALE),
            dimensions=WIDE,
            maxread=CHUNK,
            encoding="utf-8",
            codec_errors="replace",
            echo=False,
        )
    except (pexpect.ExceptionPexpect, OSError):
        raise Unavailable(f"cannot start {argv[0]}", next_step="`inv programs.list` shows what is installed") from None
    # pexpect pauses 50 to 100 ms before and after each of these by default: a guess at slow terminals.
    child.delaybeforesend = None
    child.delayafterclose = child.delayafterterminate = 0.01
    pty = child.ptyproc  # type: ignore[attr-defined]  # missing in types-pexpect
    pty.delayafterclose = pty.delayafterterminate = 0.01
    try:
        yield child
    finally:
        with suppress(pexpect.ExceptionPexpect):
            child.close(force=True)


class _Reading:
    """Reads lines until the table says that the attempt has ended."""

    def __init__(self, child: "pexpect.spawn[str]", watch: Watch, end: float) -> None:
        self._child = child
        self._watch = watch
        self._end = end
        self._state = State.TRYING
        self._text = ""
        self._pending = ""
        self._printed: list[str] = []
        self._patience_ends = time.monotonic() + watch.patience

    def to_the_end(self) -> Attempt:
        """Return the attempt's end; the child is then ended or about to be closed."""
        while not is_end(self._state):
            left = self._end - time.monotonic()
            if left <= 0:
                self._happen(Event.DEADLINE, "")
                continue
            self._wait(min(left, self._patience()))
        words = self._text or " / ".join(self._printed[-LAST_WORDS:])
        return Attempt(self._state, visible(REDACTOR.clean(words)))

    def _patience(self) -> float:
        """Return the seconds until the silence is worth a word; after that word, for ever."""
        left = self._patience_ends - time.monotonic()
        if left > 0:
            return left
        self._patience_ends = math.inf
        if self._state is State.TRYING:
            self._watch.on_silence()
        return math.inf

    def _wait(self, seconds: float) -> None:
        """Wait so long, or less: for whatever is heard, and so that an interruption is."""
        watched = [self._child.child_fd]
        if self._watch.typed is not None and self._state is State.SIGNING_IN:
            watched.append(self._watch.typed)
        readable, _, _ = select.select(watched, [], [], min(seconds, LONGEST_WAIT))
        if self._child.child_fd in readable:
            self._read()
        elif readable:
            self._happen(Event.LINE_TYPED, "")

    def _read(self) -> None:
        try:
            self._pending += self._child.read_nonblocking(CHUNK, timeout=0)
        except pexpect.TIMEOUT:
            return
        except pexpect.EOF:
            self._take(self._pending)
            self._ended()
            return
        *lines, self._pending = self._pending.split("\n")
        self._pending = self._pending[-LONGEST_LINE:]
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        if is_end(self._state) or not line.strip():
            return
        self._printed = [*self._printed[-LAST_WORDS:], line.strip()[:LONGEST_LINE]]
        sign = recognise(line)
        if sign is None:
            return
        if sign.event is not Event.SIGN_IN_URL:
            self._happen(sign.event, sign.text)
        elif self._state is State.TRYING and not self._watch.sign_in:
            self._happen(Event.NOBODY_TO_SIGN_IN, "the control server asks for a new login")
        else:
            self._happen(sign.event, sign.text)
            self._watch.on_url(self._state, visible(sign.text))

    def _ended(self) -> None:
        if is_end(self._state):
            return
        with put_off():  # what it read last may be that the key is good
            self._child.wait()
            self._happen(Event.ENDED_WELL if self._child.exitstatus == 0 else Event.ENDED_BADLY, "")

    def _happen(self, event: Event, text: str) -> None:
        after = following(self._state, event)
        if after is not self._state:
            self._state, self._text = after, text
            if after in KEY_IS_GOOD:
                self._watch.on_taken()
