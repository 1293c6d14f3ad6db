"""References to secrets: which are chosen, how one is read, what is said when there is nothing behind it."""

import pytest

from tasks.errors import Failure, UsageFailure
from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.references import chosen, resolved, value_of, without_secrets_of_vaults
from tasks.vault.store import Field, Item
from tests.conftest import Home


@pytest.fixture
def vault(home: Home) -> AgeStore:
    """Give a vault with two items, one with a slash in its name."""
    own = AgeStore(home.state / "place")
    own.put(Item("deploy", Secret("token"), Secret("robot"), fields=(Field("url", Secret("x")),)), expect=None)
    own.put(Item("a/b", Secret("other")), expect=None)
    return own


def test_a_reference_is_an_item_or_an_item_and_a_field(vault: AgeStore) -> None:
    references = {"A": "deploy", "B": "deploy/username", "C": "deploy/url", "D": "a/b", "E": "a/b/password"}

    assert {name: value.reveal() for name, value in resolved(vault, references).items()} == {
        "A": "token",
        "B": "robot",
        "C": "x",
        "D": "other",
        "E": "other",
    }


def test_what_is_not_there_is_named(vault: AgeStore) -> None:
    with pytest.raises(Failure) as caught:
        resolved(vault, {"A": "nothing/username"})
    assert caught.value.what == "the age vault has no item 'nothing'"
    with pytest.raises(Failure) as caught:
        value_of(vault.get("a/b"), "username")
    assert str(caught.value) == "the item 'a/b' has no username: it has password"


@pytest.mark.parametrize("reference", ["", "deploy/", "/username", "/"])
def test_a_reference_that_lacks_item_or_field_is_refused(vault: AgeStore, reference: str) -> None:
    with pytest.raises(Failure) as caught:
        resolved(vault, {"A": reference})
    assert caught.value.what == f"vault:{reference}: expected vault:ITEM or vault:ITEM/FIELD"


def test_only_the_named_ones_are_chosen() -> None:
    assert chosen({"A": "x", "B": "y"}, ["B"]) == {"B": "y"}
    assert chosen({"A": "x", "B": "y"}, []) == {"A": "x", "B": "y"}
    with pytest.raises(UsageFailure) as caught:
        chosen({"A": "x"}, ["C"])
    assert str(caught.value) == "--only: no settings file has a line C=vault:…: there are A"


def test_nothing_that_opens_a_vault_is_handed_on_and_no_other_item() -> None:
    """Where the variables are the vault; elsewhere VAULT_… may be another program's."""
    variables = {"BW_PASSWORD": "x", "VAULT_IDENTITY": "x", "VAULT_DB_ROOT": "x", "VAULT_ITEM": "a name", "HOME": "/"}
    kept = {"VAULT_ITEM": "a name", "HOME": "/"}

    assert without_secrets_of_vaults(variables, "environment") == kept
    assert without_secrets_of_vaults(variables, "age") == {**kept, "VAULT_DB_ROOT": "x"}
