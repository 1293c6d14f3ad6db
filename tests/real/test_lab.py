"""The lab on real programs: it comes up once, gives every kind of key, disturbs nobody and leaves nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks import running
from tasks.loopback import free_port
from tests.conftest import ROOT, Home, Inv, make_home, run_inv, variables
from tests.real.conftest import HOST, Lab, Node
from tests.waiting import until

pytestmark = pytest.mark.real
LOOPBACK, ANY = "0100007F", "00000000"  # as /proc/net/tcp prints them
NOBODY = 65534
UNPRIVILEGED = ("--no-new-privs", "--bounding-set=-all", "--clear-groups")


def test_a_second_up_finds_it_and_other_hosts_are_refused(lab: Lab) -> None:
    again = run_inv("lab.up", f"--hosts={HOST}", environment=lab.environment)
    other = run_inv("lab.up", "--hosts=web1,web7", environment=lab.environment)

    assert (again.exit_status, again.stdout.startswith("lab is up: web1; next: ")) == (0, True)
    assert other.exit_status == 78
    assert other.stderr == (
        "error: the lab is up, but without web7\n  next: `inv lab.down lab.up --hosts=web1,web7` makes it anew\n"
    )


def test_status_as_text_and_data(lab: Lab) -> None:
    shown = run_inv("lab.status", environment=lab.environment)
    document = json.loads(run_inv("lab.status", "--json", environment=lab.environment).stdout)

    assert (document["up"], document["hosts"]) == (True, [HOST])
    assert document["processes"] >= 3
    assert shown.stdout == f"lab is up: {HOST} ({document['processes']} processes, in {document['folder']})\n"


def test_without_a_word_the_lab_is_the_tailnet(lab: Lab) -> None:
    """While it is up, nothing else is set and `default` never had a node; the first line says so."""
    ended = run_inv("net.status", environment=lab.environment)

    assert ended.exit_status == 69
    assert ended.stderr == (
        "tailnet: lab (it is up, and no other is set; TAILNET=default would be yours)\n"
        "error: the network 'lab' is down\n  next: `inv net.up`\n"
    )


def test_what_it_listens_on(lab: Lab) -> None:
    """Loopback. Only tailscaled has one port on all interfaces, its peer API, and hangs up on whoever is no peer."""
    ours = [each for each in running.own_processes() if str(lab.state_folder) in " ".join(each.argv)]
    addresses = {each.program: set(listening(each.pid)) for each in ours}
    peer_ports = [port for host, port in addresses["tailscaled"] if host == ANY]

    assert set(addresses) >= {"headscale", "tailscaled"}
    assert {host for found in addresses.values() for host, _ in found} <= {LOOPBACK, ANY}
    assert [name for name, found in addresses.items() if ANY in dict(found)] in ([], ["tailscaled"])
    assert [port for port in peer_ports if not hangs_up(port)] == []


def hangs_up(port: int) -> bool:
    """Whether the server there ends the connection without a word."""
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):  # it may be so quick that connecting hears of it
        return True


def listening(pid: int) -> Iterator[tuple[str, int]]:
    """Yield the addresses (IPv4, hexadecimal) and ports at which the process listens."""
    mine = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(descriptor))  # noqa: PTH115 - "socket:[1]" is no path
        except OSError:
            continue
    for fields in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]):
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in mine:
            host, _, port = fields[1].partition(":")
            yield host, int(port, 16)


def test_another_labs_end_disturbs_nobody(lab: Lab, node: Node, inv: Inv, real_programs: dict[str, str]) -> None:
    """A lab of this test's own home comes and goes; the session's host still lets us in.

    Nor does its key take the place of one in a vault that somebody chose for their own.
    """
    node.inv("net.up", key=lab.key())
    variables = {**real_programs, "VAULT": "environment"}
    own = inv("lab.up", "--hosts=web1", "lab.down", environment=variables, deadline=90)
    waited = node.inv("net.wait", f"--host={HOST}")

    assert own.exit_status == 0, own.stderr
    assert "VAULT is set, and goes before the lab's own vault: `unset VAULT`" in own.stderr
    assert waited.exit_status == 0, waited.stderr
    assert running_sshd(lab) != []


def running_sshd(lab: Lab) -> list[int]:
    """Return the pids of the lab's sshd."""
    everybody = running.own_processes()
    return [each.pid for each in everybody if each.program == "sshd" and str(lab.state_folder) in " ".join(each.argv)]


