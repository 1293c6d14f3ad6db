"""The text of the ssh configuration, the published keys, the marked section."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import ConfigurationFailure
from tasks.remote import openssh
from tasks.remote.inventory import Host
from tasks.tailnet import Peer

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBhx1bPzsKDBbJXyFSmHVPMMNkHkYrSFTgR8KqQS9iq1"
PLACE = openssh.Place("lab", "tail.test", ("/py", "-I", "/a b%c"), Path("/s/known_hosts"), Path("/s/published"))
WEB = Peer("web", "web.tail.test", ("100.64.0.1",), online=True)
COMMON = """\
    ProxyCommand /py -I '/a b%%c' '%h' %p
    ProxyUseFdpass yes
    UserKnownHostsFile "/s/known_hosts"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    UpdateHostKeys no
    CheckHostIP no
    KexAlgorithms ^curve25519-sha256
    Ciphers ^aes128-gcm@openssh.com
    ServerAliveInterval 15
"""


def test_a_host_goes_by_all_its_names_and_is_dialled_by_the_one_that_its_key_is_kept_under() -> None:
    host = Host("shop", "web", 2222, "deploy", Path("/k/my key"), peer=WEB)

    assert (
        openssh.configuration([host], PLACE)
        == """\
# Written by `inv remote.ssh-config`, anew each time.
Host shop web web.tail.test 100.64.0.1
    HostName web.tail.test
    Port 2222
    User deploy
    IdentityFile "/k/my key"
    IdentitiesOnly yes
Host *
"""
        + COMMON
    )


def test_a_host_with_published_keys_is_held_against_those_alone() -> None:
    """Elsewhere than on the port that they are for, the project's own count."""
    peer = replace(WEB, host_keys=(ED25519,))
    own = '    UserKnownHostsFile "/s/published"\n'

    assert own in openssh.configuration([Host("web", "web", peer=peer)], PLACE)
    assert own not in openssh.configuration([Host("web", "web", 23, peer=peer)], PLACE)
    assert own not in openssh.configuration([Host("web", "web", peer=WEB)], PLACE)


def test_of_two_hosts_that_are_one_machine_the_first_has_its_names() -> None:
    text = openssh.configuration([Host("shop", "web", peer=WEB), Host("web", "web", port=23, peer=WEB)], PLACE)

    assert [line for line in text.splitlines() if line.startswith("Host ")] == [
        "Host shop web.tail.test 100.64.0.1",
        "Host web",
        "Host *",
    ]


def test_the_names_of_a_machine_mean_its_usual_port_wherever_that_host_stands() -> None:
    text = openssh.configuration([Host("box", "web", port=2222, peer=WEB), Host("web", "web", peer=WEB)], PLACE)

    assert [line for line in text.splitlines() if line.startswith("Host ")] == [
        "Host box",
        "Host web web.tail.test 100.64.0.1",
        "Host *",
    ]


def test_a_section_speaks_of_our_hosts_alone_and_what_follows_is_about_every_host_again() -> None:
    section = openssh.section([Host("web", "web", peer=WEB)], PLACE)

    assert section == (
        "# >>> platform-manager, tailnet lab\nHost web web.tail.test 100.64.0.1\n    HostName web.tail.test\n"
        f"Host web web.tail.test 100.64.0.1 *.tail.test\n{COMMON}Match all\n# <<< platform-manager, tailnet lab\n"
    )


def test_a_section_about_nobody_is_one_that_ssh_reads(tmp_path: Path) -> None:
    """Without a host and without MagicDNS there is no name to speak of."""
    file = tmp_path / "config"
    file.write_text(openssh.section([], replace(PLACE, suffix="")))

    read = subprocess.run(["ssh", "-G", "-T", "-F", file, "web"], capture_output=True, text=True, check=False)

    assert (read.returncode, read.stderr) == (0, "")


