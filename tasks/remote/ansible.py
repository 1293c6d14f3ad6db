"""Owns the reading of Ansible's inventory files: which file is read, and what groups, hosts and variables stand in it.

The layout is Ansible's (YAML inventory, group_vars/, host_vars/); what Ansible only warns about, going on with an empty
inventory, is an error here. How variables win over each other is in `precedence`.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasks.errors import ConfigurationFailure
from tasks.remote import document, names
from tasks.remote.document import Mapping, Node, Scalar

ALL = "all"
GROUP_KEYS = ("hosts", "children", "vars")
YAML_ENDINGS = {".yml", ".yaml", ".json"}
# Ansible's INVENTORY_IGNORE_EXTS (config/base.yml); dotfiles are passed over too.
PASSED_OVER = {".pyc", ".pyo", ".swp", ".bak", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry"}
MOST_HOSTS = 100_000


@dataclass
class Group:
    """One group: its own variables, the hosts and groups named in it, the groups that name it."""

    name: str
    variables: dict[str, Node] = field(default_factory=dict)
    hosts: dict[str, None] = field(default_factory=dict)
    parents: set[str] = field(default_factory=set)


@dataclass
class Source:
    """Everything that the inventory's own files say."""

    groups: dict[str, Group] = field(default_factory=lambda: {ALL: Group(ALL)})
    hosts: dict[str, dict[str, Node]] = field(default_factory=dict)
    unread: list[Path] = field(default_factory=list)


def read(source: Path) -> Source:
    """Read an inventory, a folder or one file; `unread` has the files that are encrypted as a whole."""
    reader = _Reader(Source())
    for file in _inventory_files(source) if source.is_dir() else [source]:
        reader.read_file(file)
    return reader.source


def read_variables(file: Path) -> dict[str, Node] | None:
    """Return the variables of a file of group_vars/ or host_vars/; None when it is encrypted as a whole."""
    if document.is_encrypted(file):
        return None
    return _variables(document.read(file))


def variable_files(folder: Path) -> dict[str, list[Path]]:
    """Return the files of group_vars/ or host_vars/ by the name that they are for, in the order of reading."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_dir():
            files.setdefault(path.name, []).extend(_files_below(path))
        elif _is_read(path):
            files.setdefault(path.stem if path.suffix in YAML_ENDINGS else path.name, []).append(path)
    return files


def _inventory_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if file.is_dir() or not _is_read(file):
            continue
        if file.suffix not in YAML_ENDINGS:
            raise ConfigurationFailure(
                f"{file}: expected an inventory in YAML (.yml), got {file.suffix or 'a file without an ending'}",
                next_step=f"ansible-inventory -i {file} --list --yaml > {file}.yml; mv {file} {file}.orig",
            )
        yield file


def _files_below(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_read(path)]


def _is_read(path: Path) -> bool:
    return not (path.name.startswith(".") or path.name.endswith("~") or path.suffix in PASSED_OVER)


class _Reader:
    """Walks one file after the other and adds what stands there to one `Source`."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def read_file(self, file: Path) -> None:
        if document.is_encrypted(file):
            self.source.unread.append(file)
            return
        for key, node in _entries(document.read(file), "groups at the top"):
            if key.text == "plugin":
                raise document.wrong(key.place, "groups", "the settings of an inventory plugin")
            self._read_group(key, node)

    def _read_group(self, key: Scalar, node: Node) -> Group:
        name = _name(key, "a group's name")
        group = self.source.groups.setdefault(name, Group(name))
        for part, content in _entries(node, f"a mapping of {', '.join(GROUP_KEYS)}"):
            self._read_part(group, part, content)
        return group

    def _read_part(self, group: Group, part: Scalar, content: Node) -> None:
        match part.text:
            case "hosts":
                for key, node in _entries(content, "hosts as keys, such as `web1:`"):
                    self._read_hosts(group, key, node)
            case "children":
                for key, node in _entries(content, "groups as keys, such as `web:`"):
                    if key.text == ALL:
                        raise document.wrong(key.place, "a group", "`all`, which every group is in")
                    self._read_group(key, node).parents.add(group.name)
            case "vars":
                group.variables.update(_variables(content))
            case _:
                raise document.wrong(part.place, _one_of(part.text), names.shown(part.text))

    def _read_hosts(self, group: Group, key: Scalar, node: Node) -> None:
        variables = _variables(node)
        try:
            members = [names.host_name(name) for name in names.expand(_name(key, "a host's name"))]
        except ValueError as error:
            raise ConfigurationFailure(f"{key.place}: {error}") from None
        for name in members:
            group.hosts[name] = None
            self.source.hosts.setdefault(name, {}).update(variables)
        if len(self.source.hosts) > MOST_HOSTS:
            raise document.wrong(key.place, f"at most {MOST_HOSTS} hosts", "more")


def _entries(node: Node | None, expected: str) -> Iterator[tuple[Scalar, Node]]:
    if node is None or document.is_empty(node):
        return iter(())
    if not isinstance(node, Mapping):
        raise document.wrong(node.place, expected, document.kind(node))
    return iter(node.entries.values())


def _variables(node: Node | None) -> dict[str, Node]:
    return {key.text: value for key, value in _entries(node, "variables as keys")}


def _name(key: Scalar, expected: str) -> str:
    meaning = document.meaning(key)
    if meaning:
        raise document.wrong(key.place, expected, f'{meaning}; quote it: "{key.text}"')
    return key.text


def _one_of(text: str) -> str:
    near = difflib.get_close_matches(text, GROUP_KEYS, n=1)
    return near[0] if near else f"one of {', '.join(GROUP_KEYS)}"
