"""A login on this terminal without ssh: keys and screen, the window's size, every way that it ends."""

import contextlib
import os
from collections.abc import Iterator

import paramiko
import pexpect
import pytest

from tests.conftest import INV, ROOT, Home, path_without
from tests.remote.servers import SSHServer, dies_of
from tests.remote.test_commands import Serve, Tailnet, tailnet  # noqa: F401 - a fixture
from tests.waiting import until

LOGIN_AND_LOOK = """
before=$(stty -g)
"$0" remote.shell --host=web
echo "ended $?"
[ "$before" = "$(stty -g)" ] && echo same
"""


def shouts(channel: paramiko.Channel) -> None:
    """Be a shell that says each key again, in capitals, until it is told to leave or its input ends."""
    channel.sendall(b"\x1b[1mwelcome\x1b[0m\r\n")
    while (keys := channel.recv(100)) not in {b"", b"q"}:
        channel.sendall(keys.upper() if keys.isalpha() else repr(keys).encode())
    channel.send_exit_status(7)


@pytest.fixture
def no_ssh(home: Home) -> str:
    """Return a PATH without ssh."""
    return path_without("ssh", home.folder / "bin-without-ssh")


@contextlib.contextmanager
def logged_in(tailnet: Tailnet, path: str) -> Iterator["pexpect.spawn[str]"]:  # noqa: F811
    """Run `remote.shell` in a terminal of 30 rows and 90 columns."""
    child = pexpect.spawn(
        str(INV),
        ["remote.shell", "--host=web"],
        cwd=str(ROOT),
        env={**os.environ, **tailnet.environment, "PATH": path, "TERM": "vt220"},
        encoding="utf-8",
        dimensions=(30, 90),
        timeout=30,
    )
    child.delaybeforesend = None
    try:
        yield child
    finally:
        child.close(force=True)


@pytest.fixture
def server(tailnet: Tailnet) -> SSHServer:  # noqa: F811
    """Return the host, which has a shell to log in to."""
    tailnet.server.shell = shouts
    return tailnet.server


def test_keys_go_there_and_the_screen_comes_here_as_it_is(
    tailnet: Tailnet,  # noqa: F811
    server: SSHServer,
    no_ssh: str,
) -> None:
    """Ctrl-C is a key like others, nothing is echoed here, and the shell's status is ours."""
    with logged_in(tailnet, no_ssh) as child:
        child.expect_exact("\x1b[1mwelcome\x1b[0m\r\n")
        child.send("a")
        child.expect_exact("A")
        child.sendcontrol("c")
        child.expect_exact("b'\\x03'")
        child.send("q")
        child.expect(pexpect.EOF)

    assert (child.exitstatus, child.before) == (7, "")
    assert server.terminals == ["vt220 30 90"]


def test_a_new_size_of_the_window_is_told_there(tailnet: Tailnet, server: SSHServer, no_ssh: str) -> None:  # noqa: F811
    with logged_in(tailnet, no_ssh) as child:
        child.expect_exact("welcome")
        child.setwinsize(44, 111)
        until(lambda: server.terminals == ["vt220 30 90", "44 111"], what="word of the new size")
        child.send("q")
        child.expect(pexpect.EOF)

    assert child.exitstatus == 7


def test_a_shell_that_a_signal_kills_is_told_so_and_the_terminal_is_as_it_was(
    tailnet: Tailnet,  # noqa: F811
    server: SSHServer,
    no_ssh: str,
) -> None:
    server.shell = dies_of("KILL")
    environment = {**os.environ, **tailnet.environment, "PATH": no_ssh}
    child = pexpect.spawn(
        "sh", ["-c", LOGIN_AND_LOOK, str(INV)], cwd=str(ROOT), env=environment, encoding="utf-8", timeout=30
    )
    child.expect_exact("web: the command was killed by SIGKILL\r\nended 137\r\nsame\r\n")
    child.close()


def test_a_connection_that_breaks_is_no_exit_status(tailnet: Tailnet, server: SSHServer, no_ssh: str) -> None:  # noqa: F811
    with logged_in(tailnet, no_ssh) as child:
        child.expect_exact("welcome")
        tailnet.proxy.cut()
        child.expect_exact("error: connection to web lost, outcome unknown: ")
        child.expect(pexpect.EOF)

    assert child.exitstatus == 69


def test_a_host_that_gives_no_terminal_says_so(tailnet: Tailnet, no_ssh: str) -> None:  # noqa: F811
    with logged_in(tailnet, no_ssh) as child:
        child.expect_exact("error: web refuses a login on a terminal\r\n")
        child.expect(pexpect.EOF)

    assert child.exitstatus == 77


def test_without_a_terminal_here_there_is_no_login(tailnet: Tailnet, no_ssh: str) -> None:  # noqa: F811
    ended = tailnet.inv("remote.shell", "--host=web", environment={**tailnet.environment, "PATH": no_ssh})

    assert (ended.exit_status, ended.stderr.splitlines()[0]) == (64, "error: a login needs a terminal")
