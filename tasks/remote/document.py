"""Owns the strict reading of a YAML file into places and texts. The only file that knows PyYAML.

YAML's surprises are refused with file, line and column: duplicate keys (the last would win), aliases (a bomb of 400
bytes), foreign tags, deep nesting, huge files. Scalars stay texts: what `no`, `022` or `1:30` mean is decided by who
asks for a value, never silently by YAML 1.1.
"""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import ConfigurationFailure, reason

DEEPEST = 40  # groups within groups; each level takes two
LARGEST = 20_000_000  # bytes; 100 000 hosts with five variables each
VAULT_HEADER = b"$ANSIBLE_VAULT;"
OPAQUE_TAGS = {"!vault": "an ansible-vault secret", "!vault-encrypted": "an ansible-vault secret", "!unsafe": "!unsafe"}
STRING_TAG = "tag:yaml.org,2002:str"
KINDS = {"bool": "a boolean", "int": "a number", "float": "a number", "timestamp": "a date", "null": "nothing"}


class Place(NamedTuple):
    """Where in which file something stands; lines and columns count from 1."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Scalar(NamedTuple):
    """A text as written. `plain` means without quotes; `opaque` says what it is when nobody here can read it."""

    text: str
    plain: bool
    opaque: str
    place: Place


class Sequence(NamedTuple):
    """A list."""

    items: list["Node"]
    place: Place


class Mapping(NamedTuple):
    """A mapping; each entry keeps its key with its place."""

    entries: dict[str, tuple[Scalar, "Node"]]
    place: Place


Node = Scalar | Sequence | Mapping


def read(file: Path) -> Node | None:
    """Return the one document of the file; None for an empty one."""
    return _compose(file, _text(file))


def is_encrypted(file: Path) -> bool:
    """Whether the whole file is an ansible-vault secret."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(VAULT_HEADER)) == VAULT_HEADER
    except OSError:
        return False  # `read` says what is wrong with it


def is_empty(node: Node | None) -> bool:
    """Whether nothing is written there: no document, `key:` alone, or `null`."""
    return node is None or (isinstance(node, Scalar) and node.plain and meaning(node) == "nothing")


def meaning(scalar: Scalar) -> str:
    """Return what YAML 1.1 makes of the text ("a boolean", "a number", "a date", "nothing"), or "" for a text."""
    if not scalar.plain:
        return ""
    return KINDS.get(_plain_tag(scalar.text).removeprefix("tag:yaml.org,2002:"), "")


def kind(node: Node) -> str:
    """Return what the node is, in the words of an error."""
    if isinstance(node, Scalar):
        return meaning(node) or "a text"
    return "a list" if isinstance(node, Sequence) else "a mapping"


def wrong(place: Place, expected: str, got: str) -> ConfigurationFailure:
    """Return the failure for something that is not what it must be."""
    return ConfigurationFailure(f"{place}: expected {expected}, got {got}")


@functools.cache
def _plain_resolver() -> Callable[[str], str]:
    from yaml.nodes import ScalarNode
    from yaml.resolver import Resolver

    resolve: Callable[..., str] = Resolver().resolve
    return lambda text: resolve(ScalarNode, text, (True, False))


def _plain_tag(text: str) -> str:
    return _plain_resolver()(text)


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST:
            raise ConfigurationFailure(f"{file}: expected at most {LARGEST} bytes, got {file.stat().st_size}")
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigurationFailure(f"cannot read {file}", why=reason(error)) from None
    except UnicodeDecodeError as error:
        raise ConfigurationFailure(
            f"{file}: expected UTF-8 text, got the byte {error.object[error.start]:#04x}"
        ) from None


def _compose(file: Path, text: str) -> Node | None:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    composer = _Composer(file, yaml.parse(text, Loader=loader))
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Place(file, mark.line + 1, mark.column + 1) if mark else file
        raise ConfigurationFailure(f"{where}: not valid YAML", why=error.problem or "") from None
    except yaml.reader.ReaderError as error:
        raise ConfigurationFailure(f"{file}: not valid YAML", why=error.reason) from None


class _Composer:
    """Builds nodes from parser events, so that nothing is built that was not looked at first."""

    def __init__(self, file: Path, events: Iterator[Any]) -> None:
        self._file = file
        self._events = events
        self._builders: dict[str, Callable[[Any, int], Node]] = {
            "ScalarEvent": self._scalar,
            "SequenceStartEvent": self._sequence,
            "MappingStartEvent": self._mapping,
        }

    def document(self) -> Node | None:
        root = None
        for event in self._events:
            name = type(event).__name__
            if name in self._builders or name == "AliasEvent":
                root = self._node(event, 1)
            elif name == "DocumentStartEvent" and root is not None:
                raise wrong(self._place(event), "one document", "a second one")
        return root

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401 - PyYAML's events have no stubs worth the name
        place = self._place(event)
        if type(event).__name__ == "AliasEvent":
            raise wrong(place, "a value written out", f"the alias *{event.anchor}")
        if depth > DEEPEST:
            raise wrong(place, f"at most {DEEPEST} levels", "a deeper one")
        if event.tag and event.tag not in OPAQUE_TAGS and event.tag not in {"!", STRING_TAG}:
            raise wrong(place, "a value without a tag", event.tag)
        return self._builders[type(event).__name__](event, depth)

    def _scalar(self, event: Any, _: int) -> Scalar:  # noqa: ANN401
        plain = event.implicit[0] and not event.style
        return Scalar(event.value, plain, OPAQUE_TAGS.get(event.tag or "", ""), self._place(event))

    def _sequence(self, start: Any, depth: int) -> Sequence:  # noqa: ANN401
        found = Sequence([], self._place(start))
        while type(event := next(self._events)).__name__ != "SequenceEndEvent":
            found.items.append(self._node(event, depth + 1))
        return found

    def _mapping(self, start: Any, depth: int) -> Mapping:  # noqa: ANN401
        found = Mapping({}, self._place(start))
        while type(event := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise wrong(key.place, "a text as a key", kind(key))
            if key.text in found.entries:
                first = found.entries[key.text][0].place.line
                raise wrong(key.place, f"each key once (it stands in line {first} too)", repr(key.text))
            found.entries[key.text] = key, self._node(next(self._events), depth + 1)
        return found

    def _place(self, event: Any) -> Place:  # noqa: ANN401
        return Place(self._file, event.start_mark.line + 1, event.start_mark.column + 1)
