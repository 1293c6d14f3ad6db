"""The Bitwarden vault as a store, over the fake bw: what is written, when it is refused, what is said."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tasks.errors import Failure
from tasks.secret import Secret
from tasks.vault.bitwarden import RACE
from tasks.vault.saving import save_password
from tasks.vault.store import Conflict, Item, NoSuchItem, State
from tests.vault.conftest import FakePlace, login


def test_an_item_that_a_fresh_copy_does_not_have_is_asked_for_once(fake: FakePlace) -> None:
    """Another machine may have made it since."""
    fake.store().list()
    fake.serve(login("key", "one"))
    store = fake.store()

    assert store.get("key").password == Secret("one")
    with pytest.raises(NoSuchItem):
        store.get("another")
    assert fake.asked().count("POST /sync") == 1


def test_status_says_how_it_stands(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    assert str(fake.store().status()) == "signed out (vault.example, never synced here)"
    session = fake.store()._session.unlocked()
    locked = fake.store(password=None).status()
    opened = fake.store(session=session).status()

    assert (locked.state, locked.items) == (State.LOCKED, 0)
    assert (opened.state, opened.items) == (State.OPEN, 1)
    assert str(opened).startswith("open, 1 item in vault.example, synced 20")


@pytest.mark.parametrize("password", [None, Secret("the master password")], ids=["nobody", "a password"])
def test_a_session_that_opens_nothing_is_told(fake: FakePlace, password: Secret | None) -> None:
    """Whether the password at hand then opens the vault or not."""
    fake.store().list()
    status = fake.store(password=password, session=Secret("B" * 86 + "==")).status()

    assert status.state is (State.OPEN if password else State.LOCKED)
    assert [trouble.what for trouble in status.troubles] == [
        "BW_SESSION is set, but does not open the vault: a later unlock replaced it, or it is of another data folder"
    ]


@pytest.mark.parametrize(
    ("fault", "status", "cause", "what"),
    [
        (
            {"message": "Cannot read properties of null (reading 'toWrappedAccountCryptographicState')"},
            *(78, "server-too-old", "vault.example is too old for this bw: its login answer lacks the account's keys"),
        ),
        (
            {"message": "Master password unlock data is required is null or undefined."},
            *(78, "no-unlock-data", "vault.example did not give what unlocks the vault"),
        ),
        (
            {"message": "User Decryption Options are required for client initialization."},
            *(78, "no-unlock-data", "vault.example did not give what unlocks the vault"),
        ),
        (
            {"message": "KeyIdBackfillError: 404"},
            *(78, "bw-too-new", "this bw is too new for vault.example, which does not know a step of its login"),
        ),
        (
            {"message": "Please update your app to continue using Bitwarden"},
            *(78, "bw-too-old", "vault.example refuses this bw as too old"),
        ),
        (
            {"numb": True},
            *(77, "still-locked", "bw unlocked the vault and gave a session, but says that it is still locked"),
        ),
        (
            {"out": True, "message": "Unauthorized"},
            *(77, "signed-out", "vault.example does not let this account in any more; bw has dropped its local copy"),
        ),
    ],
    ids=["no account keys", "no unlock data", "older words", "backfill", "old client", "locked all the same", "out"],
)
def test_the_status_tries_the_password_at_hand_and_recognises_what_is_broken(
    fake: FakePlace, fault: dict[str, object], status: int, cause: str, what: str
) -> None:
    fake.store().list()
    fake.serve(faults=[{"on": "POST /unlock", **fault}])
    with pytest.raises(Failure) as caught:
        fake.store().status()

    assert (caught.value.exit_status, caught.value.cause, caught.value.what) == (status, cause, what)
    assert caught.value.next_step != ""


def test_a_write_sends_the_revision_that_was_read_and_all_it_does_not_change(fake: FakePlace) -> None:
    fake.serve(login("key", "one", notes="as it was", favorite=True, reprompt=1))
    save_password(fake.store(), "key", Secret("two"))
    [item] = fake.stored()

    assert (item["login"]["password"], item["notes"], item["favorite"], item["reprompt"]) == (
        "two",
        "as it was",
        True,
        1,
    )
    assert [old["password"] for old in item["passwordHistory"]] == ["one"]


def test_another_revision_than_expected_is_a_conflict_and_nothing_is_sent(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    store = fake.store()
    item = store.get("key")
    with pytest.raises(Conflict) as caught:
        store.put(replace(item, password=Secret("two")), expect="2025-01-01T00:00:00.000Z")

    assert str(caught.value) == (
        "'key' was changed meanwhile in the bitwarden vault: "
        "expected revision 2025-01-01T00:00:00.000Z, found 2026-01-01T00:00:00.000Z\n"
        "  next: run it again: it reads the new state first"
    )
    assert [asked for asked in fake.asked() if asked.startswith("PUT")] == []


def test_a_new_item_is_not_made_beside_one_of_its_name(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    with pytest.raises(Conflict):
        fake.store().put(Item("key", Secret("two")), expect=None)
    assert [item["login"]["password"] for item in fake.stored()] == ["one"]


@pytest.mark.parametrize(("made", "kept"), [("2026-01-01", "theirs"), ("2999-01-01", "ours")])
def test_of_two_items_made_at_one_moment_the_later_gives_way(fake: FakePlace, made: str, kept: str) -> None:
    """Whoever made it replaces the other's password instead; the maker of the first has nothing to do."""
    rival = login("key", "theirs", creationDate=f"{made}T00:00:00.000Z")
    fake.serve(login("other", "one"), faults=[{"on": "POST /object/item", "rival": rival}])
    save_password(fake.store(), "key", Secret("ours"))
    items = [item for item in fake.stored() if item["name"] == "key"]
    [first] = [item for item in items if kept == "ours" or item["id"] == rival["id"]][-1:]

    assert len(items) == (1 if kept == "theirs" else 2)
    assert first["login"]["password"] == "ours"
    assert [old["password"] for old in first["passwordHistory"]] == (["theirs"] if kept == "theirs" else [])


