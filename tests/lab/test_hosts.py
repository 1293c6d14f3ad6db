"""The lab's machines: their names, how they answer, and what is said when they cannot join."""

import os
from pathlib import Path

import pytest

from tasks.errors import Unavailable, UsageFailure
from tasks.lab.hosts import LabHost, Machine, check_names, find_sshd, group_of, make_key
from tasks.secret import Secret
from tests.conftest import Home

KEY = Secret("hskey-auth-canary")


def machine(home: Home, *, tailscale: str = "/bin/false", sshd: str | None = "/usr/sbin/sshd") -> Machine:
    """Return what the hosts of one lab share."""
    folders = home.state / "lab", home.runtime
    return Machine(Path(tailscale), Path("/bin/true"), Path(sshd) if sshd else None, *folders, dict(os.environ))


@pytest.mark.parametrize("names", [("web1",), ("web1", "db1"), ("a-b-c", "x2")])
def test_names_that_are_taken(names: tuple[str, ...]) -> None:
    check_names(names)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("Web1",), "--hosts: expected small letters, digits and dashes, got 'Web1'"),
        (("-x",), "--hosts: expected small letters, digits and dashes, got '-x'"),
        (("a/b",), "--hosts: expected small letters, digits and dashes, got 'a/b'"),
        (("web1-",), "--hosts: expected small letters, digits and dashes, got 'web1-'"),
        (("a" * 33,), f"--hosts: expected small letters, digits and dashes, got '{'a' * 33}'"),
        ((), "--hosts: expected at least one name, and each once"),
        (("web1", "web1"), "--hosts: expected at least one name, and each once"),
    ],
)
def test_names_that_are_not(names: tuple[str, ...], complaint: str) -> None:
    with pytest.raises(UsageFailure) as caught:
        check_names(names)

    assert caught.value.what == complaint


@pytest.mark.parametrize(("name", "group"), [("web1", "web"), ("db-12", "db"), ("plain", "plain"), ("7", "7")])
def test_a_hosts_group_is_its_name_without_the_number(name: str, group: str) -> None:
    assert group_of(name) == group


def test_db1_always_shows_tailscale_ssh(home: Home) -> None:
    """The others do where there is no sshd."""
    with_sshd, without = machine(home), machine(home, sshd=None)

    assert [LabHost(name, with_sshd).runs_sshd for name in ("web1", "db1")] == [True, False]
    assert not LabHost("web1", without).runs_sshd
    assert LabHost("web1", without).host_key() is None
    assert LabHost("web1", without).tag == "tag:web"


def test_sshd_is_found_where_a_users_path_does_not_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And is not used without ssh-keygen, which makes its host key."""
    for name in ("sshd", "ssh-keygen"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_sshd() == tmp_path / "sshd"

    (tmp_path / "ssh-keygen").unlink()
    assert find_sshd() is None


def test_a_key_pair_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keygen = tmp_path / "ssh-keygen"
    keygen.write_text('#!/bin/sh\necho "$@" >>"$HOME/calls"\nfor last; do :; done\necho key >"$last"\n')
    keygen.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    for _ in range(2):
        make_key(tmp_path / "key")

    calls = Path(os.environ["HOME"], "calls").read_text().splitlines()
    assert calls == [f"-q -t ed25519 -N  -C lab -f {tmp_path}/key"]


def test_a_key_that_cannot_be_made_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keygen = tmp_path / "ssh-keygen"
    keygen.write_text("#!/bin/sh\necho no entropy >&2\nexit 1\n")
    keygen.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(Unavailable) as caught:
        make_key(tmp_path / "key")

    assert str(caught.value) == "ssh-keygen made no key: no entropy"


def test_a_host_that_does_not_join_says_why(home: Home) -> None:
    """In its program's last words; the key is in nobody's command line."""
    tailscale = home.folder / "tailscale"
    tailscale.write_text('#!/bin/sh\necho "$@" >>"$HOME/calls"\necho backend error: no >&2\nexit 1\n')
    tailscale.chmod(0o755)
    with pytest.raises(Unavailable) as caught:
        LabHost("web1", machine(home, tailscale=str(tailscale))).log_in("http://127.0.0.1:9", KEY)

    assert str(caught.value) == "web1 did not join the lab: backend error: no"
    call = (home.home / "calls").read_text()
    assert f"--socket={home.runtime}/host-web1.sock up --timeout=20s --login-server=http://127.0.0.1:9" in call
    assert KEY.reveal() not in call


def test_a_host_whose_daemon_is_not_there_yet_is_tried_again(home: Home) -> None:
    """It was started a moment ago."""
    tailscale = home.folder / "tailscale"
    script = (
        '[ -e "$HOME/second" ] && exit 0; touch "$HOME/second"; '
        'echo "failed to connect to local tailscaled; is it running?" >&2; exit 1'
    )
    tailscale.write_text(f"#!/bin/sh\n{script}\n")
    tailscale.chmod(0o755)
    LabHost("db1", machine(home, tailscale=str(tailscale))).log_in("http://127.0.0.1:9", KEY)

    assert (home.home / "second").exists()
