"""Owns the detached tailscaled: its argv, start, readiness, identity and stop.

Nothing is remembered: the listener of the LocalAPI socket (SO_PEERCRED) and of the proxy port (its inode) is asked each
time. Whoever calls `start` or `stop` holds the lock `Daemon.lock`.
"""

import signal
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasks import files, process, running
from tasks.errors import ConfigurationFailure, Failure, TimedOut, Unavailable
from tasks.net import ports
from tasks.net.localapi import SOCKET, LocalAPI
from tasks.running import Identity
from tasks.tailnet import TailnetStatus

USERSPACE = "--tun=userspace-networking"
LONGEST_SOCKET_PATH = 107  # sun_path is 108 bytes with its closing zero
LOG_LIMIT = 10_000_000  # bytes; one older log of that size is kept beside
LOG_TAIL = 20  # lines of the log in an error
START_DEADLINE = 20.0  # seconds from spawn to ready; 0.3 is usual, a busy machine needs more
PROBE_DEADLINE = 1.0  # seconds for one answer of a healthy daemon
SETTLE_DEADLINE = 2.0  # seconds that a daemon found half up gets before it counts as hung
STOP_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
SHORTEST_PAUSE, LONGEST_PAUSE, PAUSE_GROWTH = 0.005, 0.1, 1.5


@dataclass(frozen=True)
class Daemon:
    """One tailscaled of ours, running or not: everything that its start needs.

    One that `ends_with_us` is for this process alone, and goes with it however that ends.
    """

    state_folder: Path
    runtime_folder: Path
    proxy_host: str
    proxy_port: int
    extra_args: tuple[str, ...] = ()
    upload_logs: bool = False
    knobs: tuple[tuple[str, str], ...] = ()
    ends_with_us: bool = False

    @property
    def socket(self) -> Path:
        """The LocalAPI's unix socket."""
        return self.runtime_folder / SOCKET

    @property
    def lock(self) -> Path:
        """The lock that serialises start, login and stop."""
        return self.runtime_folder / "net.lock"

    @property
    def log(self) -> Path:
        """What the daemon prints."""
        return self.state_folder / "tailscaled.log"

    @property
    def state(self) -> Path:
        """The node's keys and preferences."""
        return self.state_folder / "tailscaled.state"

    @property
    def api(self) -> LocalAPI:
        """The LocalAPI of this daemon."""
        return LocalAPI(self.socket, deadline=PROBE_DEADLINE)

    def argv(self, program: Path) -> tuple[str, ...]:
        """Return the command line. Flags: tailscale's cmd/tailscaled/tailscaled.go and proxy.go."""
        proxy = f"{self.proxy_host}:{self.proxy_port}"
        return (
            str(program),
            USERSPACE,
            f"--statedir={self.state_folder}",
            f"--state={self.state}",
            f"--socket={self.socket}",
            "--port=0",  # the default is the environment's PORT, which a web project sets
            f"--socks5-server={proxy}",
            f"--outbound-http-proxy-listen={proxy}",
            *(() if self.upload_logs else ("--no-logs-no-support",)),
            *self.extra_args,
        )

    def environment(self) -> dict[str, str]:
        """Return the daemon's whole environment: it lives long, so nothing that is not needed goes in."""
        return process.plain_environment({"TS_LOGS_DIR": str(self.state_folder), **dict(self.knobs)})


def probe(daemon: Daemon) -> TailnetStatus | None:
    """Return the status of a daemon that is ready, else None.

    Ready means: the LocalAPI answers, the proxy greets, and both are one process of ours started for this socket.
    """
    pid = daemon.api.server_pid()
    if pid is None or not _is_ours(daemon, running.identify(pid)):
        return None
    if not ports.is_served_by(daemon.proxy_host, daemon.proxy_port, pid):
        return None
    try:
        status = daemon.api.status()
    except (Unavailable, TimedOut):
        return None
    greets = ports.greets(daemon.proxy_host, daemon.proxy_port, deadline=PROBE_DEADLINE)
    return status if greets else None


def start(
    daemon: Daemon, program: Path, *, tell: Callable[[str], None], deadline: float = START_DEADLINE
) -> TailnetStatus:
    """Bring the daemon (`program` is tailscaled) to readiness within `deadline` seconds, and return its status.

    One that is ready is left alone; one of ours that hangs, lost its socket or has another port is replaced. A state
    file that it cannot read is kept aside, and `tell` says so.
    """
    for identity in _processes(daemon):
        status = _await_settled(daemon)
        if status is not None and not status.store_error:
            return status
        running.stop(identity, grace=STOP_GRACE)
    _check_paths(daemon)
    _check_port(daemon)
    status = _spawn(daemon, program, deadline)
    if not status.store_error:
        return status
    stop(daemon)
    aside = _set_aside(daemon, status.store_error)
    tell(f"the node's state file was corrupt, it is kept as {aside}; this node logs in anew ({status.store_error})")
    return _spawn(daemon, program, deadline)


