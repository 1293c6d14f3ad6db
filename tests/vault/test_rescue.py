"""The save that must not lose a value: tries that help, a value kept encrypted until it is saved, its way back."""

import errno
import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tasks.errors import NotSaved, Unavailable
from tasks.secret import Secret
from tasks.vault.acceptance import acceptance
from tasks.vault.age import AgeStore
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.rescue import (
    deliver,
    forget,
    keep_item,
    rescue_vault,
    rescued,
    save_exclusively,
    save_patiently,
)
from tasks.vault.store import Item, NoSuchItem, Ref
from tests.conftest import Home
from tests.vault.conftest import FakePlace, login

DOWN: dict[str, object] = {
    "on": "PUT /object/item",
    "message": "FetchError: connect ECONNREFUSED",
}
NOTE = acceptance(Secret("the value"), "Tailscale", "box", datetime(2026, 11, 24, tzinfo=UTC))
NEW = Item("key", Secret("the value"), fields=(NOTE,))


class Full(AgeStore):
    """A vault on a full disk."""

    def put(self, item: Item, *, expect: str | None) -> Ref:  # noqa: ARG002 - as the base class has it
        """Fail as files.write_private does."""
        raise NotSaved("cannot write vault.age", why=os.strerror(errno.ENOSPC))


@pytest.fixture
def keep(home: Home) -> AgeStore:
    """Give a place's rescue vault, which nobody has made yet."""
    return rescue_vault(home.state, "https://vault.example", "user.1")


def test_a_second_try_may_succeed(fake: FakePlace, keep: AgeStore) -> None:
    fake.serve(login("key", "one"), faults=[DOWN])
    keep_item(fake.store, keep, NEW, fake.said.append)()

    assert fake.stored()[0]["login"]["password"] == "the value"
    assert fake.said[-1] == "not saved yet, trying again in 1 s: vault.example cannot be reached"
    assert rescued(keep) == []
    assert [path.name for path in keep.folder.iterdir()] == ["vault.lock"]


def test_the_value_is_kept_before_the_vault_is_asked(fake: FakePlace, keep: AgeStore) -> None:
    """Whatever kills us on the way."""
    seen: list[Secret] = []
    fake.serve(login("key", "one"), faults=[DOWN])
    keep_item(fake.store, keep, NEW, lambda _line: seen.append(keep.get("key").password))()

    assert seen == [Secret("the value")]


def test_a_value_is_kept_though_there_is_no_program_to_save_it(fake: FakePlace, keep: AgeStore) -> None:
    """As where bw is not installed and cannot be."""

    def open_store() -> BitwardenStore:
        raise Unavailable("bw is not here")

    with pytest.raises(NotSaved) as caught:
        keep_item(open_store, keep, NEW, fake.said.append)()

    assert (caught.value.why, caught.value.cause) == ("bw is not here", "rescued")
    assert caught.value.next_step == "the next `inv net.up` offers to save it"
    assert keep.get("key").password == NEW.password


def test_a_value_that_cannot_be_saved_is_kept_and_delivered_later(fake: FakePlace, keep: AgeStore) -> None:
    """With what is to be said of it."""
    fake.serve(login("key", "one"), faults=[DOWN] * 3)
    with pytest.raises(NotSaved) as caught:
        keep_item(fake.store, keep, NEW, fake.said.append)()

    assert caught.value.what == f"the bitwarden vault could not take 'key'; the value is safe, encrypted in {keep.path}"
    assert caught.value.why.startswith("vault.example cannot be reached: ")
    assert caught.value.next_step.endswith("; the next `inv net.up` offers to save it")
    assert "the value" not in keep.path.read_bytes().decode(errors="replace")
    assert [ref.name for ref in rescued(keep)] == ["key"]
    deliver(fake.store(), keep, rescued(keep)[0], fake.said.append)
    [item] = fake.stored()
    assert (item["login"]["password"], [each["value"] for each in item["fields"]]) == (
        "the value",
        [NOTE.value.reveal()],
    )
    assert rescued(keep) == []


def test_another_value_that_waits_is_not_forgotten(fake: FakePlace, keep: AgeStore) -> None:
    keep.put(Item("other", Secret("waits")), expect=None)
    fake.serve(login("key", "one"))
    keep_item(fake.store, keep, NEW, fake.said.append)()
    forget(keep, Item("other", Secret("an older value")))

    assert [ref.name for ref in rescued(keep)] == ["other"]
    forget(keep, Item("other", Secret("waits")))
    assert rescued(keep) == []


def test_a_value_goes_on_waiting_when_another_of_its_name_is_saved(fake: FakePlace, keep: AgeStore) -> None:
    """It was told to be safe."""
    fake.serve(login("key", "one"), faults=[DOWN] * 3)
    save_first = keep_item(fake.store, keep, NEW, fake.said.append)
    save_second = keep_item(fake.store, keep, Item("key", Secret("another")), fake.said.append)
    with pytest.raises(NotSaved):
        save_first()
    save_second()

    assert fake.stored()[0]["login"]["password"] == "another"
    [item] = rescued(keep)
    assert (item.password, item.fields) == (NEW.password, NEW.fields)


def test_values_of_one_name_wait_the_newest_last_each_of_them_once(fake: FakePlace, keep: AgeStore) -> None:
    """Whoever takes them all has the newest in the end."""
    for value in ("one", "two", "three", "one"):
        keep_item(fake.store, keep, Item("key", Secret(value)), fake.said.append)

    assert [item.password.reveal() for item in rescued(keep)] == ["two", "three", "one"]


