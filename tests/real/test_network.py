"""The main job on real programs: up, a command on a host behind it, down; and what the daemon survives."""

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pexpect
import pytest

from tasks import running
from tests.conftest import INV, ROOT, Home, Inv
from tests.real.conftest import HOST, Lab, Node, other_tailnet
from tests.real.opening import counted_opens
from tests.waiting import until

pytestmark = pytest.mark.real
ITEM = "Tailscale auth key"
ROUNDS = 15  # kills at random moments; the fake programs stand another 25
TOGETHER = 20


def vault_with(node: Node, key: str) -> None:
    """Put the key into the node's vault."""
    assert node.inv("vault.set", ITEM, stdin=key).exit_status == 0


def test_one_line_from_nothing_to_a_hosts_answer_and_back(inv: Inv, home: Home, real_programs: dict[str, str]) -> None:
    """No process, socket or port is left; the fixtures of every test see to the processes."""
    ended = inv(
        *("lab.up", "--hosts=web1", "net.up", "remote.run", "--host=web1", "--command=echo $((6*7))"),
        *("net.down", "lab.down"),
        environment=real_programs,
        deadline=60,
    )

    assert (ended.exit_status, "42" in ended.stdout.splitlines()) == (0, True), ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-2:] == ["network is down", "lab is down"]
    left = [path for path in home.folder.rglob("*") if path.is_socket() or "platform-manager/lab" in str(path)]
    assert [path for path in left if path.suffix != ".lock"] == []


def test_a_second_up_changes_nothing(lab: Lab, node: Node) -> None:
    """Same process; not a line in its log, no login tried; and no key is needed."""
    assert node.inv("net.up", key=lab.key()).exit_status == 0
    (pid,) = node.daemons()
    log = until(lambda: settled(node.log), what="quiet log")
    ended = node.inv("net.up")

    assert (ended.exit_status, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"network is up already: {node.name} (100.64.0.")
    assert node.daemons() == [pid]
    added = [line for line in node.log.read_text().removeprefix(log).splitlines() if not said_of_probes(line)]
    assert added == []


def settled(log: Path) -> str:
    """Return the log when nothing was added to it for a while."""
    before = log.read_text()
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if log.read_text() != before:
            return ""
        time.sleep(0.05)
    return before


def said_of_probes(line: str) -> bool:
    """Whether the daemon only tells that its proxy was greeted, or of its own upkeep."""
    return any(
        word in line for word in ("socks5: client connection failed", "magicsock", "netcheck", "[v1]", "health(")
    )


def test_the_daemon_outlives_command_shell_and_terminal(lab: Lab, node: Node) -> None:
    """The pty is closed, which hangs up its whole session."""
    environment = {**os.environ, **node.environment, "TS_AUTHKEY": lab.key()}
    child = pexpect.spawn("/bin/sh", ["-c", f"{INV} net.up && echo d''one; read never"], cwd=str(ROOT), env=environment)
    child.expect_exact("done", timeout=30)
    (pid,) = node.daemons()
    child.close(force=True)

    assert node.daemons() == [pid]
    identity = running.identify(pid)
    assert identity is not None
    assert os.getsid(pid) == pid
    assert node.inv("net.wait", f"--host={HOST}").exit_status == 0


