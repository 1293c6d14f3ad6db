"""The save that must not lose a value: tries that help, a value kept encrypted, its way back."""

import pytest

from tasks.errors import NotSaved
from tasks.secret import Secret
from tasks.vault.rescue import deliver, forget, rescue_vault, rescued, save_exclusively, save_or_keep
from tests.conftest import Home
from tests.vault.conftest import FakePlace, login

DOWN: dict[str, object] = {
    "on": "PUT /object/item",
    "message": "FetchError: connect ECONNREFUSED",
}


def test_a_second_try_may_succeed(fake: FakePlace, home: Home) -> None:
    fake.serve(login("key", "one"), faults=[DOWN])
    keep = rescue_vault(home.state)
    save_or_keep(fake.store(), keep, "key", Secret("two"), fake.said.append)

    assert fake.stored()[0]["login"]["password"] == "two"
    assert fake.said[-1] == "not saved yet, trying again in 1 s: vault.example cannot be reached"
    assert rescued(keep) == []
    assert not keep.folder.exists()


def test_a_value_that_cannot_be_saved_is_kept_and_delivered_later(fake: FakePlace, home: Home) -> None:
    fake.serve(login("key", "one"), faults=[DOWN] * 3)
    keep = rescue_vault(home.state)
    with pytest.raises(NotSaved) as caught:
        save_or_keep(fake.store(), keep, "key", Secret("the value"), fake.said.append)

    assert caught.value.what == f"the bitwarden vault could not take 'key'; the value is safe, encrypted in {keep.path}"
    assert caught.value.why.startswith("vault.example cannot be reached: ")
    assert caught.value.next_step.endswith("; the next `inv net.up` offers to save it")
    assert "the value" not in keep.path.read_bytes().decode(errors="replace")
    assert [ref.name for ref in rescued(keep)] == ["key"]
    deliver(fake.store(), keep, "key")
    assert fake.stored()[0]["login"]["password"] == "the value"
    assert rescued(keep) == []


def test_a_value_that_our_copy_has_already_is_compared_with_the_servers(fake: FakePlace) -> None:
    """Somebody else replaced it since."""
    fake.serve(login("key", "one"))
    fake.store().list()
    fake.serve(login("key", "theirs"))
    save_exclusively(fake.store(), "key", Secret("one"))

    assert fake.stored()[0]["login"]["password"] == "one"
    assert [old["password"] for old in fake.stored()[0]["passwordHistory"]] == ["theirs"]


def test_after_a_refusal_there_is_no_second_try(fake: FakePlace, home: Home) -> None:
    """A 401 or 403 wipes bw's copy each time, and may lock the account."""
    refusal: dict[str, object] = {"on": "PUT /object/item", "out": True, "message": '{"message":"","statusCode":403}'}
    fake.serve(login("key", "one"), faults=[refusal])
    keep = rescue_vault(home.state)
    with pytest.raises(NotSaved):
        save_or_keep(fake.store(), keep, "key", Secret("two"), fake.said.append)

    assert len([asked for asked in fake.asked() if asked.startswith("PUT")]) == 1
    assert keep.get("key").password == Secret("two")
    forget(keep)
    assert rescued(keep) == []
