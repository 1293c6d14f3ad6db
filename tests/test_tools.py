"""Other people's tools on our network: the ssh configuration in its two places, the environment, real programs."""

import hashlib
import os
import shlex
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import environment, settings, tools
from tests.conftest import ROOT, Home, Inv
from tests.remote import servers

USERS = "ForwardAgent no\nHost other\n    User me\n"


@pytest.fixture(autouse=True)
def daemon(home: Home) -> Iterator[servers.Daemon]:
    """Run a daemon that knows the machine `web`."""
    known = servers.Daemon(peers={"k1": servers.peer("web", "100.64.0.1")})
    with servers.local_api(settings.load().runtime_folder / "tailscaled.sock", known):
        yield known


@pytest.fixture
def users(home: Home) -> Path:
    """Return the user's own ssh configuration, which is a link, as dotfiles are."""
    path = home.home / "dotfiles"
    path.write_text(USERS)
    path.chmod(0o644)
    (home.home / ".ssh").mkdir(mode=0o700)
    (home.home / ".ssh" / "config").symlink_to(path)
    return path


def test_the_own_file_is_written_and_named(inv: Inv, home: Home) -> None:
    written = inv("remote.ssh-config")
    path = home.state / "platform-manager" / "default" / "ssh_config"

    assert (written.exit_status, written.stdout) == (0, f"{path}\n")
    assert "HostName web.tail.test" in path.read_text()


def test_a_section_comes_and_goes_and_leaves_the_users_file_as_it_was(inv: Inv, users: Path) -> None:
    installed = inv("remote.ssh-config", "--install")
    once = users.read_text()
    again = inv("remote.ssh-config", "--install")
    twice = users.read_text()
    undone = inv("remote.ssh-config", "--undo")

    assert {ended.stdout for ended in (installed, again, undone)} == {f"{users}\n"}
    assert (once, once.endswith(USERS)) == (twice, True)
    assert "HostName web.tail.test" in once
    assert (users.read_text(), stat.S_IMODE(users.stat().st_mode)) == (USERS, 0o644)


def test_line_ends_stay_what_they_were(inv: Inv, users: Path) -> None:
    """Those of a file that came from Windows, and one that is mixed."""
    content = b"ForwardAgent no\r\nHost other\r\n\tUser \xff\n"
    users.write_bytes(content)
    inv("remote.ssh-config", "--install")
    installed = users.read_bytes()
    inv("remote.ssh-config", "--undo")

    assert (installed.endswith(content), b"HostName web.tail.test\n" in installed) == (True, True)
    assert users.read_bytes() == content


def test_a_file_that_held_nothing_else_goes_with_the_section(inv: Inv, home: Home) -> None:
    assert inv("remote.ssh-config", "--install", "remote.ssh-config", "--undo").exit_status == 0
    assert list((home.home / ".ssh").iterdir()) == []


def test_dry_shows_the_difference_and_writes_nothing(inv: Inv, users: Path, home: Home) -> None:
    shown = inv("--dry", "remote.ssh-config", "--install")

    assert shown.stdout.startswith(f"--- {users}\n+++ {users}\n@@ -1,3 ")
    assert users.read_text() == USERS
    assert inv("--dry", "remote.ssh-config", "--undo").stdout == f"{users} would not change\n"
    assert list(home.state.rglob("*")) == []


def test_git_rsync_and_ansible_get_an_ssh_with_our_configuration(home: Home) -> None:
    given = tools.ssh_environment(settings.load())
    words = ["-F", str(home.state / "platform-manager" / "default" / "ssh_config")]

    assert {name: shlex.split(value) for name, value in given.items()} == {
        "GIT_SSH_COMMAND": ["ssh", *words],
        "RSYNC_RSH": ["ssh", *words],
        "ANSIBLE_SSH_COMMON_ARGS": words,
    }


def test_exec_becomes_the_program(inv: Inv) -> None:
    """With the proxy in its environment, its own exit status and signals, and SIGPIPE as programs expect it."""
    shown = inv("net.exec", "--", "sh", "-c", 'echo $ALL_PROXY $0 "$1"; exit 3', "a b", "$x")
    ignored = inv("net.exec", "--", "grep", "SigIgn", "/proc/self/status")

    assert (shown.exit_status, shown.stdout) == (3, "socks5h://127.0.0.1:1055 a b $x\n")
    assert ignored.stdout == "SigIgn:\t0000000000000000\n"
    assert inv("net.exec", "--", "sh", "-c", "kill -KILL $$").exit_status == 128 + 9


def test_a_chain_goes_on_after_a_program_that_ended_well(inv: Inv) -> None:
    """And ends with the status of one that did not."""
    went_on = inv("net.exec", "net.env", "--", "sh", "-c", "echo $ALL_PROXY")
    ended = inv("net.exec", "net.env", "--", "sh", "-c", "exit 3")

    assert (went_on.exit_status, went_on.stdout.splitlines()[:2]) == (
        0,
        ["socks5h://127.0.0.1:1055", "export ALL_PROXY='socks5h://127.0.0.1:1055';"],
    )
    assert (ended.exit_status, ended.stdout, ended.stderr) == (3, "", "")


