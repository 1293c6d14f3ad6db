"""What an item says of its auth key: one text field of ours, no secret in it, told apart from a person's own."""

from datetime import datetime, timedelta, timezone

from tasks.secret import Secret
from tasks.vault.acceptance import acceptance, acceptance_of, is_acceptance
from tasks.vault.store import Field, Item

AT = datetime(2026, 11, 24, 16, 4, 5, 999, tzinfo=timezone(timedelta(hours=1)))
SAID = "2026-11-24T15:04:05Z by http://127.0.0.1:18080 as box; if it was a single-use key, it is spent"


def test_the_field_is_text_and_says_when_by_whom_and_as_which_node() -> None:
    assert acceptance("http://127.0.0.1:18080", "box", AT) == Field("accepted", Secret(SAID), hidden=False)


def test_an_item_without_it_says_nothing() -> None:
    """A person's own field of that name is none of ours."""
    own = Field("accepted", Secret("by the boss"))

    assert acceptance_of(Item("key", fields=(own,))) == ""
    assert not is_acceptance(Field("accepted", Secret(SAID), hidden=True))
    assert acceptance_of(Item("key", fields=(own, acceptance("http://127.0.0.1:18080", "box", AT)))) == SAID
