"""The login: what is tried and in which order, and a refusal that says all of it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from tasks.errors import Refused, Unavailable
from tasks.remote.login import Login
from tests.remote.conftest import Reached, threads
from tests.remote.servers import SSHServer
from tests.waiting import until

Serve = Callable[..., SSHServer]
Reach = Callable[[int], Reached]
OPENSSH = "SSH-2.0-OpenSSH_9.2"


def keygen(path: Path, passphrase: str = "") -> Path:
    """Make a key."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", passphrase, "-C", path.name, "-f", path], check=True)
    return path


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    """Return a key that may log in."""
    return keygen(tmp_path / "id")


@pytest.fixture
def agent(home: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Start an ssh-agent, and return what adds keys to it."""
    address = tmp_path / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", address], stdout=subprocess.DEVNULL) as running:
        until(address.exists, what="agent")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(address))

        def add(*keys: Path) -> None:
            subprocess.run(["ssh-add", "-q", *keys], check=True)

        yield add
        running.terminate()


def refusal(reached: Reached, login: Login) -> str:
    """Return why nobody gets in."""
    with pytest.raises(Refused) as caught:
        reached.connect(login)
    return str(caught.value)


def test_tailscale_ssh_asks_for_nothing(reach: Reach, serve: Serve) -> None:
    """The tailnet has said who we are; a key would be of no use."""
    server = serve(methods="none")

    reach(server.port).connect().close()

    assert server.logins == 1


def test_what_the_server_says_before_the_login_is_shown(reach: Reach, serve: Serve) -> None:
    """The link of Tailscale SSH's check mode, a legal notice."""
    reached = reach(serve(banner="visit https://login.example/a/1\r\n").port)

    reached.connect().close()

    assert reached.said == "visit https://login.example/a/1"


@pytest.mark.parametrize("version", [OPENSSH, "SSH-2.0-dropbear"])
def test_a_key_logs_in(reach: Reach, serve: Serve, identity: Path, version: str) -> None:
    """At the server that most hosts run, and at another."""
    server = serve(methods="publickey", allowed=paramiko.PKey.from_path(identity), version=version)

    reach(server.port).connect(Login("somebody", (identity,))).close()

    assert server.logins == 1


def test_an_openssh_server_without_any_key_is_asked_too(reach: Reach, serve: Serve) -> None:
    """An account without a password."""
    reach(serve(methods="none", version=OPENSSH).port).connect(Login("somebody")).close()


def test_a_refusal_lists_what_was_tried_and_what_the_server_takes(reach: Reach, serve: Serve, tmp_path: Path) -> None:
    """A key that is not known there, one with a passphrase, one that is missing, one that is none."""
    known, locked = keygen(tmp_path / "known"), keygen(tmp_path / "locked", "secret")
    (tmp_path / "none").write_text("hello\n")
    files = (known, locked, tmp_path / "missing", tmp_path / "none")
    server = serve(methods="publickey,password", version=OPENSSH)

    said = refusal(reach(server.port), Login("bob", files))

    first, _, last = said.partition("\n")
    assert first.startswith(
        f"web refuses to log bob in: tried {known}, {locked} (it has a passphrase: run `ssh-add {locked}`), "
        f"{tmp_path}/missing (no such file or directory), {tmp_path}/none ("
    )
    assert first.endswith(", none; the server takes publickey, password")
    assert last == "  next: add a key to bob's authorized_keys there, or set ansible_user and its key file"


def test_keys_are_not_tried_where_they_are_not_taken(reach: Reach, serve: Serve, identity: Path) -> None:
    """A server that takes passwords alone."""
    said = refusal(reach(serve(methods="password").port), Login("bob", (identity,)))

    assert said.startswith("web refuses to log bob in: tried none; the server takes password\n")


def test_the_agents_keys_are_tried(reach: Reach, serve: Serve, identity: Path, agent: Callable[..., None]) -> None:
    """No file is named, none is read."""
    agent(identity)
    server = serve(methods="publickey", allowed=paramiko.PKey.from_path(identity), version=OPENSSH)

    reach(server.port).connect(Login("somebody")).close()

    assert server.logins == 1


def test_a_named_key_with_a_passphrase_comes_from_the_agent_and_no_other_is_tried(
    reach: Reach, serve: Serve, tmp_path: Path, agent: Callable[..., None]
) -> None:
    """sshd ends a login after six tries."""
    other, wanted = keygen(tmp_path / "other"), keygen(tmp_path / "wanted")
    agent(other, wanted)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "secret", "-f", wanted], check=True, stdout=subprocess.DEVNULL)

    said = refusal(reach(serve(methods="publickey", version=OPENSSH).port), Login("bob", (wanted,), named=True))

    assert said.startswith("web refuses to log bob in: tried agent key wanted, none; the server takes publickey\n")


def test_a_server_that_hangs_up_after_too_many_keys_is_told(reach: Reach, serve: Serve, tmp_path: Path) -> None:
    """paramiko's server, like sshd, gives up after some."""
    files = tuple(keygen(tmp_path / f"id{number}") for number in range(12))

    said = refusal(reach(serve(methods="publickey", version=OPENSSH).port), Login("bob", files))

    assert ", no more, because the server hung up; the server takes publickey\n" in said
    assert said.count(str(tmp_path)) < len(files)


def test_a_failed_login_leaves_no_thread(reach: Reach, serve: Serve) -> None:
    """Fabric's does (fabric#2259)."""
    reached = reach(serve(methods="password").port)
    before = threads()
    refusal(reached, Login("bob"))

    # The proxy and the server end theirs by themselves when the connection has gone.
    until(lambda: threads() <= before, what="thread that ended")


def test_a_server_that_dies_during_the_login_is_told(reach: Reach, serve: Serve) -> None:
    """It is no refusal."""
    server = serve()
    reached = reach(server.port)
    server.before_login = reached.proxy.cut

    with pytest.raises(Unavailable, match=r"^the SSH connection to web failed: the server hung up during the login$"):
        reached.connect()