def _set_aside(daemon: Daemon, why: str) -> Path:
    """Move a state file that is readable, but makes no sense, out of the way."""
    aside = daemon.state.with_name(f"{daemon.state.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
    try:
        daemon.state.read_bytes()
        daemon.state.rename(aside)
    except OSError:
        raise ConfigurationFailure(
            f"tailscaled cannot use its state file {daemon.state}", why=why, next_step="`inv net.logs` shows more"
        ) from None
    return aside


def _spawn(daemon: Daemon, program: Path, deadline: float) -> TailnetStatus:
    trim_log(daemon)
    written_before = daemon.log.stat().st_size if daemon.log.exists() else 0
    child = process.detach(
        daemon.argv(program),
        environment=daemon.environment(),
        log=daemon.log,
        folder=daemon.state_folder,
        ends_with_us=daemon.ends_with_us,
    )
    try:
        return _await_ready(daemon, child, deadline, written_before)
    except KeyboardInterrupt:
        stop(daemon)
        raise
    finally:
        child.let_go()


def stop(daemon: Daemon) -> bool:
    """End the daemon and remove its socket; return whether there was one. Twice is as good as once."""
    found = list(_processes(daemon))
    for identity in found:
        running.stop(identity, grace=STOP_GRACE)
    if _is_socket(daemon.socket):
        daemon.socket.unlink(missing_ok=True)
    return bool(found)


def trim_log(daemon: Daemon) -> None:
    """Cut a log that has grown too long; nobody of ours is there to do it between two commands."""
    files.cap_log(daemon.log, LOG_LIMIT)


def log_tail(daemon: Daemon, lines: int, *, after: int = 0) -> list[str]:
    """Return the last lines of the log, of what was written after byte `after`."""
    try:
        content = daemon.log.read_bytes()[after:]
    except FileNotFoundError:
        return []
    return content.decode(errors="replace").splitlines()[-lines:]


def _await_ready(daemon: Daemon, child: process.Detached, deadline: float, written_before: int) -> TailnetStatus:
    end = time.monotonic() + deadline
    pause = SHORTEST_PAUSE
    while time.monotonic() < end:
        status = probe(daemon)
        if status is not None:
            return status
        exit_status = child.exit_status()
        if exit_status is not None:
            raise _died(daemon, exit_status, written_before)
        time.sleep(pause)
        pause = min(pause * PAUSE_GROWTH, LONGEST_PAUSE)
    stop(daemon)
    raise TimedOut(
        f"tailscaled was not ready within {deadline:g} s",
        why=_last_words(daemon, written_before),
        next_step="`inv net.logs` shows all that it said",
    )


def _await_settled(daemon: Daemon) -> TailnetStatus | None:
    """Give a daemon whose starter was killed the time to become ready."""
    end = time.monotonic() + SETTLE_DEADLINE
    while time.monotonic() < end:
        status = probe(daemon)
        if status is not None:
            return status
        time.sleep(LONGEST_PAUSE)
    return None


def _died(daemon: Daemon, exit_status: int, written_before: int) -> Failure:
    if _is_socket(daemon.socket):
        daemon.socket.unlink(missing_ok=True)
    return Unavailable(
        f"tailscaled ended at once ({_ending(exit_status)})",
        why=_last_words(daemon, written_before),
        next_step="`inv doctor` looks for the cause",
    )


def _ending(exit_status: int) -> str:
    killed = {128 + number: f"killed by {number.name}" for number in signal.Signals}
    why = ", perhaps for want of memory" if exit_status == 128 + signal.SIGKILL else ""
    return killed.get(exit_status, f"exit status {exit_status}") + why


def _last_words(daemon: Daemon, written_before: int) -> str:
    return "\n  ".join(["its log ends with", *log_tail(daemon, LOG_TAIL, after=written_before)])


def _processes(daemon: Daemon) -> list[Identity]:
    """Return our daemons for this socket, whatever their state; two can only be the leavings of a crash."""
    return [identity for identity in running.own_processes() if _is_ours(daemon, identity)]


def _is_ours(daemon: Daemon, identity: Identity | None) -> bool:
    # Not by the name of the program: `tailscale` takes --socket too, and a script may stand before tailscaled.
    return identity is not None and {USERSPACE, f"--socket={daemon.socket}"} <= set(identity.argv)


def _check_paths(daemon: Daemon) -> None:
    files.private_folder(daemon.state_folder)
    path = daemon.socket
    if len(str(path).encode()) > LONGEST_SOCKET_PATH:
        raise ConfigurationFailure(
            f"the socket path {path} is longer than {LONGEST_SOCKET_PATH} bytes",
            next_step="set XDG_RUNTIME_DIR or TMPDIR to a shorter folder",
        )
    if path.is_symlink() or (path.exists() and not _is_socket(path)):
        raise ConfigurationFailure(
            f"{path} is in the way: it is not a socket", next_step=f"look at it, then: rm {path}"
        )


def _check_port(daemon: Daemon) -> None:
    stranger = ports.listener(daemon.proxy_host, daemon.proxy_port)
    if stranger is not None:
        raise ConfigurationFailure(
            f"the proxy's port {daemon.proxy_host}:{daemon.proxy_port} is taken by {stranger}",
            next_step=f"end that program, or set TS_SOCKS5_SERVER={daemon.proxy_host}:{daemon.proxy_port + 1}",
        )


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return False
