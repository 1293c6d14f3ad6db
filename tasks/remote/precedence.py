"""Owns the merging of variables: which groups a host is in, and which value wins, in Ansible's order.

The order, weakest first (ansible-core, VARIABLE_PRECEDENCE): `all` in the inventory, its other groups by depth,
priority and name, group_vars/all, group_vars/ of the other groups, the host in the inventory, host_vars/.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import ConfigurationFailure
from tasks.remote import ansible, document
from tasks.remote.ansible import ALL, Source
from tasks.remote.document import Node, Scalar

UNGROUPED = "ungrouped"
PRIORITY = "ansible_group_priority"
USUAL_PRIORITY = 1


@dataclass(frozen=True)
class Entry:
    """One host as the inventory has it: its groups from the widest to the narrowest, its variables merged."""

    name: str
    groups: tuple[str, ...]
    variables: Mapping[str, Node]


@dataclass(frozen=True)
class Merged:
    """Every host, in the order of the files; `unread` has the files that are encrypted as a whole."""

    entries: tuple[Entry, ...]
    unread: tuple[Path, ...]


def merge(source: Source, folder: Path) -> Merged:
    """Merge what the inventory says with the group_vars/ and host_vars/ beside it."""
    merger = _Merger(source, folder)
    entries = tuple(merger.entry(name) for name in source.hosts)
    return Merged(entries, tuple(source.unread))


class _Merger:
    """Remembers what many hosts share: the merged variables of each set of groups."""

    def __init__(self, source: Source, folder: Path) -> None:
        self._source = source
        self._groups = source.groups
        self._depths = depths({name: group.parents for name, group in source.groups.items()})
        self._group_files = ansible.variable_files(folder / "group_vars")
        self._host_files = ansible.variable_files(folder / "host_vars")
        self._direct = self._direct_groups()
        self._read: dict[Path, dict[str, Node]] = {}
        self._shared: dict[frozenset[str], tuple[tuple[str, ...], dict[str, Node]]] = {}

    def entry(self, name: str) -> Entry:
        groups, shared = self._of_groups(frozenset(self._direct[name] - {ALL}))
        own = {**shared, **self._source.hosts[name], **self._from(self._host_files.get(name, ()))}
        return Entry(name, groups, own)

    def _direct_groups(self) -> dict[str, set[str]]:
        direct: dict[str, set[str]] = {}
        for group in self._groups.values():
            for name in group.hosts:
                direct.setdefault(name, set()).add(group.name)
        return direct

    def _of_groups(self, direct: frozenset[str]) -> tuple[tuple[str, ...], dict[str, Node]]:
        if direct not in self._shared:
            ordered = sorted(self._with_ancestors(direct), key=self._rank)
            variables = dict(self._groups[ALL].variables)
            for name in ordered:
                variables |= self._groups[name].variables
            for name in (ALL, *(ordered or [UNGROUPED])):
                variables |= self._from(self._group_files.get(name, ()))
            self._shared[direct] = tuple(ordered or [UNGROUPED]), variables
        return self._shared[direct]

    def _with_ancestors(self, direct: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(direct)
        while waiting:
            name = waiting.pop()
            if name not in found and name != ALL:
                found.add(name)
                waiting += self._groups[name].parents
        return found

    def _rank(self, name: str) -> tuple[int, int, str]:
        node = self._groups[name].variables.get(PRIORITY)
        return self._depths[name], USUAL_PRIORITY if node is None else _priority(node), name

    def _from(self, files: Iterable[Path]) -> dict[str, Node]:
        variables: dict[str, Node] = {}
        for file in files:
            if file not in self._read:
                content = ansible.read_variables(file)
                if content is None:
                    self._source.unread.append(file)
                self._read[file] = content or {}
            variables |= self._read[file]
        return variables


def depths(parents: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the longest way from the top to each group; a group within itself is an error that names the circle."""
    children: dict[str, list[str]] = {}
    for name in parents:
        for parent in parents[name]:
            children.setdefault(parent, []).append(name)
    missing = {name: len(above) for name, above in parents.items()}
    ready = [name for name, count in missing.items() if count == 0]
    found = {name: 0 if name == ALL else 1 for name in ready}
    for name in ready:  # grows while it is walked
        for child in children.get(name, ()):
            found[child] = max(found.get(child, 1), found[name] + 1)
            missing[child] -= 1
            if missing[child] == 0:
                ready.append(child)
    left = {name for name, count in missing.items() if count}
    if left:
        raise ConfigurationFailure("the inventory's groups go in a circle", why=" → ".join(_circle(left, parents)))
    return found


def _circle(left: set[str], parents: Mapping[str, set[str]]) -> list[str]:
    path = [min(left)]
    while (above := min(parents[path[-1]] & left)) not in path:
        path.append(above)
    return [above, *reversed(path[path.index(above) :])]


def _priority(node: Node) -> int:
    if not isinstance(node, Scalar) or not node.text.lstrip("-").isdecimal() or len(node.text) > 9:
        raise document.wrong(node.place, f"a whole number for {PRIORITY}", document.kind(node))
    return int(node.text)
