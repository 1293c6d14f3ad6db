"""What bw says of how it stands."""

from dataclasses import replace

import pytest

from tasks.errors import ConfigurationFailure
from tasks.vault.standing import NOBODY, Standing, check, standing_of
from tests.vault.conftest import FakePlace


def test_an_answer_without_an_account_is_nobody() -> None:
    """bw 2026.6.0 has null where it knows nothing."""
    template = {"serverUrl": None, "lastSync": None, "status": "unauthenticated"}

    assert standing_of({"object": "template", "template": template}) == NOBODY
    assert standing_of({}) == Standing("")


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("", ""),
        ("", "https://bitwarden.com/"),
        ("https://bitwarden.com", ""),
        ("https://vault.example/", "https://vault.example"),
    ],
)
def test_a_server_may_be_spelt_in_more_ways(fake: FakePlace, server: str, found: str) -> None:
    check(Standing("locked", found), replace(fake.account, server=server))


def test_another_server_and_another_account_are_refused(fake: FakePlace) -> None:
    """An account that no setting names is any."""
    found = Standing("locked", "https://vault.example", email="a@example.com", user="1")
    check(found, fake.account)
    check(found, replace(fake.account, email="A@example.com"))

    with pytest.raises(ConfigurationFailure, match="belongs to another server: expected https:"):
        check(found, replace(fake.account, server=""))
    with pytest.raises(ConfigurationFailure, match="belongs to another account: expected b@example"):
        check(found, replace(fake.account, email="b@example.com"))
    with pytest.raises(ConfigurationFailure, match="belongs to another account: expected 2, found 1"):
        check(found, replace(fake.account, client_id="user.2"))
