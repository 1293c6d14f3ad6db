"""Owns the save of one password: read the item, replace what was read, again if somebody else wrote meanwhile."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tasks.secret import Secret
from tasks.vault.acceptance import is_acceptance
from tasks.vault.layout import document_of
from tasks.vault.store import HISTORY_KEPT, Conflict, Field, Item, NoSuchItem, Ref, Store

TRIES = 30  # twenty writers at once on one item needed 7 at most, in ten rounds
LONGEST_PAUSE = 0.05  # seconds between two tries, so that writers do not stay in step


class Outcome(StrEnum):
    """What a save did to the item."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Saved:
    """Where a password is now, and how many old ones the item keeps; its text says so to a person."""

    ref: Ref
    outcome: Outcome
    vault: str
    kept: int

    def __str__(self) -> str:
        where = f"the item {self.ref.name!r} of the {self.vault} vault"
        match self.outcome:
            case Outcome.UNCHANGED:
                return f"{where} holds this value already (revision {self.ref.revision})"
            case Outcome.CREATED:
                return f"{where} is new (revision {self.ref.revision})"
        before = f"the old value is in its history ({self.kept} kept)" if self.kept else "it had no value before"
        return f"{where} was replaced (revision {self.ref.revision}); {before}"


def save_password(
    store: Store, name: str, password: Secret, fields: Sequence[Field] = (), *, item_id: str = ""
) -> Saved:
    """Make the item's password this one, with `fields` in the same write, and leave everything else of it as it is.

    An item of that name is made where there is none; `item_id` is of one that is there, where others have its name too.
    Only what told of the replaced key's acceptance goes with that key. Nothing is written if the vault holds the
    password already. Conflict is raised when others wrote at every try.
    """
    for _ in range(TRIES - 1):
        try:
            return _replace(store, _find(store, name, item_id), password, fields)
        except Conflict:
            time.sleep(random.uniform(0, LONGEST_PAUSE))
    return _replace(store, _find(store, name, item_id), password, fields)


def check_takes_passwords(store: Store, item: Item) -> None:
    """Fail as the save of any new password would: before a person is asked for one, or a key is spent."""
    new = replace(item, password=Secret("any"))
    if not store.writable:
        store.put(new, expect=item.revision or None)  # which says why, and what helps
    document_of(new)


def _replace(store: Store, item: Item, password: Secret, fields: Sequence[Field]) -> Saved:
    if item.id and item.password == password:
        return Saved(Ref(item.id, item.name, item.revision), Outcome.UNCHANGED, store.name, len(item.history))
    kept_fields = [each for each in item.fields if not is_acceptance(each)]
    ref = store.put(replace(item, password=password, fields=(*kept_fields, *fields)), expect=item.revision or None)
    outcome = Outcome.REPLACED if item.id else Outcome.CREATED
    kept = min(HISTORY_KEPT, len(item.history) + bool(item.password))
    return Saved(ref, outcome, store.name, kept)


def _find(store: Store, name: str, item_id: str) -> Item:
    if item_id:
        return store.get(item_id)
    try:
        return store.get(name)
    except NoSuchItem:
        return Item(name)
