"""Owns the benchmark's place: a lab with one host, and how each side of a comparison is typed there."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.peers import invoke
from tasks import running, settings

if TYPE_CHECKING:
    from tasks.lab.place import Lab

TAILNET = "bench"
HOST = "web1"
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
    """One of two things compared: what runs, where its output goes, and what is done before each run and not timed."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    before: Callable[[], None] = lambda: None
    folder: Path | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Comparison:
    """Ours beside theirs, and the bounds that ours must keep: `ratio` times theirs and `extra` seconds, and its memory.

    After each run of both the files in `same` must hold the same bytes. `once`: one run says enough.
    """

    name: str
    ours: Side
    theirs: Side
    ratio: float | None
    extra: float = 0.0
    most_memory: int | None = None
    same: tuple[Path, ...] = ()
    once: bool = False


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
        return Side((*invoke(), *words), self.environment, before, settings.ROOT)

    def ssh(self, command_line: str) -> Side:
        """Return what a person would type to run it on the host: OpenSSH with netcat through the proxy."""
        return Side(("ssh", *self._ssh_options(), HOST, command_line), self.environment)

    def scp(self, source: str, target: str) -> Side:
        """Return what a person would type to copy a file."""
        return Side(("scp", "-q", *self._ssh_options(), source, target), self.environment)

    def one_task(self) -> Side:
        """Return Invoke's own floor: the list of a file with one task."""
        folder = self.folder / "one-task"
        folder.mkdir()
        (folder / "tasks.py").write_text(ONE_TASK)
        return Side((*invoke(), "--list"), self.environment, folder=folder)

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

    def _ssh_options(self) -> tuple[str, ...]:
        state = self.tailnet.state_folder
        return (
            *("-F", "none", "-i", str(state / "lab" / "client_key"), "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={state / 'known_hosts'}", "-o", f"HostKeyAlias={HOST}.lab.test"),
            *("-o", f"ProxyCommand=nc -X 5 -x 127.0.0.1:{self.tailnet.proxy_port} %h %p"),
        )

    @property
    def _by_hand(self) -> Path:
        return self.folder / "by-hand"


@dataclass(frozen=True)
class Base:
    """A lab of the benchmark's own: what leads to it, and a folder for what is written meanwhile."""

    lab: "Lab"
    folder: Path
    environment: Mapping[str, str]
    tailnet: settings.Settings


@contextmanager
def lab_with(machines: tuple[str, ...]) -> Iterator[Base]:
    """Bring up a lab with these machines, and end it."""
    from tasks.lab import bring_up, installed, lab_of

    environment = {**settings.environment_for(TAILNET), "CI": "true"}
    lab = installed(lab_of(TAILNET))
    lab.stop()  # what is left of a run that was killed
    bring_up(lab, machines)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield Base(lab, Path(folder), environment, settings.load(environment, root=lab.state_folder))
    finally:
        lab.stop()


@contextmanager
def made() -> Iterator[Place]:
    """Bring up the place, and end it with whatever was done by hand."""
    with lab_with((HOST,)) as base:
        programs = base.lab.programs
        assert programs is not None
        place = Place(base.folder, base.environment, base.tailnet, programs.tailscale, programs.tailscaled)
        try:
            yield place
        finally:
            place.end_by_hand()
