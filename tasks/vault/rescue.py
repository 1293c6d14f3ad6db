"""Owns the save that must not lose a value: three tries, then the value kept in a small age vault of its own.

A key that the control server accepted exists nowhere else. That vault is made when it is needed and gone once the value
is where it belongs.
"""

import time
from collections.abc import Callable
from pathlib import Path

from tasks.errors import Busy, Failure, NotSaved, TimedOut, Unavailable
from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.saving import Outcome, Saved, save_password
from tasks.vault.store import Ref

PAUSES = (1.0, 4.0)  # seconds between the tries
# A second look helps against these alone: after a 401 or 403 it would only wipe and lock out.
WORTH_ANOTHER_TRY = (Unavailable, TimedOut, Busy, NotSaved)


def rescue_vault(state_folder: Path) -> AgeStore:
    """Return the vault of values that could not be saved; its file is there only while it holds some."""
    return AgeStore(state_folder / "rescue")


def save_exclusively(store: BitwardenStore, name: str, password: Secret) -> Saved:
    """Save a password while this machine's other writers of the account wait."""
    with store.exclusive():
        saved = save_password(store, name, password)
        if saved.outcome is not Outcome.UNCHANGED:
            return saved
        # So says our copy, which may be a minute old.
        store.refresh()
        return save_password(store, name, password)


def save_or_keep(
    store: BitwardenStore, rescue: AgeStore, name: str, password: Secret, tell: Callable[[str], None]
) -> Saved:
    """Save a password that exists nowhere else; when that fails, keep it in the rescue vault and say so."""
    try:
        return _save_patiently(store, name, password, tell)
    except Failure as failure:
        save_password(rescue, name, password)
        raise NotSaved(
            f"the bitwarden vault could not take {name!r}; the value is safe, encrypted in {rescue.path}",
            why=f"{failure.what}: {failure.why}" if failure.why else failure.what,
            next_step=f"{failure.next_step}; the next `inv net.up` offers to save it",
            cause="rescued",
        ) from None


def rescued(rescue: AgeStore) -> list[Ref]:
    """Return what waits in the rescue vault; costs one look at a folder when nothing does."""
    return list(rescue.list()) if rescue.path.exists() else []


def deliver(store: BitwardenStore, rescue: AgeStore, name: str) -> Saved:
    """Save a rescued value where it belongs; the rescue vault is removed with the last one."""
    saved = save_exclusively(store, name, rescue.get(name).password)
    forget(rescue)
    return saved


def forget(rescue: AgeStore) -> None:
    """Remove the rescue vault and what opens it."""
    for path in (rescue.path, rescue.identity_path):
        path.unlink(missing_ok=True)


def _save_patiently(store: BitwardenStore, name: str, password: Secret, tell: Callable[[str], None]) -> Saved:
    for pause in PAUSES:
        try:
            return save_exclusively(store, name, password)
        except WORTH_ANOTHER_TRY as failure:
            tell(f"not saved yet, trying again in {pause:g} s: {failure.what}")
            time.sleep(pause)
    return save_exclusively(store, name, password)
