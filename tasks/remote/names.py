"""Owns the grammar of what may be dialled and of ranges in names: checked before anything is connected or expanded.

As strict as OpenSSH's `ssh_valid_hostname` and `ssh_valid_ruser`: a name that begins with a dash or holds a blank, a
quote or a dollar sign is no name (CVE-2017-1000117 came through one).
"""

import ipaddress
import re

LONGEST_NAME = 253  # RFC 1035, 255 octets on the wire
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
USER = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.@+-]{0,63}\$?")
PORT = re.compile(r"[1-9][0-9]{0,4}")
HIGHEST_PORT = 65535
SSH_PORT = 22
RANGE = re.compile(r"\[([0-9]+|[A-Za-z]):([0-9]+|[A-Za-z])(?::([0-9]+))?\]")
MOST_HOSTS = 10_000
LONGEST_RANGE = 512  # characters, brackets included


def host_name(text: str) -> str:
    """Return the name or address as it is dialled, in ASCII; ValueError says what a host's name looks like."""
    address = ip_address(text)
    if address:
        return address
    name = _to_ascii(text).rstrip(".")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"expected a host name of at most {LONGEST_NAME} characters, got {len(name)}")
    labels = name.split(".")
    if not all(LABEL.fullmatch(label) for label in labels) or _is_almost_an_address(labels):
        raise ValueError(f"expected a host name or an address, got {shown(text)}")
    return name


def ip_address(text: str) -> str:
    """Return the IPv4 or IPv6 address in its one usual spelling, or an empty text when it is none."""
    try:
        # A scope such as %eth0 means an interface of this machine, which the tailnet does not know.
        return "" if "%" in text else str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def user_name(text: str) -> str:
    """Return the user's name; ValueError says what one looks like."""
    if USER.fullmatch(text) is None:
        raise ValueError(f"expected a user name, got {shown(text)}")
    return text


def port(text: str) -> int:
    """Return the port; ValueError for anything but a plain decimal number from 1 to 65535."""
    if PORT.fullmatch(text) is None or int(text) > HIGHEST_PORT:
        raise ValueError(f"expected a port from 1 to {HIGHEST_PORT}, got {shown(text)}")
    return int(text)


def expand(text: str) -> list[str]:
    """Return the names meant by `web[01:20]`, `db[a:f]`, `n[0:9:3]` or several of them; a plain name means itself.

    The rules are Ansible's (both ends equally long when the first has leading zeros, the last one included); where
    Ansible only warns and goes on with an empty inventory, this is a ValueError.
    """
    match = RANGE.search(text)
    if match is None:
        if "[" in text or "]" in text:
            raise ValueError(f"expected a range such as [01:20] or [a:f], got {shown(text)}")
        return [text]
    if len(text) > LONGEST_RANGE:
        raise ValueError(f"expected a range of at most {LONGEST_RANGE} characters, got {len(text)}")
    middles, rest = _members(match), expand(text[match.end() :])
    if len(middles) * len(rest) > MOST_HOSTS:
        raise ValueError(f"expected a range of at most {MOST_HOSTS} hosts, got {shown(text)}")
    return [text[: match.start()] + middle + tail for middle in middles for tail in rest]


def shown(text: str) -> str:
    """Return the text quoted, with control characters escaped, and cut where it becomes tiresome."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")


def _members(match: re.Match[str]) -> list[str]:
    first, last, step = match[1], match[2], int(match[3] or 1)
    if first.isdecimal() != last.isdecimal() or step < 1:
        raise ValueError(f"expected a range from a number to a number or a letter to a letter, got {shown(match[0])}")
    if first.isdecimal():
        return _numbers(match[0], first, last, step)
    if first > last or first.isupper() != last.isupper():
        raise ValueError(f"expected a range that counts up, got {shown(match[0])}")
    return [chr(code) for code in range(ord(first), ord(last) + 1, step)]


def _numbers(text: str, first: str, last: str, step: int) -> list[str]:
    padded = first.startswith("0") and len(first) > 1
    if padded and len(first) != len(last):
        raise ValueError(f"expected both ends equally long, got {shown(text)}")
    if max(len(first), len(last)) > 9 or int(first) > int(last):
        raise ValueError(f"expected a range that counts up, got {shown(text)}")
    if (int(last) - int(first)) // step >= MOST_HOSTS:
        raise ValueError(f"expected a range of at most {MOST_HOSTS} hosts, got {shown(text)}")
    width = len(first) if padded else 0
    return [str(number).zfill(width) for number in range(int(first), int(last) + 1, step)]


def _to_ascii(text: str) -> str:
    if text.isascii():
        return text
    try:
        return text.encode("idna").decode()
    except UnicodeError:
        raise ValueError(f"expected a host name or an address, got {shown(text)}") from None


def _is_almost_an_address(labels: list[str]) -> bool:
    # 010.0.0.1, 1.2.3, 0x7f.1 and 2130706433: C libraries read them as addresses of their own choosing.
    return labels[-1].isdecimal() or labels[-1].lower().startswith("0x")
