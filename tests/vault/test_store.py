"""The words of every vault: names match exactly, failures say which names there are, VAULT chooses the vault."""

import pytest

from tasks.errors import ConfigurationFailure
from tasks.secret import Secret
from tasks.vault.store import Field, Item, NoSuchItem, Ref, State, Status, pick

REFS = [Ref("1", "mail", "r1"), Ref("2", "mail server", "r2"), Ref("3", "Mail", "r3")]


@pytest.mark.parametrize("ref", REFS)
def test_a_name_matches_exactly(ref: Ref) -> None:
    """Not as a part of another name, and not in another case."""
    assert pick(REFS, ref.name, "age") == ref


def test_an_id_serves_where_no_name_matches() -> None:
    """That is how one of two items with the same name is meant."""
    assert pick(REFS, "2", "age") == REFS[1]


def test_a_name_comes_before_an_id() -> None:
    """An item that is named like another's id is the one that is meant."""
    named = Ref("9", "2", "r")

    assert pick([*REFS, named], "2", "age") == named


def test_two_items_of_one_name_are_refused_with_their_ids() -> None:
    """Never the first match."""
    with pytest.raises(ConfigurationFailure) as failed:
        pick([*REFS, Ref("4", "mail", "r4")], "mail", "age")

    assert str(failed.value) == (
        "the age vault has 2 items named 'mail': their ids are 1, 4\n"
        "  next: rename all but one, or give an id in the name's place"
    )
    assert (failed.value.exit_status, failed.value.cause) == (78, "ambiguous")


def test_a_missing_name_is_told_with_those_that_exist_the_nearest_first() -> None:
    """A part of a name is not the name, but it is near."""
    refs = [Ref("1", "database", "r"), Ref("2", "zebra", "r"), Ref("3", "Tailscale auth key", "r")]
    with pytest.raises(NoSuchItem) as failed:
        pick(refs, "tailscale key", "age")

    assert str(failed.value) == (
        "the age vault has no item 'tailscale key': it has 'Tailscale auth key', 'database', 'zebra'\n"
        "  next: `inv vault.list` shows all names"
    )
    assert (failed.value.exit_status, failed.value.cause) == (69, "no-item")


def test_of_many_names_ten_are_told() -> None:
    """A vault of hundreds does not fill the screen."""
    with pytest.raises(NoSuchItem) as failed:
        pick([Ref(str(number), f"item {number:03}", "r") for number in range(500)], "item x", "age")

    assert failed.value.why.count("'item") == 10
    assert failed.value.why.endswith(" and 490 more")


def test_an_empty_vault_says_that_it_is_empty() -> None:
    """Instead of an empty list of names."""
    with pytest.raises(NoSuchItem, match=r"has no item 'x': it is empty"):
        pick([], "x", "age")


def test_an_item_shows_no_value() -> None:
    """Neither the password nor anything beside it."""
    item = Item("mail", Secret("one"), Secret("two"), Secret("three"), (Field("pin", Secret("four")),))

    assert repr(item) == (
        "Item(name='mail', password=****, username=****, notes=****, fields=(Field(name='pin', value=****, "
        "hidden=False),), history=(), id='', revision='', document=****)"
    )


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Status(State.OPEN, "/v", 0), "open, 0 items in /v"),
        (Status(State.OPEN, "/v", 1), "open, 1 item in /v"),
        (Status(State.MISSING, "/v", 0), "not made yet; the first `inv vault.set NAME` makes it at /v"),
    ],
)
def test_a_status_is_a_sentence(status: Status, text: str) -> None:
    assert str(status) == text
