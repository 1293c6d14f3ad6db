"""A session as a whole: the key is checked before anything is said, and a real sshd is spoken to."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.errors import Refused, Unavailable
from tasks.loopback import free_port
from tasks.remote import ssh
from tasks.remote.following import Ended
from tasks.remote.hostkeys import HostKey, Store, Verifier, parse_key
from tasks.remote.login import Login
from tasks.remote.proxy import Proxy
from tests.conftest import Home, lacking
from tests.remote import servers
from tests.remote.conftest import Heard, Reached, discard, threads
from tests.remote.servers import SSHServer, says
from tests.waiting import is_alive, until

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
Serve = Callable[..., SSHServer]
Reach = Callable[[int], Reached]


def test_an_unknown_key_ends_the_connection_before_the_login(reach: Reach, serve: Serve) -> None:
    """And leaves no thread."""
    server = serve()
    reached = reach(server.port)
    before = threads()

    with pytest.raises(Refused, match=r"^the host key of web is unknown: it showed ecdsa-sha2-nistp256 SHA256:"):
        ssh.connect(reached.dial(), reached.verifier(), Login("somebody"), print)

    assert server.logins == 0
    until(lambda: threads() <= before, what="thread that ended")


def test_a_first_contact_that_is_accepted_is_remembered(reach: Reach, serve: Serve) -> None:
    """The second connection asks nobody."""
    reached = reach(serve({"it": says(b"hi")}).port)
    for ask in (lambda _: True, None):
        ssh.connect(reached.dial(), reached.verifier(ask=ask), Login("somebody"), print).close()

    known = reached.known
    assert reached.known_hosts.read_text() == f"web.tail.test {known.kind} {known.blob}\n"


def test_the_name_and_nothing_else_reaches_the_proxy(reach: Reach, serve: Serve) -> None:
    """One dial for one connection."""
    reached = reach(serve().port)

    reached.connect().close()

    assert reached.proxy.asked == ["web.tail.test:22"]


def test_one_session_runs_several_commands(reach: Reach, serve: Serve, heard: Heard) -> None:
    """Each on a channel of its own."""
    server = serve({"one": says(b"1"), "two": says(b"2", status=2)})
    with reach(server.port).connect() as session:
        statuses = [session.run(command, heard.out, heard.err).exit_status for command in ("one", "two", "one")]

    assert (statuses, heard.stdout) == ([0, 2, 0], b"121")


def test_a_session_whose_connection_has_gone_opens_no_other(reach: Reach, serve: Serve, heard: Heard) -> None:
    """Fabric would, by itself."""
    reached = reach(serve({"it": says(b"x")}).port)
    with reached.connect() as session:
        session.run("it", heard.out, heard.err)
        session.close()
        with pytest.raises(Unavailable, match=r"^connection to web lost, outcome unknown: it is closed"):
            session.run("it", heard.out, heard.err)

    assert (heard.stdout, len(reached.proxy.asked)) == (b"x", 1)


@dataclass
class Sshd:
    """The real sshd behind a proxy, and how to log in."""

    proxy: servers.Socks
    identity: Path
    key: HostKey
    folder: Path

    def connect(self) -> ssh.Session:
        """Log in as ourselves."""
        verifier = Verifier(
            Store(self.folder / "known"), "web", "web.tail.test", 22, (f"{self.key.kind} {self.key.blob}",)
        )
        login = Login(getpass.getuser(), (self.identity,), named=True)
        return ssh.connect(self.dial(), verifier, login, print)

    def dial(self) -> socket.socket:
        """Connect through the proxy."""
        return Proxy("127.0.0.1", self.proxy.port).connect("web.tail.test", 22, deadline=8.0)


CONFIGURATION = """
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/id.pub
UsePAM no
StrictModes no
PidFile none
SetEnv HOME={home}
"""


@pytest.fixture
def sshd(home: Home, proxy: servers.Socks) -> Iterator[Sshd]:
    """Run sshd as this user, with keys of its own."""
    if SSHD is None:
        lacking("there is no sshd")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    folder, port = home.folder, free_port()
    for name in ("host", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    (folder / "sshd.conf").write_text(CONFIGURATION.format(port=port, folder=folder, home=home.home))
    argv = [SSHD, "-D", "-f", str(folder / "sshd.conf"), "-E", str(folder / "sshd.log")]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL) as running:
        until(lambda: "listening" in read(folder / "sshd.log"), what="sshd")
        proxy.routes["web.tail.test:22"] = port
        key = parse_key((folder / "host.pub").read_text())
        assert key is not None
        yield Sshd(proxy, folder / "id", key, folder)
        running.terminate()


def read(file: Path) -> str:
    """Return what stands in a file, nothing when it is not there yet."""
    with contextlib.suppress(FileNotFoundError):
        return file.read_text()
    return ""


@pytest.mark.real
def test_real_sshd_runs_a_command_line(sshd: Sshd, heard: Heard) -> None:
    """The host's shell reads it; its status is ours."""
    with sshd.connect() as session:
        ended = session.run("echo $((6*7)); echo oops >&2; cat; exit 7", heard.out, heard.err)

    assert (ended.exit_status, heard.stdout, heard.stderr) == (7, b"42\n", b"oops\n")


@pytest.mark.real
def test_real_sshd_tells_of_a_signal(sshd: Sshd, heard: Heard) -> None:
    """By exit-signal."""
    with sshd.connect() as session:
        assert session.run("kill -9 $$", heard.out, heard.err) == Ended(137, "KILL")


@pytest.mark.real
def test_twenty_megabytes_of_real_sshd_are_equal(sshd: Sshd, heard: Heard, tmp_path: Path) -> None:
    """No byte lost, none changed."""
    data = os.urandom(1024 * 1024) * 20
    (tmp_path / "data").write_bytes(data)
    with sshd.connect() as session:
        session.run(f"cat {tmp_path}/data", heard.out, heard.err)

    assert heard.stdout == data


@pytest.mark.real
@pytest.mark.parametrize(
    "command",
    [
        "echo $$; sleep 60; echo never",
        "timeout 60 sh -c 'echo $$; exec sleep 60 >/dev/null 2>&1'; echo never",  # it makes a group of its own
        "sh -c 'trap \"\" TERM; echo $$; exec >/dev/null 2>&1; while :; do sleep 0.1; done' & sleep 60",
    ],
)
def test_a_command_at_real_sshd_ends_with_us(sshd: Sshd, command: str) -> None:
    """Its whole session is gone, though it would have slept for long; root's too, whom sshd sends no signal."""
    told = bytearray()

    def interrupt(data: bytes) -> None:
        told.extend(data)
        raise KeyboardInterrupt

    with sshd.connect() as session, pytest.raises(KeyboardInterrupt):
        session.run(command, interrupt, discard)
    until(lambda: not is_alive(int(told)), what="end of the remote process")


@pytest.mark.real
def test_real_sshd_that_is_killed_in_the_middle_is_a_lost_connection(sshd: Sshd, heard: Heard) -> None:
    """The session's own process, seen from inside."""
    with sshd.connect() as session, pytest.raises(Unavailable, match=r"^connection to web lost, outcome unknown: "):
        session.run("kill -9 $PPID", heard.out, heard.err)
