"""Owns the comparison over many hosts: our command beside ssh, asyncssh, Fabric, clush, pyinfra and Ansible.

All go through the same SOCKS5 port to the same sshd, in turn, so that the machine's moods meet all alike.
"""

import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, environment, process, settings
from tasks.errors import Unavailable

if TYPE_CHECKING:
    from tasks.lab.fleet import FleetHost

TAILNET = "bench"
NODES = ("node1", "node2", "node3", "node4")
FLEET = "fleet"
SAID = b"reached-"
COMMAND = "echo reached-$((1 + 1))"  # what the command line itself holds is not what the host says
DEADLINE = 600.0  # seconds for one run of one tool
SCRIPTS = settings.ROOT / "benchmark"
LOCK = settings.ROOT / "requirements-bench.lock"
OURS = "ours"
YARDSTICK = "asyncssh"
# What ours must keep, beside the yardstick in the same run.
MOST_TIME, MOST_CPU, MOST_MEMORY = 1.1, 2.0, 120e6
TUNED = "-o KexAlgorithms=curve25519-sha256 -o Ciphers=aes128-gcm@openssh.com"
BEGIN, END = "<!-- made by `inv bench --hosts=…` -->", "<!-- end -->"


@dataclass(frozen=True)
class Tool:
    """One of the compared: its name, what runs, and the environment that it runs in."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Outcome:
    """What one tool took: medians of seconds and CPU seconds, its largest process in bytes; hosts lost in all runs."""

    name: str
    hosts: int
    runs: int
    seconds: float
    cpu: float
    memory: int
    lost: int


@dataclass(frozen=True)
class Ground:
    """Where the tools run: a lab's tailnet with so many hosts, the programs compared, a folder for their files."""

    folder: Path
    tailnet: settings.Settings
    peers: Path
    forks: int
    variables: Mapping[str, str]

    @property
    def key(self) -> Path:
        """The private key that logs in."""
        return self.tailnet.state_folder / "lab" / "client_key"

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys."""
        return self.tailnet.state_folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """The configuration that a person would write for ssh."""
        return self.folder / "ssh_config"

    def tools(self) -> list[Tool]:
        """Return all that is compared, ours first."""
        ours = ("remote.run", f"--hosts={FLEET}", f"--forks={self.forks}", f"--command={COMMAND}")
        python = str(self.peers / "python")
        arguments = (str(self.tailnet.proxy_port), str(self.known_hosts), str(self.key), _user(), str(self.forks))
        return [
            Tool(OURS, (*_invoke(), *ours), self.variables),
            *(
                self._tool(
                    name,
                    "sh",
                    "-c",
                    f'"$@" <{self.folder}/addresses',
                    "sh",
                    python,
                    str(SCRIPTS / script),
                    *arguments,
                    COMMAND,
                )
                for name, script in ((YARDSTICK, "with_asyncssh.py"), ("Fabric, pooled", "with_fabric.py"))
            ),
            self._ssh("ssh tuned, xargs -P", TUNED),
            self._ssh("ssh, xargs -P", ""),
            self._tool(
                "clush",
                str(self.peers / "clush"),
                "-f",
                str(self.forks),
                "-o",
                f"-F {self.ssh_config}",
                "-w",
                f"@{FLEET}",
                COMMAND,
            ),
            self._pyinfra(),
            self._ansible("Ansible raw", "raw"),
        ]

    def _tool(self, name: str, *argv: str) -> Tool:
        # A home of their own: nothing of whoever runs this changes what they do, and nothing is left there.
        return Tool(name, argv, {**self.variables, "HOME": str(self.folder), "CLUSTERSHELL_CFGDIR": str(self.folder)})

    def _ssh(self, name: str, more: str) -> Tool:
        # Without the `|| :` xargs gives up all hosts for one that ssh cannot reach.
        one = f'ssh -F {self.ssh_config} {more} "$1" "$2" || :'
        line = f"xargs -a {self.folder}/names -P {self.forks} -I HOST sh -c '{one}' sh HOST '{COMMAND}'"
        return self._tool(name, "sh", "-c", line)

    def _pyinfra(self) -> Tool:
        words = ("-y", "--parallel", str(self.forks), str(self.folder / "inventory.py"), "exec", "--", COMMAND)
        # It shows what hosts say on stderr.
        return self._tool("pyinfra", "sh", "-c", 'exec "$@" 2>&1', "sh", str(self.peers / "pyinfra"), *words)

    def _ansible(self, name: str, module: str) -> Tool:
        variables = {
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
            "ANSIBLE_SSH_COMMON_ARGS": f"-F {self.ssh_config}",
            "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
            "ANSIBLE_LOCALHOST_WARNING": "false",
        }
        argv = (
            str(self.peers / "ansible"),
            "-i",
            str(self.folder / "names"),
            "all",
            "-f",
            str(self.forks),
            "-m",
            module,
            "-a",
            COMMAND,
        )
        plain = self._tool(name, *argv)
        return replace(plain, environment={**plain.environment, **variables})


def run(count: int, runs: int, forks: int) -> list[Outcome]:
    """Compare on a lab of its own with so many hosts; `runs` counted runs of each tool, and one before to warm up."""
    with _ground(count, forks) as ground:
        tools = [tool for tool in ground.tools() if _works(tool, count)]
        if not tools:
            raise Unavailable("no tool reached any host", next_step="look at what each said above")
        rounds = [[(tool, *_measured(tool)) for tool in tools] for _ in range(runs)]
    return [_outcome(tool, count, [each[position][1:] for each in rounds]) for position, tool in enumerate(tools)]


def missed(outcomes: Sequence[Outcome]) -> list[str]:
    """Return the bounds that ours did not keep."""
    ours, yardstick = (next((each for each in outcomes if each.name == name), None) for name in (OURS, YARDSTICK))
    if ours is None:
        return ["our own command did not run"]
    kept = {
        f"{ours.lost} hosts lost": ours.lost == 0,
        f"memory {ours.memory / 1e6:.0f} MB": ours.memory < MOST_MEMORY,
    }
    if yardstick:
        kept[f"time {ours.seconds / yardstick.seconds:.2f} x {YARDSTICK}"] = (
            ours.seconds <= MOST_TIME * yardstick.seconds
        )
        kept[f"CPU {ours.cpu / yardstick.cpu:.2f} x {YARDSTICK}"] = ours.cpu <= MOST_CPU * yardstick.cpu
    return [what for what, is_kept in kept.items() if not is_kept]


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the table as the README has it, the fastest first."""
    count, runs = outcomes[0].hosts, outcomes[0].runs
    lines = [
        f"| {count} hosts, {runs} runs, medians | time | CPU | largest process | hosts lost |",
        "|---|---|---|---|---|",
    ]
    for each in sorted(outcomes, key=lambda outcome: outcome.seconds):
        name = f"**{each.name}**" if each.name == OURS else each.name
        numbers = f"{each.seconds:.2f} s | {each.cpu:.2f} s | {each.memory / 1e6:.0f} MB"
        lines.append(f"| {name} | {numbers} | {each.lost} of {count * runs} |")
    return "\n".join(lines)


