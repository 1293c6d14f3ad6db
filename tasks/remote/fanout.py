"""Owns many hosts at once: bounded threads, deadlines, events in, results out. Knows no SSH.

The work for one host is a callable that returns when it is done and raises a Failure when it is not. One thread for a
host in turn, no thread for a clock: the caller's own thread waits for the next event or deadline, and for nothing else.
"""

import heapq
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from tasks import options
from tasks.errors import Failure, Fleeting, RemoteExit, TimedOut, Unavailable
from tasks.remote import room
from tasks.remote.halting import Halt
from tasks.remote.mailbox import Mailbox

GRACE = 3.0  # seconds that a host's work may take to end after it was asked to
INTERRUPTED_GRACE = 1.5  # the same after Ctrl-C, when a person waits
TIDYING = 0.25  # seconds for those that were given up, in the end: together these stay below two seconds
FLEETING_TRIES = 5  # of a host that fails in a way that is said to pass
PAUSE = 0.2  # seconds before the first further try; doubles, and is spread so that hosts do not try in step
LONGEST_PAUSE = 5.0
THREAD = "fan-out"
CANCELLED = "cancelled"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Limits:
    """How many hosts at once, and how long and how often each is tried.

    `timeout` is in seconds from a host's start, connecting included; `retries` are for what failed before its command
    started; `fail_fast` starts no further host after a failure.
    """

    forks: int = 32
    timeout: float | None = None
    retries: int = 0
    fail_fast: bool = False

    @property
    def connecting(self) -> int:
        """How many of them may be connecting: fewer, because the proxy gives a dial only five seconds."""
        return max(1, self.forks * 3 // 4)


def limits(forks: str, timeout: str, retries: str, *, fail_fast: bool) -> Limits:
    """Return the limits that the texts of the options mean; an empty one means the usual."""
    return Limits(
        forks=options.count("forks", forks) if forks else Limits.forks,
        timeout=options.duration("timeout", timeout) if timeout else None,
        retries=options.count("retries", retries) if retries not in {"", "0"} else 0,
        fail_fast=fail_fast,
    )


@dataclass(frozen=True)
class Started:
    """A host has its turn."""

    name: str


@dataclass(frozen=True)
class Outcome:
    """How a host's turn ended: well when `failure` is None. `seconds` is from its first try to its end."""

    name: str
    failure: Failure | None
    seconds: float
    tries: int


@dataclass(frozen=True)
class Results:
    """What became of every host, in the order they were given; `interrupted` by the signal of that number, or 0."""

    outcomes: tuple[Outcome, ...]
    interrupted: int


class Turn:
    """One host's turn, as its work sees it: its name, the word to end, and what the work must tell."""

    def __init__(self, name: str, gate: threading.Semaphore) -> None:
        self.name = name
        self.halt = Halt()
        self.started = False
        self.tries = 1
        self.began = time.monotonic()
        self._gate = gate

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Within, at most so many hosts are as the limits allow."""
        with self._gate:
            self.halt.check()
            yield

    def start(self) -> None:
        """Tell that the command starts now: from here on nothing is ever tried again."""
        self.halt.check()
        self.started = True


Work = Callable[[Turn], None]
Event = Started | Outcome
Tell = Callable[[Event | None], None]


def run(names: Sequence[str], work: Work, limits: Limits, tell: Tell, *, tick: float | None = None) -> Results:
    """Do the work for every host and return what became of each.

    `tell` hears each event in the caller's thread; None after `tick` seconds without one. The first Ctrl-C (SIGTERM and
    SIGHUP are like it) ends everything within two seconds; the second raises KeyboardInterrupt. BrokenPipeError when
    nobody reads our output.
    """
    with room.most_descriptors():
        return _FanOut(names, work, limits, tell, tick).run()


@dataclass
class _FanOut:
    names: Sequence[str]
    work: Work
    limits: Limits
    tell: Tell
    tick: float | None
    events: "Mailbox[Turn | Outcome | BrokenPipeError | int]" = field(default_factory=Mailbox)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    running: dict[str, Turn] = field(default_factory=dict)
    deadlines: list[tuple[float, str, bool]] = field(default_factory=list)  # a heap; the last: was it asked to end?
    end: float | None = None
    closed: bool = False
    interrupted: int = 0
    reader_gone: BrokenPipeError | None = None

    def run(self) -> Results:
        self.waiting = deque(self.names)
        self.gate = threading.Semaphore(self.limits.connecting)
        with closing(self.events), self.events.interrupts(self.events.put):
            threads = room.start_threads(self._work_through, min(self.limits.forks, len(self.names)), THREAD)
            while len(self.outcomes) < len(self.names):
                self._next()
            _let_finish(threads)
        if self.reader_gone:
            raise self.reader_gone
        return Results(tuple(self.outcomes[name] for name in self.names), self.interrupted)

    def _next(self) -> None:
        """Wait for one event or deadline, and act on it."""
        try:
            self._act_on(self.events.get(self._until_next()))
        except TimeoutError:
            self.tell(None)
        self._pass_deadlines()

    def _act_on(self, event: "Turn | Outcome | BrokenPipeError | int") -> None:
        match event:
            case Turn():
                self._note_start(event)
            case Outcome():
                self._note(event)
            case int():
                self._stop_everything(event)
            case BrokenPipeError():
                self.reader_gone = event
                self._stop_everything(signal.SIGPIPE)

    def _until_next(self) -> float | None:
        ends = [self.deadlines[0][0]] if self.deadlines else []
        ends += [] if self.end is None else [self.end]
        now = time.monotonic()
        waits = [max(0.0, end - now) for end in ends] + ([] if self.tick is None else [self.tick])
        return min(waits, default=None)

    def _note_start(self, turn: Turn) -> None:
        self.running[turn.name] = turn
        if self.limits.timeout is not None:
            heapq.heappush(self.deadlines, (turn.began + self.limits.timeout, turn.name, False))
        if self.interrupted:
            turn.halt.ask(_cancelled(turn.name))
        self.tell(Started(turn.name))

    def _note(self, outcome: Outcome) -> None:
        self._record(outcome)
        if outcome.failure and self.limits.fail_fast:
            self._start_no_more("another host failed before its turn")

    def _record(self, outcome: Outcome) -> None:
        if outcome.name not in self.outcomes:  # else it was given up, and ended after all
            self.running.pop(outcome.name, None)
            self.outcomes[outcome.name] = outcome
            self.tell(outcome)

    def _pass_deadlines(self) -> None:
        now = time.monotonic()
        while self.deadlines and self.deadlines[0][0] <= now:
            _, name, asked = heapq.heappop(self.deadlines)
            turn = self.running.get(name)
            if turn and asked:
                self._give_up(turn)
            elif turn:
                turn.halt.ask(TimedOut(f"{name} was not done within {self.limits.timeout:g} s"))
                heapq.heappush(self.deadlines, (now + GRACE, name, True))
        if self.end is not None and self.end <= now:
            for turn in list(self.running.values()):
                self._give_up(turn)

    def _stop_everything(self, number: int) -> None:
        self.interrupted = number
        self.end = time.monotonic() + INTERRUPTED_GRACE
        self._start_no_more("interrupted before its turn")
        for turn in list(self.running.values()):
            turn.halt.ask(_cancelled(turn.name))

    def _start_no_more(self, why: str) -> None:
        while True:
            try:
                name = self.waiting.popleft()
            except IndexError:
                return
            self._record(Outcome(name, Unavailable(f"{name} was not tried", why=why, cause=CANCELLED), 0.0, 0))

    def _give_up(self, turn: Turn) -> None:
        """Take the host's end as it looks from here; its thread ends by itself, later."""
        failure = turn.halt.failure or _cancelled(turn.name)
        if turn.started:
            failure = type(failure)(failure.what, why="its command may still run there", cause=UNKNOWN)
        self._note(Outcome(turn.name, failure, time.monotonic() - turn.began, turn.tries))

    def _work_through(self) -> None:
        """Take one host after the other, in a thread of its own, until none is left."""
        while not self.closed:
            try:
                name = self.waiting.popleft()
            except IndexError:
                return
            turn = Turn(name, self.gate)
            self.events.put(turn)
            outcome = self._turn(turn)
            if outcome.failure and self.limits.fail_fast:
                self.closed = True  # here, so that no thread takes another host before the failure is heard of
            self.events.put(outcome)

    def _turn(self, turn: Turn) -> Outcome:
        while True:
            try:
                failure = _attempt(self.work, turn)
            except BrokenPipeError as error:
                # Nobody reads our output any more: no host's failure, but the end of all.
                self.events.put(error)
                failure = _cancelled(turn.name)
            if turn.halt.failure or not self._may_retry(turn, failure):
                return Outcome(turn.name, failure, time.monotonic() - turn.began, turn.tries)
            pause = min(LONGEST_PAUSE, PAUSE * 2**turn.tries)
            turn.halt.sleep(random.uniform(pause / 2, pause))
            turn.tries += 1

    def _may_retry(self, turn: Turn, failure: Failure | None) -> bool:
        if turn.started or not isinstance(failure, Unavailable | TimedOut):
            return False
        return turn.tries <= self.limits.retries or (isinstance(failure, Fleeting) and turn.tries < FLEETING_TRIES)


def _attempt(work: Work, turn: Turn) -> Failure | None:
    try:
        turn.halt.check()
        work(turn)
    except RemoteExit as ended:
        return ended
    except Failure as failure:
        # What broke because we broke it is told as the reason why.
        return turn.halt.failure if turn.halt.failure and failure.cause != UNKNOWN else failure
    except BrokenPipeError:
        raise
    except BaseException as error:  # noqa: BLE001 - the end of a thread: a bug must not look like a host that hangs
        return room.lack(error) or Failure(f"a bug in the Platform Manager: {type(error).__name__}: {error}")
    return None


def _let_finish(threads: Sequence[threading.Thread]) -> None:
    """Let those that were given up put away what they were writing: our end would be theirs."""
    end = time.monotonic() + TIDYING
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _cancelled(name: str) -> Failure:
    return Unavailable(f"{name} was interrupted", cause=CANCELLED)
