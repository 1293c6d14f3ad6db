"""The vault of CI: variables that begin with VAULT_."""

import json

import pytest

from tasks.errors import ConfigurationFailure
from tasks.secret import REDACTOR, Secret
from tasks.vault.environment import EnvironmentStore, variable_of
from tasks.vault.store import Item, NoSuchItem, Ref, State, Status

VARIABLES = {
    "VAULT_TAILSCALE_AUTH_KEY": "swordfish",
    "VAULT_B": "b",
    "VAULT_EMPTY": "",
    "VAULT": "environment",
    "VAULT_ITEM": "Tailscale auth key",
    "VAULT_IDENTITY": "AGE-SECRET-KEY-1",
    "HOME": "/home",
}
STORE = EnvironmentStore(VARIABLES)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("Tailscale auth key", "VAULT_TAILSCALE_AUTH_KEY"),
        ("TAILSCALE_AUTH_KEY", "VAULT_TAILSCALE_AUTH_KEY"),
        ("db.prod-1", "VAULT_DB_PROD_1"),
        ("straße", "VAULT_STRA_E"),
    ],
)
def test_an_item_is_the_variable_of_its_name_in_capitals(name: str, variable: str) -> None:
    """Everything that is no ASCII letter or digit becomes _."""
    assert variable_of(name) == variable


def test_an_item_is_read_and_redacted_from_then_on() -> None:
    item = STORE.get("Tailscale auth key")

    assert item == Item("Tailscale auth key", Secret("swordfish"), id="VAULT_TAILSCALE_AUTH_KEY")
    assert REDACTOR.clean("swordfish") == "****"


def test_an_item_is_read_by_its_id_too() -> None:
    """As `vault.export` does; the id is the variable."""
    assert STORE.get("VAULT_B") == STORE.get("B")


def test_the_list_has_what_is_set_and_no_setting() -> None:
    """An empty variable is not set; VAULT_ITEM and VAULT_IDENTITY are settings."""
    assert STORE.list() == [Ref("VAULT_B", "B", ""), Ref("VAULT_TAILSCALE_AUTH_KEY", "TAILSCALE_AUTH_KEY", "")]
    assert STORE.status() == Status(State.OPEN, "the variables VAULT_…", 2)


@pytest.mark.parametrize(
    ("name", "variable"),
    [("empty", "VAULT_EMPTY"), ("other", "VAULT_OTHER"), ("item", "VAULT_ITEM"), ("Identity", "VAULT_IDENTITY")],
)
def test_a_missing_item_is_told_with_its_variable(name: str, variable: str) -> None:
    with pytest.raises(NoSuchItem) as failed:
        STORE.get(name)

    assert failed.value.what == f"the environment vault has no item {name!r}"
    assert failed.value.next_step == f"set the variable {variable}"


def test_a_write_is_refused() -> None:
    """No program can set a variable of those that started it."""
    with pytest.raises(ConfigurationFailure) as failed:
        STORE.put(Item("db key", Secret("x")), expect=None)

    assert not STORE.writable
    assert str(failed.value) == (
        "cannot write 'db key': the environment vault is read-only\n"
        "  next: set VAULT_DB_KEY where this is started from, or choose VAULT=age"
    )


def test_the_export_has_every_item() -> None:
    """In the same layout as the other vaults'."""
    export = json.loads(STORE.export().reveal())

    assert [(item["name"], item["login"]["password"]) for item in export["items"]] == [
        ("B", "b"),
        ("TAILSCALE_AUTH_KEY", "swordfish"),
    ]
    assert export["encrypted"] is False