def write_into(readme: Path, tables: Sequence[str]) -> None:
    """Put the tables between the marks in the README."""
    text = readme.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Unavailable(f"{readme.name} has no place for the table", why=f"expected {BEGIN} and {END}")
    middle = "\n\n".join(tables)
    readme.write_text(f"{before}{BEGIN}\n\n{middle}\n\n{END}{after}")


@contextmanager
def _ground(count: int, forks: int) -> Iterator[Ground]:
    from tasks.lab import bring_up, installed, lab_of

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TS_", "VAULT", "ANSIBLE"))}
    peers = environment.ensure(LOCK, cache=settings.load().cache_folder, say=console.step)
    lab = installed(lab_of(TAILNET))
    bring_up(lab, NODES)
    try:
        hosts = lab.add_fleet(NODES, count)
        variables = {**kept, "TAILNET": TAILNET, "CI": "true"}
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            ground = Ground(Path(name), settings.load(variables, root=lab.state_folder), peers, forks, variables)
            _write_files(ground, hosts)
            _check(process.run(*_invoke(), "net.up", deadline=DEADLINE, environment=variables, folder=settings.ROOT))
            yield ground
    finally:
        lab.stop()


def _write_files(ground: Ground, hosts: "Sequence[FleetHost]") -> None:
    """Write what the other tools need to know: an ssh configuration, lists of hosts, an inventory of pyinfra's."""
    blocks = [f"Host {host.name}\n  HostName {host.address}\n  Port {host.port}\n" for host in hosts]
    proxy = f"nc -X 5 -x 127.0.0.1:{ground.tailnet.proxy_port} %h %p"
    common = (
        f"Host *\n  User {_user()}\n  IdentityFile {ground.key}\n  IdentitiesOnly yes\n  StrictHostKeyChecking yes\n"
        f"  UserKnownHostsFile {ground.known_hosts}\n  ProxyCommand {proxy}\n"
    )
    ground.ssh_config.write_text("".join([*blocks, common]))
    (ground.folder / "names").write_text("".join(f"{host.name}\n" for host in hosts))
    (ground.folder / "addresses").write_text("".join(f"{host.address} {host.port}\n" for host in hosts))
    (ground.folder / "groups.conf").write_text(f"[Main]\ndefault: local\n[local]\nmap: cat {ground.folder}/names\n")
    data = {
        "ssh_config_file": str(ground.ssh_config),
        "ssh_known_hosts_file": str(ground.known_hosts),
        "ssh_user": _user(),
    }
    data |= {"ssh_key": str(ground.key), "ssh_strict_host_key_checking": "yes"}
    pairs = [(host.name, data) for host in hosts]
    (ground.folder / "inventory.py").write_text(f"hosts = {pairs!r}\n")


def _works(tool: Tool, count: int) -> bool:
    """Run it once; a tool that reaches nobody is left out, with its own words why."""
    console.step(f"warming up: {tool.name}")
    measured, reached = _measured(tool)
    if reached == 0:
        console.step(f"  left out: it reached none of {count} hosts ({measured.complaint or measured.exit_status})")
    return reached > 0


def _measured(tool: Tool) -> tuple[process.Measured, int]:
    """Run it, and count the hosts that answered."""
    with tempfile.TemporaryFile() as output:
        measured = process.measure(
            tool.argv, environment=tool.environment, deadline=DEADLINE, folder=settings.ROOT, output=output
        )
        output.seek(0)
        return measured, output.read().count(SAID + b"2")


def _outcome(tool: Tool, count: int, runs: Sequence[tuple[process.Measured, int]]) -> Outcome:
    def median(of: Callable[[process.Measured], float]) -> float:
        return statistics.median(of(measured) for measured, _ in runs)

    lost = sum(count - min(count, reached) for _, reached in runs)
    memory = max(measured.memory for measured, _ in runs)
    return Outcome(
        tool.name, count, len(runs), median(lambda each: each.seconds), median(lambda each: each.cpu), memory, lost
    )


def _check(ended: process.Completed) -> None:
    if ended.exit_status != 0:
        raise Unavailable("the benchmark's network did not come up", why=ended.complaint)


def _user() -> str:
    from tasks.lab.hosts import user_name

    return user_name()


def _invoke() -> tuple[str, ...]:
    return (sys.executable, str(Path(sys.executable).with_name("inv")))
