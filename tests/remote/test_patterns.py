"""Patterns mean what they mean to Ansible, and a bad one is a sentence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UsageFailure
from tasks.remote.inventory import Host, Inventory
from tasks.remote.patterns import select
from tasks.tailnet import Peer

INVENTORY = Inventory(
    {
        name: Host(name, name, groups=groups)
        for name, groups in {
            "web1": ("web", "prod"),
            "web2": ("web", "prod"),
            "web3": ("web", "staging"),
            "db1": ("db", "prod"),
            "db2": ("db", "staging"),
            "lone": ("ungrouped",),
        }.items()
    }
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("all", "web1 web2 web3 db1 db2 lone"),
        ("*", "web1 web2 web3 db1 db2 lone"),
        ("web1", "web1"),
        ("web", "web1 web2 web3"),
        ("db:web", "db1 db2 web1 web2 web3"),
        ("db,web", "db1 db2 web1 web2 web3"),
        ("web1, db1 ,web1", "web1 db1"),
        ("web:&prod", "web1 web2"),
        ("web:!prod", "web3"),
        ("!prod:web", "web3"),
        ("!web", "db1 db2 lone"),
        ("&staging", "web3 db2"),
        ("web,db,&staging,!web3", "db2"),
        ("web*", "web1 web2 web3"),
        ("web?:!~.*[12]$", "web3"),
        ("web[!3]", "web1 web2"),
        ("*1", "web1 db1"),
        ("~(web|db)2", "web2 db2"),
        ("~(?:web|db)[12]$:&prod", "web1 web2 db1"),
        ("~web\\d{1,2}", "web1 web2 web3"),
        ("p*", "web1 web2 db1"),
        ("web[0]", "web1"),
        ("web[-1]", "web3"),
        ("web[0:1]", "web1 web2"),
        ("web[0-1]", "web1 web2"),
        ("web[1:]", "web2 web3"),
        ("web[1:]:!web[2]", "web2"),
        ("WEB1,web1", "web1"),
        ("web:!Web3", "web1 web2"),
        ("elsewhere", "elsewhere"),
        ("a.test,A.test:!a.Test:web1", "web1"),
        ("10.0.0.7", "10.0.0.7"),
        ("fd7a::7,web1", "fd7a::7 web1"),
        ("web1.tail.test:db1", "web1.tail.test db1"),
    ],
)
def test_a_pattern_chooses_as_ansible_does(pattern: str, expected: str) -> None:
    """In the order of what is added, each host once."""
    assert " ".join(select(pattern, INVENTORY)) == expected


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "--hosts: expected a pattern of hosts, got an empty one"),
        (" , :", "--hosts: expected a pattern of hosts, got an empty one"),
        ("web[", "--hosts: expected brackets in pairs, got 'web['"),
        ("!", "--hosts: expected a host or group after '!'"),
        ("web:!wbe*", "--hosts: 'wbe*' matches no host and no group"),
        ("web[7]", "--hosts: 'web[7]' matches no host: 3 to choose from, counted from 0"),
        (
            "web0[1-5]",
            "--hosts: 'web0[1-5]' counts the hosts of 'web0', which is no group; '~web0[1-5]' goes by names",
        ),
        ("web:!web", "--hosts: no host is left of 'web:!web'"),
        ("-oProxyCommand=x", "--hosts: expected a host name or an address, got '-oProxyCommand=x'"),
        ("web;reboot", "--hosts: expected a host name or an address, got 'web;reboot'"),
        ("~(", "--hosts: '~(' is no regular expression: missing ), unterminated subpattern at position 0"),
        ("web:!web4", "--hosts: 'web4' matches no host and no group"),
        ("web:!databases", "--hosts: 'databases' matches no host and no group"),
        ("web:&stagin", "--hosts: 'stagin' matches no host and no group"),
        ("web,!@file", "--hosts: expected @file to add hosts, got '!@file'"),
        ("@/no/such", "--hosts: there is no file '/no/such'"),
        ("a" * 5000, "--hosts: expected at most 4096 characters, got 5000; put the hosts into a file and use @file"),
    ],
)
def test_a_bad_pattern_is_a_usage_error(pattern: str, said: str) -> None:
    """It says what was expected."""
    with pytest.raises(UsageFailure) as failed:
        select(pattern, INVENTORY)

    assert failed.value.what == said


def test_a_file_has_a_pattern_on_each_line(tmp_path: Path) -> None:
    """As `failed.txt` of a run before has; what follows a # says nothing."""
    file = tmp_path / "failed.txt"
    file.write_text("web1\n\n# because\ndb:!db2  # the spare one\n")

    assert select(f"@{file}", INVENTORY) == ("web1", "db1")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("100.64.0.3,machine.tail.test,plain,Machine", "plain"),
        ("all:!100.64.0.3", "db"),
        ("all:!machine.tail.test.", "db"),
        ("all:&machine", "admin plain"),
        ("fd7a::3", "plain"),
        ("10.1.0.9:!admin", "db"),
        ("db:!10.1.0.9:plain", "plain"),
    ],
)
def test_other_names_and_addresses_of_a_machine_mean_it(pattern: str, expected: str) -> None:
    """Added, it is the host on the usual port; excluded, none of its hosts is left."""
    machine = Peer("machine", "machine.tail.test", ("100.64.0.3", "fd7a::3"), online=True)
    hosts = (
        Host("admin", "machine", port=2222, peer=machine),
        Host("plain", "machine", peer=machine),
        Host("db", "10.1.0.9"),
    )

    assert " ".join(select(pattern, Inventory({host.name: host for host in hosts}))) == expected


def test_a_file_is_a_part_like_others(tmp_path: Path) -> None:
    """As for Ansible's `--limit`; alone its name may have any characters."""
    file, odd = tmp_path / "failed.txt", tmp_path / "a, b:c"
    file.write_text("web1\nweb2\n")
    odd.write_text("db\n")

    assert select(f"@{file}:lone:!web2", INVENTORY) == ("web1", "lone")
    assert select(f"@{odd}", INVENTORY) == ("db1", "db2")


def test_a_file_names_no_other_file(tmp_path: Path) -> None:
    """It would be a file of somebody else's choosing."""
    file = tmp_path / "hosts"
    file.write_text("@/etc/hosts\n")

    with pytest.raises(UsageFailure, match="expected hosts and groups in the file, got '@/etc/hosts'"):
        select(f"@{file}", INVENTORY)


def test_a_file_that_is_no_text_is_a_usage_error(tmp_path: Path) -> None:
    """It is not decoded into something."""
    file = tmp_path / "hosts"
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(UsageFailure, match="it is not UTF-8 text"):
        select(f"@{file}", INVENTORY)


@settings(max_examples=2000, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("webdbal0123[]:,!&~*?()|{}@-. ", max_size=30)))
def test_no_pattern_ends_in_a_traceback(pattern: str) -> None:
    """It chooses hosts or is a usage error."""
    try:
        assert select(pattern, INVENTORY)
    except UsageFailure as failure:
        assert failure.what.startswith("--hosts: ")