def test_its_output_may_be_captured(lab: Lab, node: Node) -> None:
    """The daemon does not hold the pipe."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f'answer="$({INV} net.up 2>&1)"; echo "[$answer]"'],
        cwd=ROOT,
        env={**os.environ, **node.environment, "TS_AUTHKEY": lab.key()},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert ended.stdout.startswith(f"[network is up: {node.name} ")


def test_twenty_at_once_make_one_daemon_and_read_the_vault_once(lab: Lab, node: Node) -> None:
    """All end well. The kernel counts who opens the vault's file."""
    vault_with(node, lab.key())
    vault = node.folder / "vault.age"
    assert vault.exists(), list(node.folder.iterdir())
    with counted_opens(vault) as one:
        assert node.inv("vault.get", ITEM).exit_status == 0
    with counted_opens(vault) as opens:
        environment = {**os.environ, **node.environment}
        children = [
            subprocess.Popen(
                [INV, "net.up"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(TOGETHER)
        ]
        ended = [(*child.communicate(timeout=60), child.returncode) for child in children]

    assert [status for _, _, status in ended] == [0] * TOGETHER, ended
    assert len(node.daemons()) == 1
    assert sum(stdout.startswith("network is up: ") for stdout, _, _ in ended) >= 1
    assert opens() == one() > 0


def test_killing_command_or_daemon_at_any_moment_leaves_the_next_up_working(lab: Lab, node: Node) -> None:
    """SIGKILL, at moments spread over the whole start and login."""
    vault_with(node, lab.key())
    dice = random.Random(4)
    environment = {**os.environ, **node.environment}
    for _ in range(ROUNDS):
        child = subprocess.Popen([INV, "net.up"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.1, 0.8))  # the moment is the subject, not a wait
        child.kill()
        child.wait()
        if dice.random() < 0.4:
            for pid in node.daemons():
                os.kill(pid, signal.SIGKILL)
        ended = node.inv("net.up")

        assert ended.exit_status == 0, ended.stderr
        assert len(node.daemons()) == 1
        if dice.random() < 0.5:
            assert node.inv("net.down").exit_status == 0


def test_a_host_answers_through_the_proxy(lab: Lab, node: Node) -> None:
    """`net.wait` knows when; `net.status` shows it with its path."""
    node.inv("net.up", key=lab.key())
    waited = node.inv("net.wait", f"--host={HOST}")
    shown = node.inv("net.status")

    assert waited.exit_status == 0, waited.stderr
    assert f"{HOST} answers (after " in waited.stdout
    assert f"state     up (tailscale 1.102.4)\nproxy     127.0.0.1:{node.port} (SOCKS5 and HTTP)" in shown.stdout
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith(HOST))
    assert "online" in line


def test_the_node_stays_a_member_over_down_and_up(lab: Lab, node: Node) -> None:
    """Without any key; `down --logout` ends that."""
    node.inv("net.up", key=lab.key())
    again = node.inv("net.down", "net.up")
    gone = node.inv("net.down", "--logout", "net.up")

    assert (again.exit_status, again.stdout.count("network is up: ")) == (0, 1)
    assert gone.exit_status == 78
    assert "error: there is no auth key, and nobody to ask" in gone.stderr


def test_a_stranger_on_the_port_is_named(lab: Lab, node: Node) -> None:
    """And nothing is started."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", node.port))
        stranger.listen()
        ended = node.inv("net.up")

    assert ended.exit_status == 78
    assert f"the proxy's port 127.0.0.1:{node.port} is taken by " in ended.stderr
    assert f"(pid {os.getpid()}, user " in ended.stderr
    assert node.daemons() == []


def test_a_real_daemon_that_hangs_or_lost_its_socket_is_replaced(lab: Lab, node: Node) -> None:
    node.inv("net.up", key=lab.key())
    (hung,) = node.daemons()
    os.kill(hung, signal.SIGSTOP)
    assert node.inv("net.up").exit_status == 0
    (lost,) = node.daemons()
    assert lost != hung

    next(Path(os.environ["XDG_RUNTIME_DIR"]).rglob("tailscaled.sock")).unlink()
    assert node.inv("net.status").exit_status == 69
    assert node.inv("net.up").exit_status == 0
    assert lost not in node.daemons()
    assert len(node.daemons()) == 1


def test_real_daemons_hold_nothing_of_ours(lab: Lab, node: Node) -> None:
    """Their descriptors are their own; their environment is the allow-list."""
    key = lab.key()
    node.inv("net.up", key=key, environment={"BW_SESSION": "canary-5f"})
    (pid,) = node.daemons()
    links = {fd.name: os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()}  # noqa: PTH115 - no paths
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode()

    assert (links["0"], links["1"], links["2"]) == ("/dev/null", str(node.log), str(node.log))
    assert [link for link in links.values() if "lock" in link or "/pts/" in link or "memfd" in link] == []
    assert [word for word in (key, "canary-5f") if word in environment] == []


def test_a_port_of_its_own_for_each_tailnet(lab: Lab, node: Node) -> None:
    """Two tailnets are up at once."""
    key = lab.key()
    other = other_tailnet(node)
    first = node.inv("net.up", key=key)
    second = node.inv("net.up", key=key, environment=other)
    try:
        assert (first.exit_status, second.exit_status) == (0, 0), first.stderr + second.stderr
        assert node.inv("net.status").exit_status == 0
    finally:
        assert node.inv("net.down", environment=other).stdout == "network is down\n"
    assert node.inv("net.status").exit_status == 0
