"""Owns a container engine for the tests: one that answers already, else a private dockerd without any network."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.waiting import until

# No bridge and no firewall rule: containers have loopback alone, and nothing of this machine's network is touched.
DOCKERD = ("dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false")
START_DEADLINE = 60.0
STOP_DEADLINE = 60.0


@dataclass(frozen=True)
class Engine:
    """A container engine: the environment with which its clients find it."""

    environment: Mapping[str, str]

    def docker(self, *words: str, stdin: int = subprocess.DEVNULL, deadline: float = 300.0) -> str:
        """Run `docker WORDS…` and return its stdout; a failure fails the test with both outputs."""
        return run("docker", *words, environment=self.environment, stdin=stdin, deadline=deadline)


def run(*argv: str, environment: Mapping[str, str], stdin: int = subprocess.DEVNULL, deadline: float = 300.0) -> str:
    """Run a program and return its stdout; a failure fails the test with both outputs."""
    ended = subprocess.run(
        argv, env=dict(environment), stdin=stdin, capture_output=True, text=True, timeout=deadline, check=False
    )
    if ended.returncode != 0:
        pytest.fail(f"{' '.join(argv)} ended with {ended.returncode}\n{ended.stdout}\n{ended.stderr}")
    return ended.stdout


@contextmanager
def engine_in(folder: Path) -> Iterator[Engine]:
    """Give an engine, its files in the folder; skips with one line where none can be had."""
    environment = {**os.environ, "DOCKER_CONFIG": str(folder / "config")}
    if shutil.which("docker") is None:
        pytest.skip("no container engine: `apt install docker.io debootstrap` brings one")
    if subprocess.run(["docker", "info"], env=environment, capture_output=True, check=False).returncode == 0:
        yield Engine(environment)
        return
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("no container engine answers, and starting one needs root and dockerd (`apt install docker.io`)")
    with _private_dockerd(folder) as address:
        yield Engine({**environment, "DOCKER_HOST": address})


@contextmanager
def _private_dockerd(folder: Path) -> Iterator[str]:
    address = f"unix://{folder}/docker.sock"
    places = (
        f"--data-root={folder}/data",
        f"--exec-root={folder}/exec",
        f"--pidfile={folder}/pid",
        f"--host={address}",
    )
    with (
        (folder / "dockerd.log").open("wb") as log,
        subprocess.Popen([*DOCKERD, *places], stdout=log, stderr=log) as daemon,
    ):
        try:
            until(lambda: _answers(daemon, address), what="docker", seconds=START_DEADLINE)
            yield address
        finally:
            daemon.terminate()
            daemon.wait(STOP_DEADLINE)


def _answers(daemon: "subprocess.Popen[bytes]", address: str) -> bool:
    if daemon.poll() is not None:
        pytest.skip(f"dockerd does not run here (it ended with {daemon.returncode})")
    return subprocess.run(["docker", "--host", address, "info"], capture_output=True, check=False).returncode == 0
