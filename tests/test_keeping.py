"""From the settings to a vault: what is read, what a save says and adds, what waits for a vault."""

import pytest

from tasks.errors import ConfigurationFailure
from tasks.keeping import keep_accepted_key, read_item, set_password
from tasks.secret import Secret
from tasks.settings import load
from tasks.vault.acceptance import acceptance_of
from tasks.vault.age import AgeStore
from tests.conftest import Home

KEY = "Tailscale auth key"


@pytest.fixture
def vault(home: Home) -> AgeStore:
    """Give the vault that the settings of this test's home name."""
    return AgeStore(home.state / "platform-manager" / "default")


def test_an_item_is_read_or_none(vault: AgeStore) -> None:
    """No item is no key; a vault that cannot be read is a failure."""
    set_password(load(), KEY, Secret("one"))
    item = read_item(load(), KEY)

    assert item is not None
    assert item.password == Secret("one")
    assert read_item(load(), "other") is None

    vault.path.write_bytes(b"")
    with pytest.raises(ConfigurationFailure, match="is damaged"):
        read_item(load(), KEY)


def test_an_accepted_key_carries_when_by_whom_and_as_which_node(vault: AgeStore) -> None:
    """Until its owner puts another key in its place by hand."""
    said = keep_accepted_key(load(), KEY, Secret("one"), "box")()
    accepted = acceptance_of(vault.get(KEY))

    assert said == f"the item '{KEY}' of the age vault is new (revision {vault.get(KEY).revision})"
    assert accepted[20:] == " by Tailscale as box; if it was a single-use key, it is spent"
    set_password(load(), KEY, Secret("two"))
    assert acceptance_of(vault.get(KEY)) == ""
