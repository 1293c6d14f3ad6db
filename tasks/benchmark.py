"""Owns the benchmark: the suite beside what people would type by hand, interleaved in one run; ratios count."""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tasks import console, process, running, settings
from tasks.errors import Failure, Unavailable
from tasks.secret import Secret

TAILNET = "bench"
HOST = "web1"
DEADLINE = 300.0  # seconds for one run of anything measured here
OUTPUT = f"head -c {100_000_000} /dev/zero"
ONE_TASK = "from invoke.tasks import task\n\n\n@task\ndef hello(context):\n    '''Say hello.'''\n"
# The bare steps of a cold start: spawn, poll, `tailscale up`.
SHELL_STEPS = """\
mkdir -m 700 {state}
{tailscaled} --tun=userspace-networking --statedir={state} --socket={state}/sock --port=0 --no-logs-no-support \
    --socks5-server=127.0.0.1:{port} >{state}/log 2>&1 </dev/null &
until {tailscale} --socket={state}/sock status --json >/dev/null 2>&1; do sleep 0.02; done
exec {tailscale} --socket={state}/sock up --login-server={server} --hostname=by-hand --auth-key=file:{key}
"""


@dataclass(frozen=True)
class Side:
    """One of two things compared: what runs, and what must be done before each run and is not timed."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    before: Callable[[], None] = lambda: None
    folder: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """Ours beside theirs, and the bound that ours must keep: `ratio` times theirs, and `extra` seconds."""

    name: str
    ours: Side
    theirs: Side
    ratio: float
    extra: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """What was measured: medians in seconds, the largest resident size of ours in bytes, whether it is in bounds."""

    name: str
    ours: float
    theirs: float
    bound: str
    kept: bool
    memory: int


def run(runs: int) -> list[Outcome]:
    """Make every comparison on a lab of its own, with `runs` counted runs of each side."""
    with _place() as place:
        outcomes = [_compare(each, runs) for each in _comparisons(place)]
        return [*outcomes, _refusal(place, runs)]


def as_table(outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes for people."""
    return console.table([("what", "ours", "by hand", "ratio", "bound", "memory", "kept"), *map(_row, outcomes)])


@dataclass(frozen=True)
class Place:
    """Where both sides run: a lab's tailnet, the environment of every run, and a folder for what is done by hand."""

    folder: Path
    environment: Mapping[str, str]
    tailnet: settings.Settings
    tailscale: Path
    tailscaled: Path

    def inv(self, *words: str, before: Callable[[], None] = lambda: None) -> Side:
        """Return a run of our own command."""
        return Side((*_invoke(), *words), self.environment, before, settings.ROOT)

    def ssh(self, command_line: str) -> Side:
        """Return what a person would type to run it on the host: OpenSSH with netcat through the proxy."""
        state = self.tailnet.state_folder
        argv = (
            *("ssh", "-F", "none", "-i", str(state / "lab" / "client_key"), "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={state / 'known_hosts'}", "-o", f"HostKeyAlias={HOST}.lab.test"),
            *("-o", f"ProxyCommand=nc -X 5 -x 127.0.0.1:{self.tailnet.proxy_port} %h %p", HOST, command_line),
        )
        return Side(argv, self.environment)

    def one_task(self) -> Side:
        """Return Invoke's own floor: the list of a file with one task."""
        folder = self.folder / "one-task"
        folder.mkdir()
        (folder / "tasks.py").write_text(ONE_TASK)
        return Side((*_invoke(), "--list"), self.environment, folder=folder)

    def shell_steps(self, key: Path) -> Side:
        """Return a cold start by hand, with the key in a file."""
        script = self.folder / "up.sh"
        text = SHELL_STEPS.format(
            state=self._by_hand,
            tailscaled=self.tailscaled,
            tailscale=self.tailscale,
            port=self.tailnet.proxy_port + 1,
            server=self.tailnet.login_server,
            key=key,
        )
        script.write_text(text)
        knobs = dict(self.tailnet.daemon_knobs)
        return Side(("sh", str(script)), {**self.environment, **knobs}, self.end_by_hand)

    def end_by_hand(self) -> None:
        """End what the shell steps started, so that the next run is cold again."""
        for identity in running.own_processes():
            if f"--socket={self._by_hand}/sock" in identity.argv:
                running.stop(identity, grace=5.0)
        shutil.rmtree(self._by_hand, ignore_errors=True)

    @property
    def _by_hand(self) -> Path:
        return self.folder / "by-hand"


