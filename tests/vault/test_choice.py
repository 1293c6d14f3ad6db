"""Which store a kind means."""

import pytest

from tasks.errors import ConfigurationFailure
from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.choice import STORES, Place, open_store
from tasks.vault.environment import EnvironmentStore
from tests.conftest import Home


def test_the_kind_chooses_the_vault(home: Home) -> None:
    """Nothing is made by opening one."""
    place = Place(home.state / "place", Secret("AGE-SECRET-KEY-1"), {"VAULT_X": "y"})

    assert open_store("age", place) == AgeStore(home.state / "place", Secret("AGE-SECRET-KEY-1"))
    assert open_store("environment", place) == EnvironmentStore({"VAULT_X": "y"})
    assert list(home.state.iterdir()) == []


def test_an_unknown_kind_is_refused_with_the_known_ones(home: Home) -> None:
    """One sentence for whoever mistyped VAULT."""
    with pytest.raises(ConfigurationFailure) as failed:
        open_store("agee", Place(home.state, None, {}))

    assert str(failed.value) == f"VAULT: expected {' or '.join(STORES)}, got 'agee'"
