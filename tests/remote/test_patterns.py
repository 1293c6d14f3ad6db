"""Patterns mean what they mean to Ansible, and a bad one is a sentence."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import UsageFailure
from tasks.remote.inventory import Host, Inventory
from tasks.remote.patterns import select

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
        ("elsewhere", "elsewhere"),
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
        ("web,@file", "--hosts: expected @file alone, got '@file' in a longer pattern"),
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
