"""Owns the lab's machines: one userspace tailscaled each, with a real sshd on port 22 of its tailnet address.

Where there is no sshd, and on the host that shall always show it, Tailscale SSH answers instead.
"""

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks import files, process
from tasks.errors import TimedOut, Unavailable, UsageFailure
from tasks.loopback import free_port
from tasks.secret import Secret, secret_file

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}[a-z0-9]")
ALWAYS_TAILSCALE_SSH = "db1"
SBIN = "/usr/sbin:/usr/local/sbin:/sbin"  # where sshd is, and where a user's PATH does not look
LOGIN_DEADLINE = 30.0  # seconds from spawn to Running; 0.4 is usual
CALL_DEADLINE = 40.0
PAUSE = 0.05
SSHD_CONFIGURATION = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/ssh_host_ed25519_key
AuthorizedKeysFile {key}.pub
PidFile none
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
PrintMotd no
PrintLastLog no
MaxStartups 100:30:500
MaxSessions 100
LogLevel ERROR
Subsystem sftp internal-sftp
SetEnv HOME={home} PLATFORM_LAB={lab}
"""


@dataclass(frozen=True)
class Machine:
    """What all hosts of one lab share: programs, folders, the client's key, the daemons' environment."""

    tailscale: Path
    tailscaled: Path
    sshd: Path | None
    folder: Path
    runtime_folder: Path
    environment: Mapping[str, str]

    @property
    def client_key(self) -> Path:
        """The private key that the lab's inventory logs in with."""
        return self.folder / "client_key"


@dataclass(frozen=True)
class LabHost:
    """One host: its name and how it answers on port 22."""

    name: str
    machine: Machine

    @property
    def folder(self) -> Path:
        """Its state, log and host key."""
        return self.machine.folder / "hosts" / self.name

    @property
    def socket(self) -> Path:
        """Its daemon's LocalAPI; the path on the command line also tells its process from others."""
        return self.machine.runtime_folder / f"host-{self.name}.sock"

    @property
    def runs_sshd(self) -> bool:
        """Whether sshd answers, not Tailscale SSH."""
        return self.machine.sshd is not None and self.name != ALWAYS_TAILSCALE_SSH

    @property
    def tag(self) -> str:
        """The host's tag on the tailnet: its name without the number."""
        return f"tag:{group_of(self.name)}"

    def start(self) -> None:
        """Start its tailscaled, which then waits for a login."""
        files.private_folder(self.folder)
        argv = (
            str(self.machine.tailscaled),
            "--tun=userspace-networking",
            f"--statedir={self.folder}",
            f"--socket={self.socket}",
            "--port=0",
            "--no-logs-no-support",
        )
        environment = {**self.machine.environment, "TS_LOGS_DIR": str(self.folder)}
        log = self.folder / "tailscaled.log"
        process.detach(argv, environment=environment, log=log, folder=self.folder).let_go()

    def log_in(self, login_server: str, key: Secret) -> None:
        """Join the tailnet, and offer port 22 there."""
        words = ["up", "--timeout=20s", f"--login-server={login_server}", f"--hostname={self.name}"]
        words += [] if self.runs_sshd else ["--ssh"]
        with secret_file(key) as path:
            self._tailscale(*words, f"--auth-key=file:{path}")
        if self.runs_sshd:
            port = self._start_sshd()
            self._tailscale("serve", "--bg", "--tcp=22", f"tcp://127.0.0.1:{port}")

    def host_key(self) -> str | None:
        """Return sshd's public host key (`ssh-ed25519 AAAA…`); Tailscale SSH publishes its own in the netmap."""
        if not self.runs_sshd:
            return None
        return " ".join((self.folder / "ssh_host_ed25519_key.pub").read_text().split()[:2])

    def _start_sshd(self) -> int:
        port = free_port()
        home = files.private_folder(self.folder / "home")
        make_key(self.folder / "ssh_host_ed25519_key")
        text = SSHD_CONFIGURATION.format(
            port=port, folder=self.folder, key=self.machine.client_key, home=home, lab=self.machine.folder
        )
        configuration = self.folder / "sshd_config"
        files.write_private(configuration, text.encode())
        process.detach(
            (str(self.machine.sshd), "-D", "-e", "-f", str(configuration)),
            environment=self.machine.environment,
            log=self.folder / "sshd.log",
            folder=self.folder,
        ).let_go()
        return port

    def _tailscale(self, *words: str) -> None:
        """Run the host's `tailscale`, again while its daemon is not there yet."""
        end = time.monotonic() + LOGIN_DEADLINE
        argv = (str(self.machine.tailscale), f"--socket={self.socket}", *words)
        while True:
            ended = process.run(*argv, deadline=CALL_DEADLINE, environment=self.machine.environment)
            if ended.exit_status == 0:
                return
            if b"failed to connect to local tailscaled" not in ended.stderr:
                raise Unavailable(f"{self.name} did not join the lab", why=ended.complaint)
            if time.monotonic() > end:
                raise TimedOut(f"{self.name}'s daemon did not start", why=ended.complaint)
            time.sleep(PAUSE)


def group_of(name: str) -> str:
    """Return the group of a host: its name without the number at the end."""
    return name.rstrip("0123456789-") or name


def check_names(names: Sequence[str]) -> None:
    """Refuse what is no host name, or comes twice."""
    for name in names:
        if NAME.fullmatch(name) is None:
            raise UsageFailure(f"--hosts: expected small letters, digits and dashes, got {name!r}")
    if not names or len(set(names)) < len(names):
        raise UsageFailure("--hosts: expected at least one name, and each once")


def find_sshd() -> Path | None:
    """Return sshd, if it is here together with ssh-keygen."""
    sshd = shutil.which("sshd") or shutil.which("sshd", path=SBIN)
    return Path(sshd) if sshd and shutil.which("ssh-keygen") else None


def make_key(path: Path) -> None:
    """Make an ed25519 key pair without a passphrase, unless it is there."""
    if path.exists():
        return
    ended = process.run(
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(path), deadline=CALL_DEADLINE
    )
    if ended.exit_status != 0:
        raise Unavailable("ssh-keygen made no key", why=ended.complaint)
