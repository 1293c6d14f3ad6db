"""The way up: items created in another vault, none overwritten, to be run again where it stopped."""

from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.moving import create, names, plan
from tasks.vault.store import Field, Item
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

    create(source, target, planned.missing[0])
    resumed = plan(source, target)
    assert names(resumed.missing) == "'second'"
    create(source, target, resumed.missing[0])

    assert plan(source, target).missing == ()
    assert target.get("both").password == Secret("theirs")
    first = target.get("first")
    assert (first.password, first.username, first.notes) == (Secret("1"), Secret("who"), Secret("notes"))
    assert first.fields == (Field("tag", Secret("x")),)
