"""Owns the save that must not lose a value: kept in a small age vault of its own until Bitwarden has it; three tries.

A key that the control server accepted exists nowhere else. That vault is made before Bitwarden is asked and gone once
it has the value, so that neither a failure nor a kill on the way loses it. Each value waits by itself: another one of
its name, saved meanwhile, does not end that. An item's id is that of the item which the value belongs to, and empty
where the name alone tells it; in the file it stands in the notes, as an id there is the vault's own.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import Busy, Failure, NotSaved, TimedOut, Unavailable
from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.bw import account_name
from tasks.vault.saving import Outcome, Saved, save_password
from tasks.vault.store import NOTHING, Item, Store, Trouble

if TYPE_CHECKING:
    from tasks.vault.bitwarden import BitwardenStore

FOLDER = "rescue"  # in the state folder
PAUSES = (1.0, 4.0)  # seconds between the tries
# A second look helps against these alone: after a 401 or 403 it would only wipe and lock out.
WORTH_ANOTHER_TRY = (Unavailable, TimedOut, Busy, NotSaved)
Tell = Callable[[str], None]


def rescue_vault(state_folder: Path, server: str, who: str) -> AgeStore:
    """Return the vault of values that this account could not take; its file is there only while it holds some.

    Another account may have an item of the same name, which such a value must not replace.
    """
    return AgeStore(state_folder / FOLDER / account_name(server, who))


def of_others(rescue: AgeStore) -> list[Trouble]:
    """Tell of what waits here for other accounts: nobody is asked about it as the settings are now."""
    files = sorted(path for path in rescue.folder.parent.glob(f"*/{rescue.path.name}") if path != rescue.path)
    what = "values for another account wait to be saved to Bitwarden, in"
    how = "`inv net.up` with the settings of that account (BW_SERVER, BW_CLIENTID or BW_EMAIL) offers them"
    return [Trouble(f"{what} {path}", how) for path in files]


def save_exclusively(store: "BitwardenStore", item: Item) -> Saved:
    """Save an item's password and fields while this machine's other writers of the account wait."""
    with store.exclusive():
        saved = _save(store, item)
        if saved.outcome is not Outcome.UNCHANGED:
            return saved
        # So says our copy, which may be a minute old.
        store.refresh()
        return _save(store, item)


def save_patiently(store: Store, item: Item, tell: Tell) -> Saved:
    """Save an item's password and fields into a vault of this machine; NotSaved after three tries."""
    try:
        return _thrice(lambda: _save(store, item), tell)
    except WORTH_ANOTHER_TRY as failure:
        raise NotSaved(
            f"the {store.name} vault could not take {item.name!r}, and it is kept nowhere else",
            why=failure.sentence,
            next_step=f"mend that (a full disk?), then `inv vault.set {item.id or item.name!r}` with the same value",
        ) from None


def keep_item(
    open_store: "Callable[[], BitwardenStore]", rescue: AgeStore, item: Item, tell: Tell
) -> Callable[[], Saved]:
    """Keep an item that exists nowhere else; what is returned saves it, or says where it is when that fails."""
    unkept = _put(rescue, item)

    def save() -> Saved:
        try:
            with _told_when_interrupted(rescue, item, tell):
                store = open_store()
                saved = _thrice(lambda: save_exclusively(store, item), tell)
        except Failure as failure:
            raise _not_saved(item, rescue, failure, unkept) from None
        if unkept is None:
            _forget_saved(rescue, item, tell)
        return saved

    return save


def rescued(rescue: AgeStore) -> list[Item]:
    """Return what waits in the rescue vault, the newest of a name last; one look at a folder when nothing does.

    An item's revision is when its value was kept.
    """
    kept = rescue.items() if rescue.path.exists() else ()
    return sorted(
        (replace(each, id=each.notes.reveal(), notes=NOTHING) for each in kept),
        key=lambda item: (item.name, item.revision),
    )


def deliver(store: "BitwardenStore", rescue: AgeStore, item: Item, tell: Tell) -> Saved:
    """Save a rescued value where it belongs, and forget it here."""
    with _told_when_interrupted(rescue, item, tell):
        saved = save_exclusively(store, item)
    _forget_saved(rescue, item, tell)
    return saved


def forget(rescue: AgeStore, item: Item) -> None:
    """Take a value out of the rescue vault, which is removed with the last one; another value of its name stays."""
    if rescue.path.exists():
        rescue.remove(_same_as(item))


def _forget_saved(rescue: AgeStore, item: Item, tell: Tell) -> None:
    """Forget what the vault has; where that fails, the save is a good one all the same."""
    try:
        forget(rescue, item)
    except Failure as failure:
        tell(f"warning: {item.name!r} is saved, but cannot be taken out of what waits here: {failure}")


def _same_as(item: Item) -> Callable[[Item], bool]:
    """Return what tells whether an item as the rescue vault has it is this one."""
    wanted = (item.name, item.id, item.password)
    return lambda kept: (kept.name, kept.notes.reveal(), kept.password) == wanted


def _save(store: Store, item: Item) -> Saved:
    return save_password(store, item.name, item.password, item.fields, item_id=item.id)


@contextmanager
def _told_when_interrupted(rescue: AgeStore, item: Item, tell: Tell) -> Iterator[None]:
    """Have whoever loses patience know where the value is: `interrupted` alone sounds like a loss."""
    try:
        yield
    except KeyboardInterrupt:
        if _is_kept(rescue, item):
            where = f"the value of {item.name!r} is safe, encrypted in {rescue.path}"
            tell(f"{where}; the next `inv net.up` offers to save it")
        raise


def _is_kept(rescue: AgeStore, item: Item) -> bool:
    with suppress(Failure):
        return any(map(_same_as(item), rescue.items()))
    return False


def _put(rescue: AgeStore, item: Item) -> Failure | None:
    """Put the value into the rescue vault; return why that failed, as the vault itself may well take it."""
    try:
        kept = Item(item.name, item.password, notes=Secret(item.id), fields=item.fields)
        rescue.put_beside(kept, _same_as(item))
    except Failure as failure:
        return failure
    return None


def _not_saved(item: Item, rescue: AgeStore, failure: Failure, unkept: Failure | None) -> NotSaved:
    if unkept is not None:
        return NotSaved(
            f"the bitwarden vault could not take {item.name!r}, and it could not be kept here either",
            why=f"{failure.sentence}; {unkept.sentence}",
            next_step=f"mend either, then `inv vault.set {item.id or item.name!r}` with the same value",
        )
    return NotSaved(
        f"the bitwarden vault could not take {item.name!r}; the value is safe, encrypted in {rescue.path}",
        why=failure.sentence,
        next_step=f"{failure.next_step}; the next `inv net.up` offers to save it".removeprefix("; "),
        cause="rescued",
    )


def _thrice(save: Callable[[], Saved], tell: Tell) -> Saved:
    for pause in PAUSES:
        try:
            return save()
        except WORTH_ANOTHER_TRY as failure:
            tell(f"not saved yet, trying again in {pause:g} s: {failure.what}")
            time.sleep(pause)
    return save()