def test_a_lab_whose_parts_were_killed_is_taken_down_and_comes_up_again(
    inv: Inv, home: Home, real_programs: dict[str, str]
) -> None:
    """Whatever is left of it."""
    assert inv("lab.up", "--hosts=web1,db1", environment=real_programs, deadline=90).exit_status == 0
    ours = [each for each in running.own_processes() if str(home.folder) in " ".join(each.argv)]
    assert len(ours) >= 4
    for identity in ours[::2]:
        os.kill(identity.pid, signal.SIGKILL)
    down = inv("lab.down", "lab.up", "--hosts=web1", "lab.down", environment=real_programs, deadline=120)

    assert down.exit_status == 0, down.stderr
    assert [line for line in down.stdout.splitlines() if "is down" in line] == ["lab is down", "lab is down"]
    assert list((home.state / "platform-manager").iterdir()) == []


@dataclass(frozen=True)
class Ordinary:
    """An ordinary user with a home, a copy of the checkout and of the programs."""

    home: Home
    checkout: Path
    environment: Mapping[str, str]

    def inv(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `inv` as that user, without any capability or way to get one."""
        return subprocess.run(
            [
                "setpriv",
                f"--reuid={NOBODY}",
                f"--regid={NOBODY}",
                *UNPRIVILEGED,
                sys.executable,
                "-m",
                "invoke",
                *words,
            ],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )


@pytest.fixture
def ordinary(real_programs: dict[str, str]) -> Iterator[Ordinary]:
    """Give an ordinary user all that they need, or skip with the reason."""
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already: every other test shows the same")
    folder = Path(tempfile.mkdtemp(prefix="pm-", dir="/tmp"))
    try:
        own = make_home(folder)
        checkout = folder / "checkout"
        for name in ("tasks", "inventory"):
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("tasks.py", "invoke.yaml"):
            shutil.copy(ROOT / name, checkout / name)
        (folder / "bin").mkdir()
        for name in ("tailscale", "tailscaled", "headscale"):
            shutil.copy(shutil.which(name, path=real_programs["PATH"]) or "", folder / "bin")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        search = os.pathsep.join([str(folder / "bin"), "/usr/local/bin", "/usr/bin", "/bin"])
        # Whoever runs the tests may have their own network up, on the usual port.
        apart = {"TAILNET": "lab", "TS_SOCKS5_SERVER": f"127.0.0.1:{free_port()}"}
        environment = {**variables(own), **apart, "PATH": search, "PROGRAMS_SOURCE": "path", "LANG": "C.UTF-8"}
        person = Ordinary(own, checkout, environment)
        if person.inv("--version").returncode != 0:
            pytest.skip(f"an ordinary user cannot run {sys.executable}")
        yield person
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_an_ordinary_user_has_the_same(ordinary: Ordinary) -> None:
    """No root, no capability, no new privileges: the lab, the network, a host that answers; and nothing is left."""
    up = ordinary.inv("lab.up", "--hosts=web1,db1", "net.up", "net.wait", "--host=web1", "net.wait", "--host=db1")
    down = ordinary.inv("net.down", "lab.down")

    assert up.returncode == 0, up.stdout + up.stderr
    assert [line.split(" (")[0] for line in up.stdout.splitlines()[-2:]] == ["web1 answers", "db1 answers"]
    assert (down.returncode, down.stdout) == (0, "network is down\nlab is down\n"), down.stderr
    until(lambda: living_in(ordinary.home.folder) == [], what="end of all processes")


def living_in(folder: Path) -> list[str]:
    """Return the command lines of living processes that name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and running.identify(int(entry.name)) is not None:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            found += [line] if str(folder) in line else []
    return found
