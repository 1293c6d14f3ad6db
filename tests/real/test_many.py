"""Many hosts on real programs: none is lost, none goes on after us, and two threads a host are all there are."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.measuring import measure
from tasks.lab.hosts import ALWAYS_TAILSCALE_SSH
from tasks.remote.following import MAY_RUN
from tests.conftest import INV, ROOT, Ended, Home, run_inv, variables
from tests.real.conftest import nap, napping
from tests.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
HOSTS = 24
FORKS = 8
TAILNET = "many"
UP = f"""
from tasks.lab import bring_up, installed, lab_of
lab = installed(lab_of({TAILNET!r}))
bring_up(lab, ("node1", "node2", {ALWAYS_TAILSCALE_SSH!r}))
lab.add_fleet(("node1", "node2"), {HOSTS})
"""
DOWN = f"from tasks.lab import lab_of; lab_of({TAILNET!r}).stop()"


@dataclass(frozen=True)
class Fleet:
    """Two nodes, many sshd behind them, a host with Tailscale SSH, and our own node."""

    environment: dict[str, str]

    def run(self, *words: str) -> Ended:
        """Run `remote.run` on all of them."""
        return run_inv("remote.run", "--hosts=fleet", *words, environment=self.environment, deadline=90)

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start it, to be interrupted."""
        return subprocess.Popen(
            [str(INV), "remote.run", "--hosts=fleet", f"--forks={FORKS}", *words],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="module")
def fleet(session_home: Home, real_programs: dict[str, str]) -> Iterator[Fleet]:
    """Bring it all up once."""
    environment = {**os.environ, **variables(session_home), **real_programs, "TAILNET": TAILNET, "CI": "1"}

    def python(code: str) -> None:
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True, timeout=120)

    python(UP)
    try:
        up = run_inv("net.up", environment=environment, deadline=90)
        assert up.exit_status == 0, up.stderr
        yield Fleet(environment)
    finally:
        python(DOWN)


def end_together(said: str, *words: str) -> bool:
    """Whether no host was done, and all came to one of these ends: on a busy machine some are heard of too late."""
    return re.search(rf"\b0 of {HOSTS} done(, \d+ ({'|'.join(words)}))+ in ", said) is not None


def test_no_host_is_lost(fleet: Fleet) -> None:
    """In three rounds, and the document says so."""
    for _ in range(3):
        ended = fleet.run("--json", "--command=echo $SSH_CONNECTION")
        document = json.loads(ended.stdout)

        assert (ended.exit_status, document["counts"]["done"]) == (0, HOSTS), ended.stderr
        assert len({host["stdout"] for host in document["hosts"]}) == HOSTS


def test_a_run_has_two_threads_a_host_at_any_moment(fleet: Fleet) -> None:
    """While it connects and hangs up too, not only while commands run."""
    argv = [str(INV), "remote.run", "--hosts=fleet", f"--forks={FORKS}", "--command=true"]
    took = measure(argv, environment={**os.environ, **fleet.environment}, deadline=90, folder=ROOT)

    assert took.exit_status == 0, took.complaint
    assert FORKS < took.threads <= 2 * FORKS + 4


def test_ctrl_c_ends_the_processes_on_the_hosts(fleet: Fleet) -> None:
    """Those that ignore SIGTERM too, and says what became of each host."""
    command = nap(1)
    child = fleet.start(f"--command=trap '' TERM; {command}")
    until(lambda: len(napping(command)) == FORKS, what="command on every fork", seconds=60)
    threads = len(list(Path(f"/proc/{child.pid}/task").iterdir()))
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)

    assert child.returncode == 130
    assert threads <= 2 * FORKS + 8
    assert end_together(said, "cancelled", "unknown"), said
    until(lambda: not napping(command), what="end of every remote process")


def test_a_timeout_ends_the_whole_process_group_on_the_host(fleet: Fleet) -> None:
    """The shell, and what it started."""
    command = nap(2)
    ended = fleet.run("--timeout=4s", f"--command={command} & {command}; echo never")

    assert ended.exit_status == 75
    assert "never" not in ended.stdout
    assert end_together(ended.stderr, "failed", "unknown"), ended.stderr
    until(lambda: not napping(command), what="end of every remote process")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_cancelled_job_and_a_closed_terminal_end_the_processes_on_the_hosts(
    fleet: Fleet, number: signal.Signals
) -> None:
    """As Ctrl-C does."""
    command = nap(3)
    child = fleet.start(f"--command={command}")
    until(lambda: len(napping(command)) == FORKS, what="command on every fork", seconds=60)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)

    assert child.returncode == 128 + number
    assert end_together(said, "cancelled", "unknown"), said
    until(lambda: not napping(command), what="end of every remote process")


@pytest.mark.parametrize(
    "line", ["{0}", "{0} & {0}; echo never", "trap '' TERM; {0} | {0}; {0}"], ids=["one", "a group", "a trap"]
)
def test_a_timeout_ends_everything_under_tailscale_ssh_too(fleet: Fleet, line: str) -> None:
    """Which passes no signal on, and has every command in its daemon's own process group."""
    command = nap(4)
    words = ("remote.run", f"--hosts={ALWAYS_TAILSCALE_SSH}", "--timeout=4s", f"--command={line.format(command)}")
    ended = run_inv(*words, environment=fleet.environment, deadline=60)

    assert (ended.exit_status, ended.stdout) == (75, "")
    assert re.search("1 (failed|unknown) in ", ended.stderr)
    until(lambda: not napping(command), what="end of every remote process")


def test_ctrl_c_ends_one_hosts_command_under_tailscale_ssh(fleet: Fleet) -> None:
    """And then there is nothing to be said about it, unless a busy machine took too long to tell of its end."""
    command = nap(5)
    argv = [str(INV), "remote.run", f"--host={ALWAYS_TAILSCALE_SSH}", "--", *command.split()]
    environment = {**os.environ, **fleet.environment}
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as child:
        until(lambda: napping(command), what="command", seconds=30)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)

    assert child.returncode == 130
    assert said in {"interrupted\n", f"interrupted: {ALWAYS_TAILSCALE_SSH}: {MAY_RUN}\n"}
    until(lambda: not napping(command), what="end of the remote process")


def test_what_failed_is_run_once_more(fleet: Fleet, home: Home) -> None:
    """By the list that the first run wrote; on an odd port the command fails, which is about half of them."""
    folder = home.folder / "out"
    first = fleet.run(f"--output-dir={folder}", "--command=port=${SSH_CONNECTION##* }; echo $port; exit $((port % 2))")
    ports = {path.stem: int(path.read_text()) for path in folder.glob("*.out")}
    odd = sorted(name for name, port in ports.items() if port % 2)
    again = run_inv(
        "remote.run", f"--hosts=@{folder}/failed.txt", "--command=true", environment=fleet.environment, deadline=60
    )

    assert (first.exit_status, len(ports), 0 < len(odd) < HOSTS) == (1, HOSTS, True)
    assert sorted((folder / "failed.txt").read_text().split()) == odd
    assert (again.exit_status, f"{len(odd)} of {len(odd)} done" in again.stderr) == (0, True), again.stderr
