"""Owns the way up: the items of one vault created in another, none overwritten, to be run again where it stopped."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tasks.errors import Busy
from tasks.secret import Secret
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.store import NOTHING, Item, Ref, Store


@dataclass(frozen=True)
class Plan:
    """What would be created, and what the other vault has already by name."""

    missing: tuple[Ref, ...]
    present: tuple[Ref, ...]


def plan(source: Store, target: Store) -> Plan:
    """Compare the two vaults by the items' names."""
    names = {ref.name for ref in target.list()}
    refs = source.list()
    return Plan(tuple(ref for ref in refs if ref.name not in names), tuple(ref for ref in refs if ref.name in names))


def create_all(source: Store, target: BitwardenStore, refs: Sequence[Ref], tell: Callable[[str], None]) -> None:
    """Create the items in the other vault and tell of each; it goes on where it stopped when it is run again."""
    told: list[str] = []

    def tell_and_count(line: str) -> None:
        told.append(line)
        tell(line)

    try:
        target.create((_unplaced(source.get(ref.id)) for ref in refs), tell_and_count)
    except Busy as failure:
        if failure.cause != "rate-limited":
            raise
        raise Busy(
            failure.what,
            why=f"{failure.why}; {len(told)} of {len(refs)} items are there",
            next_step="run it again in a minute: it goes on with the others",
            cause=failure.cause,
        ) from None


def _unplaced(item: Item) -> Item:
    return replace(item, id="", revision="", document=_without_place(item))


def _without_place(item: Item) -> Secret:
    """Return the item's document without what belongs to the vault that it comes from."""
    if item.document == NOTHING:
        return NOTHING
    document = json.loads(item.document.reveal())
    return Secret(json.dumps({**document, "id": None, "folderId": None, "revisionDate": None, "creationDate": None}))


def names(refs: Sequence[Ref]) -> str:
    """Return the names for people, in quotes."""
    return ", ".join(repr(ref.name) for ref in refs)
