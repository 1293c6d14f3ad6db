"""The way up: items created in another vault, none overwritten, to be run again where it stopped."""

import json

import pytest

from tasks.errors import Failure
from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.moving import create_all, names, plan
from tasks.vault.store import Conflict, Field, Item
from tests.conftest import Home
from tests.vault.conftest import FakePlace, login


def test_what_is_missing_is_created_and_what_is_there_left_alone(fake: FakePlace, home: Home) -> None:
    source = AgeStore(home.state / "place")
    for item in (
        Item("both", Secret("mine")),
        Item("first", Secret("1"), Secret("who"), Secret("notes"), (Field("tag", Secret("x")),)),
        Item("second", Secret("2")),
    ):
        source.put(item, expect=None)
    fake.serve(login("both", "theirs"))
    target = fake.store()
    planned = plan(source, target)
    assert (names(planned.missing), names(planned.present)) == ("'first', 'second'", "'both'")

    create_all(source, target, planned.missing[:1], print)
    resumed = plan(source, target)
    assert names(resumed.missing) == "'second'"
    create_all(source, target, resumed.missing, print)

    assert plan(source, target).missing == ()
    assert target.get("both").password == Secret("theirs")
    first = target.get("first")
    assert (first.password, first.username, first.notes) == (Secret("1"), Secret("who"), Secret("notes"))
    assert first.fields == (Field("tag", Secret("x")),)


MANY = [f"item {number:02}" for number in range(14)]


def full(home: Home) -> AgeStore:
    """Return a vault with many items."""
    source = AgeStore(home.state / "place")
    for name in MANY:
        source.put(Item(name, Secret(f"value of {name}")), expect=None)
    return source


def test_many_items_are_created_with_two_looks_at_the_server_in_all(fake: FakePlace, home: Home) -> None:
    """With an API key each look is a login, and servers limit those: ten a minute."""
    source, target, told = full(home), fake.store(), list[str]()
    create_all(source, target, plan(source, target).missing, told.append)

    assert [line.partition(" (revision 2")[0] for line in told] == [f"'{name}' is new" for name in MANY]
    assert {item["name"]: item["login"]["password"] for item in fake.stored()} == {
        name: f"value of {name}" for name in MANY
    }
    assert fake.syncs() == 2


def test_what_came_after_the_plan_is_left_as_it_is(fake: FakePlace, home: Home) -> None:
    source, target, told = full(home), fake.store(), list[str]()
    planned = plan(source, target)
    fake.serve(login(MANY[3], "theirs"))
    create_all(source, target, planned.missing, told.append)

    assert f"'{MANY[3]}' is there already by now, and left as it is" in told
    assert len(fake.stored()) == len(MANY)
    assert fake.store().get(MANY[3]).password == Secret("theirs")


def test_of_doubles_made_at_one_moment_the_later_are_taken_away_again(fake: FakePlace, home: Home) -> None:
    source, target = full(home), fake.store()
    planned = plan(source, target)
    rival = login(MANY[0], "theirs")
    fake.serve(faults=[{"on": "POST /object/item", "rival": rival}])
    with pytest.raises(Conflict) as caught:
        create_all(source, target, planned.missing, lambda _line: None)

    assert caught.value.what == f"another machine made at the same moment: '{MANY[0]}' as {rival['id']}"
    assert sorted(item["name"] for item in fake.stored()) == MANY
    assert fake.store().get(MANY[0]).password == Secret("theirs")
    assert plan(source, fake.store()).missing == ()


def test_a_server_that_limits_is_told_with_what_is_done_and_the_rest_follows(fake: FakePlace, home: Home) -> None:
    source, target, told = full(home), fake.store(), list[str]()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            content = json.loads(fake.server_file.read_text())
            content["faults"] = [{"on": "POST /object/item", "message": "Rate limit exceeded. Try again later."}]
            fake.server_file.write_text(json.dumps(content))

    with pytest.raises(Failure) as caught:
        create_all(source, target, plan(source, target).missing, tell)
    assert (caught.value.exit_status, caught.value.cause) == (75, "rate-limited")
    assert caught.value.why.endswith("; 3 of 14 items are there")
    assert caught.value.next_step == "run it again in a minute: it goes on with the others"

    again = fake.store()
    create_all(source, again, plan(source, again).missing, told.append)
    assert sorted(item["name"] for item in fake.stored()) == MANY
    assert len(told) == len(MANY)


def test_nothing_to_create_needs_no_look_after_it(fake: FakePlace, home: Home) -> None:
    fake.serve(*(login(name, "theirs") for name in MANY))
    source, target = full(home), fake.store()
    create_all(source, target, source.list(), lambda _line: None)

    assert fake.syncs() == 1