def test_a_section_is_put_in_once_and_taken_out_without_a_trace() -> None:
    users = "ForwardAgent no\n\nHost other\n  User me"
    section = openssh.section([Host("web", "web", peer=WEB)], PLACE)
    once = openssh.with_section(users, section, "lab")
    with_another = openssh.with_section(
        once, "# >>> platform-manager, tailnet b\n# <<< platform-manager, tailnet b\n", "b"
    )

    assert once == section + users
    assert openssh.with_section(with_another, section, "lab").count("tailnet lab") == 2
    assert openssh.without_section(openssh.without_section(with_another, "lab"), "b") == users
    assert openssh.without_section(users, "lab") == users


def test_a_section_is_found_again_after_an_editor_wrote_other_line_ends() -> None:
    """Those of the user's own lines stay."""
    section = openssh.section([Host("web", "web", peer=WEB)], PLACE)
    written = f"User me\n{section}Host other\n".replace("\n", "\r\n")

    assert openssh.without_section(written, "lab") == "User me\r\nHost other\r\n"
    assert openssh.with_section(written, section, "lab") == f"{section}User me\r\nHost other\r\n"


def test_half_a_section_is_left_to_its_owner() -> None:
    with pytest.raises(ConfigurationFailure) as failure:
        openssh.without_section("# >>> platform-manager, tailnet lab\nHost x\n", "lab")

    assert str(failure.value) == (
        "our section in the ssh configuration has lost its last line: expected # <<< platform-manager, tailnet lab"
    )


def test_hosts_that_cannot_be_spoken_of_are_named_and_left_out() -> None:
    hosts = [Host("a * b", "web"), Host("odd", "odd", problem="only Ansible can read it"), Host("web", "web")]
    text = openssh.configuration(hosts, PLACE)

    assert openssh.left_out(hosts) == {
        "a * b": "expected a host name or an address, got 'a * b'",
        "odd": "only Ansible can read it",
    }
    assert [line for line in text.splitlines() if line.startswith("Host ")] == ["Host web", "Host *"]


@pytest.mark.parametrize("path", ['/a"b', "/a${HOME}", "/a\\b", "/a\nb"])
def test_a_path_that_would_say_something_else_there_is_left_out_or_refused(path: str) -> None:
    """A host's key is that host's affair alone; the files of all of them are everybody's."""
    hosts = [Host("odd", "odd", identity=Path(path)), Host("web", "web")]
    text = openssh.configuration(hosts, PLACE)

    assert openssh.left_out(hosts) == {"odd": f"the ssh configuration cannot hold the path {path!r}"}
    assert [line for line in text.splitlines() if line.startswith("Host ")] == ["Host web", "Host *"]
    with pytest.raises(ConfigurationFailure):
        openssh.configuration(hosts, replace(PLACE, known_hosts=Path(path)))


def test_published_keys_come_with_what_our_own_known_hosts_revokes() -> None:
    peers = [replace(WEB, host_keys=(ED25519, "nonsense")), Peer("db", "db.tail.test", (), online=True)]

    assert openssh.published_keys(peers, f"web.tail.test {ED25519}\n@revoked * {ED25519} old\n") == (
        f"web.tail.test {ED25519}\n@revoked * {ED25519}\n"
    )


def test_beside_published_keys_stands_what_our_own_says_of_other_ports(tmp_path: Path) -> None:
    """Ansible asks for the machine by its name, whatever the port, and would find only the keys of the usual one."""
    hashed = [_hashed(name, tmp_path) for name in ("web.tail.test", "[web.tail.test]:2200")]
    own = [
        f"[web.tail.test]:2222 {ED25519}",
        f"web.tail.test,[web.tail.test]:23,!*odd* {ED25519}",
        *hashed,
        f"* {ED25519}",
        f"@cert-authority [*.tail.test]:24 {ED25519}",
    ]
    published = openssh.published_keys([replace(WEB, host_keys=(ED25519,))], "\n".join(own))

    assert published.splitlines() == [
        f"web.tail.test {ED25519}",
        f"[web.tail.test]:2222 {ED25519}",
        f"[web.tail.test]:23,!*odd* {ED25519}",
        hashed[1],
        f"@cert-authority [*.tail.test]:24 {ED25519}",
    ]


def _hashed(name: str, folder: Path) -> str:
    """Return a line as ssh-keygen hashes it."""
    file = folder / "hashed"
    file.write_text(f"{name} {ED25519}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", file], check=True, capture_output=True)
    return file.read_text().strip()
