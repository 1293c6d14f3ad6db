"""Owns the choice of hosts by a pattern, in Ansible's language: unions, intersections, exclusions, globs, indices.

`web:db` or `web,db`, `web:&prod`, `web:!web3`, `web*`, `~web[0-9]+`, `web[0]`, `web[0:3]` (both ends included), `all`,
`@file` with a pattern on each line. The order of the parts says nothing: what is added comes first, then `&`, then `!`
(ansible-core, inventory/manager.py). Stricter in one thing: a glob, an expression, an `&` or a `!` that matches nothing
is an error, because a misspelt `!web3` would run on web3. Wider in two: a machine's other names and its addresses mean
it too, and a plain name that nobody has here is a host, whose absence is found out there.
"""

import fnmatch
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import UsageFailure, reason
from tasks.remote import names
from tasks.remote.inventory import Inventory

ALL = "all"
LONGEST = 4096  # characters of one pattern; a longer list belongs into a file
LARGEST_FILE = 1_000_000  # bytes
# A part goes on over a bracket, because a range has a colon and an expression may have both separators.
PART = re.compile(r"(?:\[[^\[\]]*\]|\{[^{}]*\}|\([^()]*\)|[^,:\s\[\]])+")
SEPARATOR = re.compile(r"[,:\s]*")
INDEX = re.compile(r"(?P<rest>.+)\[(?:(?P<only>-?\d{1,6})|(?P<first>\d{1,6})[:-](?P<last>\d{0,6}))\]")
WILD = re.compile(r"[*?\[]")


def select(pattern: str, inventory: Inventory) -> tuple[str, ...]:
    """Return the names of the hosts that the pattern means, each once; a bad pattern is a usage error.

    A plain name that the inventory does not have is added too: whether it is on the tailnet is found out there.
    """
    parts = list(_parts(pattern))
    if not parts:
        raise _bad("expected a pattern of hosts, got an empty one")
    adding, narrowing = _Chooser(inventory), _Chooser(inventory, whole=True)
    added = [part for part in parts if part[0] not in "&!"] or [ALL]
    chosen = dict.fromkeys(name for part in added for name in adding.hosts(part))
    for mark in "&!":
        for part in parts:
            if part[0] == mark:
                chosen = narrowing.narrowed(chosen, part)
    if not chosen:
        raise _bad(f"no host is left of {names.shown(pattern)}")
    return tuple(chosen)


@dataclass(frozen=True)
class _Chooser:
    """Finds the hosts of one part of a pattern.

    Several hosts may be one machine, by other ports or users. Its address means the usual one, or all with `whole`.
    """

    inventory: Inventory
    whole: bool = False

    def hosts(self, part: str) -> Sequence[str]:
        """Return the hosts of a part, in the inventory's order."""
        index = None if part[:1] == "~" else INDEX.fullmatch(part)
        if index is None:
            return self._matching(part)
        found = self._matching(index["rest"])
        if not self.inventory.hosts.keys() >= set(found):
            group, regular = names.shown(index["rest"]), names.shown(f"~{part}")
            raise _bad(f"{names.shown(part)} counts the hosts of {group}, which is no group; {regular} goes by names")
        return _indexed(found, index, part)

    def narrowed(self, chosen: Mapping[str, None], part: str) -> dict[str, None]:
        """Return what an `&` or a `!` leaves of the chosen hosts."""
        found = set(self.hosts(part[1:]))
        if not found & (self.inventory.hosts.keys() | chosen.keys()):
            raise _bad(f"{names.shown(part[1:])} matches no host and no group")
        return {name: None for name in chosen if (name in found) == (part[0] == "&")}

    def _matching(self, part: str) -> Sequence[str]:
        if part == ALL:
            return tuple(self.inventory.hosts)
        expression = _expression(part)
        if expression is None:
            return self._named(part)
        groups = {group for group in self._groups() if expression.match(group)}
        found = [
            host.name
            for host in self.inventory.hosts.values()
            if groups.intersection(host.groups) or expression.match(host.name)
        ]
        if not found:
            raise _bad(f"{names.shown(part)} matches no host and no group")
        return found

    def _named(self, name: str) -> Sequence[str]:
        found = [host.name for host in self.inventory.hosts.values() if name in host.groups]
        if found or name in self.inventory.hosts:
            return found or (name,)
        try:
            plain = names.host_name(name)
        except ValueError as error:
            raise _bad(str(error)) from None
        called = self.inventory.called(plain) or [plain.lower()]
        return called if self.whole else called[:1]

    def _groups(self) -> set[str]:
        return {group for host in self.inventory.hosts.values() for group in host.groups}


