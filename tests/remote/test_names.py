"""What is a name: OpenSSH's strictness, Ansible's ranges, and nothing that a shell or an option could see."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.remote import names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web1", "web1"),
        ("web1.tail.test", "web1.tail.test"),
        ("web1.tail.test.", "web1.tail.test"),
        ("under_score", "under_score"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("100.64.0.1", "100.64.0.1"),
        ("fd7a:115c:a1e0::0:1", "fd7a:115c:a1e0::1"),
    ],
)
def test_a_name_or_an_address_is_taken_in_ascii(text: str, name: str) -> None:
    """The final dot goes, an address has one spelling."""
    assert names.host_name(text) == name


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "-oProxyCommand=id",
            "web1-",
            "a b",
            "a;b",
            "$(id)",
            "`id`",
            "user@web1",
            "web1:22",
            "[web1]",
            "a..b",
        ),
        *(
            "a/b",
            "web1\n",
            "\x00",
            "1.2.3",
            "010.0.0.1",
            "2130706433",
            "0x7f.0x1",
            "fe80::1%eth0",
            "a" * 64,
            "a.é\u2028",
        ),
    ],
)
def test_anything_else_is_no_name(text: str) -> None:
    """A dash in front would be an option, a number an address of the C library's choosing."""
    with pytest.raises(ValueError, match=r"^expected a host name"):
        names.host_name(text)


def test_a_name_of_300_letters_is_refused() -> None:
    """The domain name system ends at 253."""
    with pytest.raises(ValueError, match=r"^expected a host name of at most 253 characters, got 299$"):
        names.host_name(".".join(["abcdefghi"] * 30))


@given(st.text(max_size=300) | st.from_regex(r"[-\w.:;$@\[\] ]{1,40}", fullmatch=True))
def test_no_text_passes_that_is_not_plain(text: str) -> None:
    """Whatever comes out holds letters, digits, dots, dashes, colons and underscores, and begins with no dash."""
    try:
        name = names.host_name(text)
    except ValueError:
        return

    assert re.fullmatch(r"[A-Za-z0-9_:.][A-Za-z0-9_.:-]*", name)


@pytest.mark.parametrize("text", ["deploy", "web-admin", "svc$", "first.last", "me@corp.example"])
def test_a_user_name_is_taken(text: str) -> None:
    """The characters that OpenSSH and directories allow."""
    assert names.user_name(text) == text


@pytest.mark.parametrize("text", ["", "-l", "a b", "a;b", "$HOME", "a'b", "x" * 70])
def test_other_users_are_refused(text: str) -> None:
    """A user's name reaches a server's log and shell."""
    with pytest.raises(ValueError, match=r"^expected a user name"):
        names.user_name(text)


def test_a_port_is_a_plain_number() -> None:
    """022 would be 18 in YAML 1.1."""
    assert (names.port("1"), names.port("65535")) == (1, 65535)
    for text in ("0", "022", "65536", "99999", "-1", "2 2", "ssh", "٢"):
        with pytest.raises(ValueError, match=r"^expected a port from 1 to 65535"):
            names.port(text)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("web", ["web"]),
        ("web[1:3]", ["web1", "web2", "web3"]),
        ("web[08:10].x", ["web08.x", "web09.x", "web10.x"]),
        ("[a:c]", ["a", "b", "c"]),
        ("n[1:9:4]", ["n1", "n5", "n9"]),
        ("r[1:2]-[x:y]", ["r1-x", "r1-y", "r2-x", "r2-y"]),
        ("w[9:11]", ["w9", "w10", "w11"]),
    ],
)
def test_a_range_is_expanded_as_ansible_does(text: str, expanded: list[str]) -> None:
    """Both ends belong to it; leading zeros stay."""
    assert names.expand(text) == expanded


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("w[3:1]", "expected a range that counts up, got '[3:1]'"),
        ("w[c:a]", "expected a range that counts up, got '[c:a]'"),
        ("w[01:300]", "expected both ends equally long, got '[01:300]'"),
        ("w[1:z]", "expected a range from a number to a number or a letter to a letter, got '[1:z]'"),
        ("w[1:5:0]", "expected a range from a number to a number or a letter to a letter, got '[1:5:0]'"),
        ("w[1]", "expected a range such as [01:20] or [a:f], got 'w[1]'"),
        ("w[1:99999]", "expected a range of at most 10000 hosts, got '[1:99999]'"),
        ("[1:999][1:999]", "expected a range of at most 10000 hosts, got '[1:999][1:999]'"),
        ("[1:2]" * 200, "expected a range of at most 512 characters, got 1000"),
    ],
)
def test_a_range_that_is_none_is_an_error(text: str, error: str) -> None:
    """Ansible only warns about some of them, and goes on without the hosts."""
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        names.expand(text)


@given(st.from_regex(r"[a-z\[\]:0-9]{0,40}", fullmatch=True))
def test_no_range_explodes(text: str) -> None:
    """At most ten thousand names, or a ValueError."""
    try:
        assert len(names.expand(text)) <= names.MOST_HOSTS
    except ValueError:
        return
