"""Owns the way up: the items of one vault created in another, none overwritten, to be run again where it stopped."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.secret import Secret
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


def create(source: Store, target: Store, ref: Ref) -> Ref:
    """Create one item in the other vault; Conflict if it has one of that name by now."""
    item: Item = source.get(ref.id)
    return target.put(replace(item, id="", revision="", document=_without_place(item)), expect=None)


def _without_place(item: Item) -> Secret:
    """Return the item's document without what belongs to the vault that it comes from."""
    if item.document == NOTHING:
        return NOTHING
    document = json.loads(item.document.reveal())
    return Secret(json.dumps({**document, "id": None, "folderId": None, "revisionDate": None, "creationDate": None}))


def names(refs: Sequence[Ref]) -> str:
    """Return the names for people, in quotes."""
    return ", ".join(repr(ref.name) for ref in refs)