def test_two_items_of_one_name_are_looked_at_again_while_one_may_go(fake: FakePlace) -> None:
    """A third machine that reads between is not told of a double that its maker is taking away."""
    store = fake.store()
    store.list()  # whatever has to start has started
    made = datetime.now(UTC) - timedelta(seconds=RACE - 6)
    fake.serve(login("key", "one"), login("key", "two", creationDate=made.isoformat()))
    store._session.sync(force=True)
    before = fake.syncs()
    with pytest.raises(Failure) as caught:
        store.get("key")

    assert caught.value.cause == "ambiguous"
    assert datetime.now(UTC) >= made + timedelta(seconds=RACE)
    assert fake.syncs() >= before + 2


def test_a_clock_that_is_far_off_makes_nobody_wait_for_a_double(fake: FakePlace) -> None:
    fake.serve(login("key", "one"), login("key", "two", creationDate="2999-01-01T00:00:00.000Z"))
    with pytest.raises(Failure) as caught:
        fake.store().get("key")

    assert caught.value.cause == "ambiguous"
    assert fake.syncs() == 0


def test_a_young_revision_is_looked_at_again_before_it_is_replaced(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    store = fake.store()
    save_password(store, "key", Secret("two"))
    before = fake.syncs()
    save_password(store, "key", Secret("three"))

    assert fake.syncs() == before + 1
    assert [old["password"] for old in fake.stored()[0]["passwordHistory"]] == ["two", "one"]


def test_a_further_write_costs_one_request_beside_reads_of_the_copy(fake: FakePlace) -> None:
    """Each answer of bw about how it stands may cost a tenth of a second: its data file is locked, then tried again."""
    fake.serve(login("key", "one"), login("other", "one"))
    store = fake.store()
    save_password(store, "key", Secret("two"))
    before = len(fake.asked())
    save_password(store, "other", Secret("two"))

    assert [asked.partition("?")[0] for asked in fake.asked()[before:]] == [
        "GET /list/object/items",
        "GET /list/object/items",
        "PUT /object/item/id-of-other",
        "GET /object/item/id-of-other",
        "GET /object/item/id-of-other",
    ]


def test_a_copy_that_was_young_when_it_was_fetched_is_not_trusted(fake: FakePlace) -> None:
    """Another client wrote a second after the revision that we have: the server would take ours over theirs."""
    read, theirs = (datetime.now(UTC) - timedelta(seconds=30 - later) for later in (0, 1))
    fake.serve(login("key", "one", revisionDate=read.isoformat()))
    store = fake.store()
    item = store.get("key")
    store._session.close()
    data = json.loads((fake.account.folder / "data.json").read_text())
    data["synced"] = (read + timedelta(seconds=0.5)).isoformat()
    (fake.account.folder / "data.json").write_text(json.dumps(data))
    fake.serve(login("key", "theirs", revisionDate=theirs.isoformat()))
    with pytest.raises(Conflict):
        fake.store().put(replace(item, password=Secret("mine")), expect=item.revision)

    assert fake.stored()[0]["login"]["password"] == "theirs"


def test_a_clock_that_is_ahead_of_the_servers_loses_no_write(fake: FakePlace) -> None:
    """To us the revision is an hour old; to the server it is young, and it would take ours over theirs."""
    read, theirs = (datetime.now(UTC) - timedelta(seconds=3600 - later) for later in (0, 1))
    fake.serve(login("key", "one", revisionDate=read.isoformat()))
    store = fake.store()
    item = store.get("key")
    fake.serve(login("key", "theirs", revisionDate=theirs.isoformat()))
    with pytest.raises(Conflict):
        store.put(replace(item, password=Secret("mine")), expect=item.revision)

    assert fake.stored()[0]["login"]["password"] == "theirs"


def test_a_lost_answer_is_looked_for_and_not_sent_twice(fake: FakePlace) -> None:
    cut: dict[str, object] = {
        "on": "PUT /object/item",
        "cut": True,
        "message": "FetchError: socket hang up",
    }
    fake.serve(login("key", "one"), faults=[cut])
    save_password(fake.store(), "key", Secret("two"))

    assert fake.stored()[0]["login"]["password"] == "two"
    assert len([asked for asked in fake.asked() if asked.startswith("PUT")]) == 1


def test_a_write_that_was_not_taken_is_the_failure_it_was(fake: FakePlace) -> None:
    fault: dict[str, object] = {
        "on": "PUT /object/item",
        "message": "FetchError: connect ECONNREFUSED",
    }
    fake.serve(login("key", "one"), faults=[fault])
    with pytest.raises(Failure) as caught:
        save_password(fake.store(), "key", Secret("two"))

    assert (caught.value.what, caught.value.cause) == ("vault.example cannot be reached", "unreachable")
    assert fake.stored()[0]["login"]["password"] == "one"


def test_what_cannot_be_looked_for_is_not_claimed(fake: FakePlace) -> None:
    cut: dict[str, object] = {
        "on": "PUT /object/item",
        "cut": True,
        "message": "FetchError: socket hang up",
    }
    down: dict[str, object] = {"on": "POST /sync", "message": "Syncing failed: FetchError: connect ECONNREFUSED"}
    fake.serve(login("key", "one"))
    store = fake.store()
    store._session.sync()
    fake.serve(login("key", "one"), faults=[cut, down])
    with pytest.raises(Failure) as caught:
        save_password(store, "key", Secret("two"))

    assert (caught.value.exit_status, caught.value.cause) == (74, "unknown")
    assert caught.value.what == "it is not known whether 'key' was written"


def test_the_export_is_bitwardens_own_layout(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    export = json.loads(fake.store().export().reveal())

    assert (export["encrypted"], [item["name"] for item in export["items"]]) == (False, ["key"])