def test_a_chain_goes_on_after_a_play(inv: Inv, home: Home) -> None:
    """As CI needs it: `net.up remote.play … net.down`; after a play that failed nothing more runs."""
    playbook = home.folder / "site.yml"
    playbook.touch()
    fake_ansible(home, "exit 0")
    played = inv("remote.play", str(playbook), "remote.hosts")
    fake_ansible(home, "exit 2")
    failed = inv("remote.play", str(playbook), "remote.hosts")

    assert (played.exit_status, "web.tail.test" in played.stdout) == (0, True)
    assert (failed.exit_status, failed.stdout) == (2, "")


def test_a_play_gets_its_words_as_they_were_given(inv: Inv, home: Home) -> None:
    """Neither a file nor a pattern that begins with a dash becomes an option."""
    (home.folder / "-x.yml").touch()
    fake_ansible(home, 'echo "$@"')
    played = inv(
        "--search-root", str(ROOT), "remote.play", "./-x.yml", "--limit=-v", "--", "--check", folder=home.folder
    )

    assert (played.exit_status, played.stdout.split()[-3:]) == (0, ["--limit=-v", "--check", "./-x.yml"])


def fake_ansible(home: Home, script: str) -> None:
    """Put a program into the place of ansible-playbook, in an environment that is up to date."""
    place = home.cache / "platform-manager" / "environments" / "ansible"
    place.parent.parent.mkdir(mode=0o700, exist_ok=True)
    (place / "bin").mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256((ROOT / tools.ANSIBLE_LOCK).read_bytes()).hexdigest()
    (place / environment.STAMP).write_text(f"{digest} {sys.version_info[:2]}")
    program = place / "bin" / "ansible-playbook"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_exec_without_a_program_or_with_one_that_is_not_there(inv: Inv) -> None:
    missing = inv("net.exec", "--", "no-such-program")

    assert (missing.exit_status, missing.stderr) == (
        69,
        "error: cannot start no-such-program: no such file or directory\n",
    )
    assert inv("net.exec").exit_status == 64
    assert inv("--dry", "net.exec", "--", "touch", "a b").stderr == (
        "would run touch 'a b' with ALL_PROXY, HTTP_PROXY, HTTPS_PROXY, NO_PROXY\n"
    )


def test_a_shell_is_a_real_ssh(inv: Inv, home: Home) -> None:
    """A fake one says what it was given."""
    fake_ssh(home)

    entered = inv("remote.shell", "--host=web", environment=with_fake(home))

    configuration = home.state / "platform-manager" / "default" / "ssh_config"
    assert (entered.exit_status, entered.stdout) == (5, f"-F {configuration} -- web\n")
    assert inv("--dry", "remote.shell", "--host=web").stderr == "would log in on web\n"


@pytest.mark.parametrize("name", ["WEB", "Web.Tail.Test", "100.64.0.1"])
def test_a_shell_takes_every_name_that_a_run_takes(inv: Inv, home: Home, name: str) -> None:
    """ssh is given the one that the configuration has a key for."""
    fake_ssh(home)

    assert inv("remote.shell", f"--host={name}", environment=with_fake(home)).stdout.endswith(" -- web\n")


def test_a_shell_on_a_host_that_is_not_there_is_our_failure(inv: Inv, home: Home) -> None:
    """Not ssh's 255."""
    fake_ssh(home)
    unknown = inv("remote.shell", "--host=nosuch", environment=with_fake(home))
    outside = inv("remote.shell", "--host=192.0.2.1", environment=with_fake(home))

    assert (unknown.exit_status, unknown.stdout, unknown.stderr.splitlines()[0]) == (
        69,
        "",
        "error: unknown host nosuch: it is neither in the inventory nor on the tailnet",
    )
    assert (outside.exit_status, outside.stdout) == (69, "")


def test_a_shell_that_fails_ends_the_chain(inv: Inv, home: Home) -> None:
    """As every other command does."""
    fake_ssh(home)
    ended = inv("remote.shell", "--host=web", "net.env", environment=with_fake(home))

    assert (ended.exit_status, "ALL_PROXY" in ended.stdout) == (5, False)


def fake_ssh(home: Home) -> None:
    """Put an ssh in front of the real one that says what it was given, and ends with 5."""
    fake = home.folder / "bin" / "ssh"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@"; exit 5\n')
    fake.chmod(0o755)


def with_fake(home: Home) -> dict[str, str]:
    """Return the PATH on which the fake one is first."""
    return {"PATH": f"{home.folder / 'bin'}:{os.environ['PATH']}"}