def _parts(pattern: str) -> Iterator[str]:
    for part in [pattern] if _is_file(pattern) else _split(pattern):
        if part.startswith("@"):
            for line in _lines(Path(part[1:])):
                yield from map(_no_file, _split(line))
        else:
            yield part


def _is_file(pattern: str) -> bool:
    """Whether all of it is one @file: its name may have separators in it."""
    try:
        return pattern.startswith("@") and Path(pattern[1:]).is_file()
    except OSError:
        return False


def _split(pattern: str) -> Iterator[str]:
    """Yield the parts of a pattern, each without the separators around it."""
    if len(pattern) > LONGEST:
        raise _bad(
            f"expected at most {LONGEST} characters, got {len(pattern)}; put the hosts into a file and use @file"
        )
    for text in pattern.split(",") if _holds_addresses(pattern) else (pattern,):
        yield from [text.strip()] if names.ip_address(text.strip().lstrip("!&")) else _split_at_colons(text)


def _holds_addresses(pattern: str) -> bool:
    # The colons of an IPv6 address separate nothing.
    return any(names.ip_address(text.strip().lstrip("!&")) for text in pattern.split(","))


def _split_at_colons(text: str) -> Iterator[str]:
    position = _after_separator(text, 0)
    while position < len(text):
        match = PART.match(text, position)
        if match is None:
            raise _bad(f"expected brackets in pairs, got {names.shown(text)}")
        yield _checked(match[0])
        position = _after_separator(text, match.end())


def _after_separator(text: str, position: int) -> int:
    match = SEPARATOR.match(text, position)
    return match.end() if match else position


def _checked(part: str) -> str:
    if part in {"!", "&", "~", "!~", "&~"}:
        raise _bad(f"expected a host or group after {names.shown(part)}")
    if part.lstrip("!&").startswith("@") and part[0] != "@":
        raise _bad(f"expected @file to add hosts, got {names.shown(part)}")
    return part


def _no_file(part: str) -> str:
    if part.startswith("@"):
        raise _bad(f"expected hosts and groups in the file, got {names.shown(part)}")
    return part


def _lines(file: Path) -> Iterable[str]:
    try:
        # A device or a pipe might never end.
        if not file.is_file():
            raise _bad(f"there is no file {names.shown(str(file))}")
        if file.stat().st_size > LARGEST_FILE:
            raise _bad(f"{names.shown(str(file))} is larger than {LARGEST_FILE} bytes")
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise _bad(f"cannot read {names.shown(str(file))}: {reason(error)}") from None
    return [line.partition("#")[0] for line in text.splitlines()]


def _expression(part: str) -> re.Pattern[str] | None:
    """Return the part as a regular expression, None when it is a plain name."""
    if part[:1] != "~" and not WILD.search(part):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return re.compile(part[1:] if part[:1] == "~" else fnmatch.translate(part))
    except (re.error, RecursionError, OverflowError) as error:
        raise _bad(f"{names.shown(part)} is no regular expression: {error}") from None


def _indexed(hosts: Sequence[str], index: re.Match[str], part: str) -> Sequence[str]:
    if index["only"] is not None:
        first = int(index["only"])
        last: int | None = first
    else:
        first = int(index["first"])
        last = int(index["last"]) if index["last"] else None
    found = hosts[first : None if last in {None, -1} else (last or 0) + 1]
    if not found:
        raise _bad(f"{names.shown(part)} matches no host: {len(hosts)} to choose from, counted from 0")
    return found


def _bad(what: str) -> UsageFailure:
    return UsageFailure(f"--hosts: {what}", next_step="`inv remote.hosts` lists hosts and groups")