@contextmanager
def _place() -> Iterator[Place]:
    from tasks.lab import bring_up, installed, lab_of

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TS_", "VAULT"))}
    environment = {**kept, "TAILNET": TAILNET, "CI": "true"}
    lab = installed(lab_of(TAILNET))
    bring_up(lab, (HOST,))
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            tailnet = settings.load(environment, root=lab.state_folder)
            programs = lab.programs
            assert programs is not None
            place = Place(Path(folder), environment, tailnet, programs.tailscale, programs.tailscaled)
            try:
                yield place
            finally:
                place.end_by_hand()
    finally:
        lab.stop()


def _comparisons(place: Place) -> list[Comparison]:
    """Return what is compared, in the order of a person's day: list, up, status, run."""
    from tasks.lab import installed, lab_of

    key = place.folder / "key"
    key.write_text(installed(lab_of(TAILNET)).make_key("good").reveal())
    key.chmod(0o600)
    listed = place.inv("--list")
    logged_out = _logged_out(place)
    on_host = f"--host={HOST}"
    return [
        Comparison("inv --list; a one-task file", listed, place.one_task(), 1.25),
        Comparison(
            "net.up, cold; shell steps", place.inv("net.up", before=logged_out), place.shell_steps(key), 1.0, 0.35
        ),
        Comparison("net.up when up; inv --list", place.inv("net.up"), listed, 1.7),
        Comparison("net.status; inv --list", place.inv("net.status"), listed, 1.7),
        Comparison(
            "run on a host; ssh and nc", place.inv("remote.run", on_host, "--command=true"), place.ssh("true"), 1.6
        ),
        Comparison(
            "100 MB of output; ssh and nc",
            place.inv("remote.run", on_host, f"--command={OUTPUT}"),
            place.ssh(OUTPUT),
            1.5,
        ),
    ]


def _logged_out(place: Place) -> Callable[[], None]:
    """Return the step before a cold start: the daemon ended, the node's key gone, the vault as it is."""

    def leave() -> None:
        is_up = process.run(*_invoke(), "net.status", deadline=DEADLINE, environment=place.environment).exit_status == 0
        if is_up:
            _run(place.inv("net.down", "--logout"))

    return leave


def _refusal(place: Place, runs: int) -> Outcome:
    """Measure from a refused key's Enter to the next prompt, in our own process."""
    from tasks.connecting import bring_up

    console.step("measuring: refused key to next prompt")
    asked: list[float] = []

    def ask(_prompt: str) -> Secret:
        asked.append(time.perf_counter())
        if len(asked) > runs:
            raise EOFError
        return Secret(f"hskey-auth-wrong-{len(asked)}")

    _logged_out(place)()
    with suppress(Failure):
        bring_up(settings.load({**place.environment, "TS_AUTHKEY": "hskey-auth-wrong"}), ask)
    gaps = [after - before for before, after in pairwise(asked)]
    median = statistics.median(gaps)
    return Outcome("refused key to next prompt", median, median, "≤ 0.3 s", median <= 0.3, 0)


def _compare(comparison: Comparison, runs: int) -> Outcome:
    """Run both sides in turn, so that the machine's moods meet both alike; the first round only warms up."""
    console.step(f"measuring: {comparison.name}")
    ours, theirs = [], []
    for _ in range(runs + 1):
        ours.append(_run(comparison.ours))
        theirs.append(_run(comparison.theirs))
    our_time = statistics.median(each.seconds for each in ours[1:])
    their_time = statistics.median(each.seconds for each in theirs[1:])
    bound = f"≤ {comparison.ratio:g} x" + (f" + {comparison.extra:g} s" if comparison.extra else "")
    kept = our_time <= comparison.ratio * their_time + comparison.extra
    return Outcome(comparison.name, our_time, their_time, bound, kept, max(each.memory for each in ours))


def _run(side: Side) -> process.Measured:
    side.before()
    measured = process.measure(side.argv, environment=side.environment, deadline=DEADLINE, folder=side.folder)
    if measured.exit_status != 0:
        raise Unavailable(f"{' '.join(side.argv[-2:])!r} failed in the benchmark", why=measured.complaint)
    return measured


def _row(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.name,
        f"{outcome.ours:.3f} s",
        f"{outcome.theirs:.3f} s",
        f"{outcome.ours / outcome.theirs:.2f}",
        outcome.bound,
        f"{outcome.memory / 1e6:.0f} MB",
        "yes" if outcome.kept else "NO",
    )


def _invoke() -> tuple[str, ...]:
    return (sys.executable, str(Path(sys.executable).with_name("inv")))
