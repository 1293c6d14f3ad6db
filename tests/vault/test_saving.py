"""The save of one password: compare and swap, read again when somebody else wrote, and no write for nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from tasks.errors import ConfigurationFailure
from tasks.secret import Secret
from tasks.vault.acceptance import acceptance
from tasks.vault.age import AgeStore
from tasks.vault.environment import EnvironmentStore
from tasks.vault.saving import TRIES, Outcome, Saved, save_password
from tasks.vault.store import Conflict, Field, Item, Ref
from tests.conftest import Home


@dataclass(frozen=True)
class Raced(AgeStore):
    """A vault in which somebody else does something just before each of our writes."""

    before_each_put: Callable[[], None] = lambda: None

    def put(self, item: Item, *, expect: str | None) -> Ref:
        """Let the other one go first."""
        self.before_each_put()
        return super().put(item, expect=expect)


@pytest.fixture
def vault(home: Home) -> AgeStore:
    """Give a vault of the test's own."""
    return AgeStore(home.state / "place")


def other(vault: AgeStore, values: Iterator[str]) -> Callable[[], None]:
    """Return somebody who writes the next value into the item `key`, as long as there are any."""

    def write() -> None:
        value = next(values, None)
        if value is not None:
            save_password(vault, "key", Secret(value))

    return write


def test_a_missing_item_is_made(vault: AgeStore) -> None:
    saved = save_password(vault, "key", Secret("one"))

    assert vault.get("key").password == Secret("one")
    assert saved == Saved(vault.list()[0], Outcome.CREATED, "age", 0)
    assert str(saved) == f"the item 'key' of the age vault is new (revision {saved.ref.revision})"


def test_a_replaced_password_is_in_the_history_and_the_rest_as_it_was(vault: AgeStore) -> None:
    fields = (Field("tag", Secret("x")),)
    vault.put(Item("key", Secret("one"), Secret("who"), Secret("notes"), fields), expect=None)
    saved = save_password(vault, "key", Secret("two"))
    item = vault.get("key")

    assert (item.password, item.username, item.notes) == (Secret("two"), Secret("who"), Secret("notes"))
    assert (item.fields, item.history) == (fields, (Secret("one"),))
    assert str(saved) == (
        f"the item 'key' of the age vault was replaced (revision {item.revision}); "
        "the old value is in its history (1 kept)"
    )


def test_fields_go_with_the_password_in_one_write_and_the_others_stay(vault: AgeStore) -> None:
    """What told of the replaced key's acceptance goes with it; a person's own field of that name stays."""
    own = (Field("tag", Secret("x")), Field("accepted", Secret("by the boss")))
    vault.put(Item("key", Secret("one"), fields=own), expect=None)
    moments = [acceptance(Secret("two"), "Tailscale", "box", datetime(2026, 1, day, tzinfo=UTC)) for day in (1, 2)]
    before = save_password(vault, "key", Secret("two"), moments[:1])
    after = save_password(vault, "key", Secret("three"), moments[1:])
    item = vault.get("key")

    assert item.fields == (*own, moments[1])
    assert item.history == (Secret("two"), Secret("one"))
    assert before.ref.revision < after.ref.revision == item.revision


def test_an_item_without_a_password_gets_one(vault: AgeStore) -> None:
    vault.put(Item("key", notes=Secret("notes")), expect=None)
    saved = save_password(vault, "key", Secret("one"))

    assert str(saved) == (
        f"the item 'key' of the age vault was replaced (revision {saved.ref.revision}); it had no value before"
    )


def test_at_most_five_old_values_are_told(vault: AgeStore) -> None:
    for number in range(9):
        saved = save_password(vault, "key", Secret(f"value {number}"))

    assert saved.kept == len(vault.get("key").history) == 5


def test_the_same_value_is_not_written_again(vault: AgeStore) -> None:
    """The file stays as it is, to the byte."""
    first = save_password(vault, "key", Secret("one"))
    content = vault.path.read_bytes()
    again = save_password(vault, "key", Secret("one"))

    assert vault.path.read_bytes() == content
    assert again == Saved(first.ref, Outcome.UNCHANGED, "age", 0)
    assert str(again) == f"the item 'key' of the age vault holds this value already (revision {first.ref.revision})"


def test_what_somebody_else_wrote_meanwhile_is_replaced_knowingly(vault: AgeStore) -> None:
    """Their value goes into the history; it is not lost."""
    save_password(vault, "key", Secret("one"))
    raced = Raced(vault.folder, before_each_put=other(vault, iter(["theirs 1", "theirs 2"])))
    save_password(raced, "key", Secret("ours"))
    item = vault.get("key")

    assert item.password == Secret("ours")
    assert item.history == tuple(map(Secret, ("theirs 2", "theirs 1", "one")))


def test_an_item_that_somebody_else_made_meanwhile_is_not_doubled(vault: AgeStore) -> None:
    raced = Raced(vault.folder, before_each_put=other(vault, iter(["theirs"])))
    saved = save_password(raced, "key", Secret("ours"))

    assert [ref.name for ref in vault.list()] == ["key"]
    assert (saved.outcome, saved.kept) == (Outcome.REPLACED, 1)


def test_if_somebody_else_wrote_the_same_value_it_is_there(vault: AgeStore) -> None:
    """Two that save the one new key: one write."""
    raced = Raced(vault.folder, before_each_put=other(vault, iter(["same"])))

    assert save_password(raced, "key", Secret("same")).outcome is Outcome.UNCHANGED


def test_the_tries_are_bounded(vault: AgeStore) -> None:
    """Somebody who always writes first does not hold us for ever."""
    values = iter([f"theirs {number}" for number in range(TRIES)])
    raced = Raced(vault.folder, before_each_put=other(vault, values))
    with pytest.raises(Conflict):
        save_password(raced, "key", Secret("ours"))

    assert next(values, None) is None


def test_a_vault_that_cannot_write_says_so() -> None:
    """But holds what it holds already."""
    store = EnvironmentStore({"VAULT_KEY": "one"})

    with pytest.raises(ConfigurationFailure, match="read-only"):
        save_password(store, "key", Secret("two"))
    assert save_password(store, "key", Secret("one")).outcome is Outcome.UNCHANGED


def test_a_renamed_item_keeps_its_history(vault: AgeStore) -> None:
    """Items are known by id; the name is only how they are called."""
    save_password(vault, "key", Secret("one"))
    item = vault.get("key")
    vault.put(replace(item, name="other key"), expect=item.revision)
    save_password(vault, "other key", Secret("two"))

    assert [ref.name for ref in vault.list()] == ["other key"]
    assert vault.get("other key").history == (Secret("one"),)