def test_a_value_for_an_id_waits_for_that_item(fake: FakePlace, keep: AgeStore) -> None:
    """Another of its name, with the same value waiting for it, is another matter."""
    twins = [login("key", "one", id="first"), login("key", "two", id="second")]
    first, second = (replace(NEW, id=each) for each in ("first", "second"))
    fake.serve(*twins, faults=[DOWN] * 6)
    for item in (first, second):
        with pytest.raises(NotSaved):
            keep_item(fake.store, keep, item, fake.said.append)()
    assert {item.id for item in rescued(keep)} == {"first", "second"}
    deliver(fake.store(), keep, second, fake.said.append)

    assert {item["id"]: item["login"]["password"] for item in fake.stored()} == {"first": "one", "second": "the value"}
    assert [item.id for item in rescued(keep)] == ["first"]


def test_a_value_for_an_id_that_is_gone_makes_no_item(fake: FakePlace, keep: AgeStore) -> None:
    """The id would be its name."""
    keep_item(fake.store, keep, replace(NEW, id="gone"), fake.said.append)
    [item] = rescued(keep)
    with pytest.raises(NoSuchItem):
        deliver(fake.store(), keep, item, fake.said.append)

    assert (fake.stored(), rescued(keep)) == ([], [item])


def test_what_can_be_kept_nowhere_is_said_to_be_nowhere(fake: FakePlace, keep: AgeStore) -> None:
    """But the vault is asked all the same."""
    keep.folder.parent.write_text("not a folder")
    fake.serve(login("key", "one"))
    keep_item(fake.store, keep, NEW, fake.said.append)()
    assert fake.stored()[0]["login"]["password"] == "the value"

    fake.serve(login("key", "one"), faults=[DOWN] * 3)
    with pytest.raises(NotSaved) as caught:
        keep_item(fake.store, keep, NEW, fake.said.append)()
    assert caught.value.what == "the bitwarden vault could not take 'key', and it could not be kept here either"
    assert caught.value.next_step == "mend either, then `inv vault.set 'key'` with the same value"


def test_a_save_is_good_though_the_rescue_vault_is_damaged(fake: FakePlace, keep: AgeStore) -> None:
    """Before it, nothing is to be taken out; after the value was kept there, that it stays is told."""
    fake.serve(login("key", "one"))
    keep.put(Item("other", Secret("waits")), expect=None)
    keep.path.write_bytes(b"garbage")
    keep_item(fake.store, keep, NEW, fake.said.append)()
    assert fake.stored()[0]["login"]["password"] == "the value"
    assert [said for said in fake.said if "warning" in said] == []

    keep.path.unlink()
    save = keep_item(fake.store, keep, Item("key", Secret("another")), fake.said.append)
    keep.path.write_bytes(b"garbage")
    save()
    assert fake.stored()[0]["login"]["password"] == "another"
    warning = "warning: 'key' is saved, but cannot be taken out of what waits here: "
    assert fake.said[-1].startswith(f"{warning}the vault {keep.path} is damaged: ")


def test_an_interruption_stays_one_where_nothing_could_be_kept(fake: FakePlace, keep: AgeStore) -> None:
    """Nothing is told to be safe then, though another value of that name waits."""

    def open_store() -> BitwardenStore:
        raise KeyboardInterrupt

    keep.put(Item("key", Secret("waits")), expect=None)
    keep.identity_path.unlink()
    with pytest.raises(KeyboardInterrupt):
        keep_item(open_store, keep, NEW, fake.said.append)()

    assert fake.said == []


def test_a_vault_of_this_machine_is_tried_thrice(home: Home) -> None:
    """A disk that is full cannot keep a rescue: whoever typed the key still has it, and is told so."""
    said: list[str] = []
    with pytest.raises(NotSaved) as caught:
        save_patiently(Full(home.state / "place"), NEW, said.append)

    assert said == [f"not saved yet, trying again in {pause} s: cannot write vault.age" for pause in (1, 4)]
    assert str(caught.value) == (
        "the age vault could not take 'key', and it is kept nowhere else: cannot write vault.age: "
        "No space left on device\n  next: mend that (a full disk?), then `inv vault.set 'key'` with the same value"
    )


def test_a_value_that_our_copy_has_already_is_compared_with_the_servers(fake: FakePlace) -> None:
    """Somebody else replaced it since."""
    fake.serve(login("key", "one"))
    fake.store().list()
    fake.serve(login("key", "theirs"))
    save_exclusively(fake.store(), Item("key", Secret("one")))

    assert fake.stored()[0]["login"]["password"] == "one"
    assert [old["password"] for old in fake.stored()[0]["passwordHistory"]] == ["theirs"]


def test_after_a_refusal_there_is_no_second_try(fake: FakePlace, keep: AgeStore) -> None:
    """A 401 or 403 wipes bw's copy each time, and may lock the account."""
    refusal: dict[str, object] = {"on": "PUT /object/item", "out": True, "message": '{"message":"","statusCode":403}'}
    fake.serve(login("key", "one"), faults=[refusal])
    with pytest.raises(NotSaved):
        keep_item(fake.store, keep, NEW, fake.said.append)()

    assert len([asked for asked in fake.asked() if asked.startswith("PUT")]) == 1
    assert keep.get("key").password == NEW.password
