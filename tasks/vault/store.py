"""Owns what a vault is: items whose values are secrets, references without values, the protocol of every store."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tasks.errors import Busy, ConfigurationFailure, Unavailable
from tasks.secret import Secret

HISTORY_KEPT = 5  # old passwords of an item; Bitwarden's own number (cipher.service.ts, 2026.6.0)
NAMES_SHOWN = 10
NOTHING = Secret("")


@dataclass(frozen=True)
class Field:
    """One custom field of an item; `hidden` ones are masked in Bitwarden's own programs."""

    name: str
    value: Secret
    hidden: bool = False


@dataclass(frozen=True)
class Item:
    """One login of a vault; what it lacks is an empty secret.

    `id` and `revision` are the store's and empty for an item that is not stored yet; the revision changes with each
    write. `history` has the replaced passwords, the newest first, and is the store's to keep. `document` is the item
    as the store has it (JSON), so that a write returns what we have no name for as it was.
    """

    name: str
    password: Secret = NOTHING
    username: Secret = NOTHING
    notes: Secret = NOTHING
    fields: tuple[Field, ...] = ()
    history: tuple[Secret, ...] = ()
    id: str = ""
    revision: str = ""
    document: Secret = NOTHING


@dataclass(frozen=True)
class Ref:
    """Which item, and in which revision; never a value."""

    id: str
    name: str
    revision: str


class State(StrEnum):
    """How a vault is found: ready to be read, not made yet, or closed to us in one of two ways."""

    OPEN = "open"
    MISSING = "missing"
    LOCKED = "locked"
    SIGNED_OUT = "signed out"


@dataclass(frozen=True)
class Trouble:
    """What is known to go wrong, or did already without a failure, and what to do; `grave` if it does harm."""

    what: str
    next_step: str
    grave: bool = False


@dataclass(frozen=True)
class Status:
    """How a vault is and where it lies; its text is what a person reads."""

    state: State
    where: str
    items: int
    troubles: tuple[Trouble, ...] = ()

    def __str__(self) -> str:
        if self.state is State.MISSING:
            return f"not made yet; the first `inv vault.set NAME` makes it at {self.where}"
        if self.state in {State.LOCKED, State.SIGNED_OUT}:
            return f"{self.state} ({self.where})"
        return f"{self.state}, {self.items} {'item' if self.items == 1 else 'items'} in {self.where}"


class Conflict(Busy):
    """The item is not in the revision that a write was to replace: somebody else wrote; nothing was changed."""

    cause = "conflict"


class NoSuchItem(Unavailable):
    """The vault has no item of that name."""

    cause = "no-item"


class Store(Protocol):
    """A vault. Names match exactly, never in part; every method fails rather than guess."""

    @property
    def name(self) -> str:
        """The kind, as VAULT has it."""
        ...

    @property
    def writable(self) -> bool:
        """Whether `put` can work at all."""
        ...

    def status(self) -> Status:
        """Look at the vault; one that cannot be opened is a failure."""
        ...

    def list(self) -> Sequence[Ref]:
        """Return every item's reference."""
        ...

    def get(self, name: str) -> Item:
        """Return the item of that name or id; a missing one is NoSuchItem, two of one name are refused."""
        ...

    def put(self, item: Item, *, expect: str | None) -> Ref:
        """Write the item if it is still in the revision `expect` (None: it must not exist), else raise Conflict.

        A password that is replaced goes into the item's history.
        """
        ...

    def export(self) -> Secret:
        """Return everything as one JSON document in the layout of Bitwarden's unencrypted export."""
        ...


def pick(refs: Sequence[Ref], name: str, vault: str) -> Ref:
    """Return the one reference of exactly that name, else of that id."""
    found = [ref for ref in refs if ref.name == name] or [ref for ref in refs if ref.id == name]
    if not found:
        raise no_such_item(name, [ref.name for ref in refs], vault)
    if len(found) > 1:
        raise ConfigurationFailure(
            f"the {vault} vault has {len(found)} items named {name!r}",
            why="their ids are " + ", ".join(ref.id for ref in found),
            next_step="rename all but one, or give an id in the name's place",
            cause="ambiguous",
        )
    return found[0]


def no_such_item(
    name: str, names: Sequence[str], vault: str, next_step: str = "`inv vault.list` shows all names"
) -> NoSuchItem:
    """Return the failure that says which names there are, those like the wanted one first."""
    from difflib import SequenceMatcher

    def likeness(other: str) -> float:
        return SequenceMatcher(None, name.casefold(), other.casefold()).ratio()

    shown = sorted(names, key=likeness, reverse=True)[:NAMES_SHOWN]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    has = "it has " + ", ".join(repr(each) for each in shown) + more if shown else "it is empty"
    return NoSuchItem(f"the {vault} vault has no item {name!r}", why=has, next_step=next_step)
