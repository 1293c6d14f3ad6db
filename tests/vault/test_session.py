"""One chain's session: signed in and unlocked at most once, news fetched once, and how bw stands after a failure."""

import os
import signal
from contextlib import nullcontext
from dataclasses import replace

import pytest

from tasks.errors import Failure, Refused
from tasks.secret import Secret
from tasks.vault.session import Session
from tasks.vault.signin import Person
from tasks.vault.store import Item
from tests.vault.conftest import FakePlace, login


def test_a_chain_signs_in_once_and_unlocks_once(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    store = fake.store()
    for _ in range(3):
        assert store.get("key").password == Secret("one")

    asked = fake.asked()
    assert (asked.count("login --apikey"), asked.count("POST /unlock")) == (1, 1)
    assert asked.count("POST /sync") == 0


def test_a_copy_that_is_fresh_is_read_and_an_old_one_renewed(fake: FakePlace) -> None:
    fake.store().list()
    assert fake.store().list() == []
    assert fake.asked().count("POST /sync") == 0
    fake.serve(login("key", "one"))
    data = fake.account.folder / "data.json"
    data.write_text(data.read_text().replace('"synced": "20', '"synced": "19'))

    assert [ref.name for ref in fake.store().list()] == ["key"]
    assert fake.asked().count("POST /sync") == 1


def test_a_server_that_cannot_be_asked_leaves_the_copy(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    fake.store().list()
    fake.serve(faults=[{"on": "POST /sync", "message": "Syncing failed: connect ECONNREFUSED 127.0.0.1:1"}])
    data = fake.account.folder / "data.json"
    data.write_text(data.read_text().replace('"synced": "20', '"synced": "19'))

    assert fake.store().get("key").password == Secret("one")
    assert fake.said[-1].startswith("reading the copy of 19")
    assert fake.said[-1].endswith(": vault.example cannot be reached")


def test_a_copy_that_claims_to_be_of_the_future_is_no_fresh_one(fake: FakePlace) -> None:
    """Our clock was ahead; bw takes nothing that happens until then for news, unless everything is fetched."""
    fake.store().list()
    data = fake.account.folder / "data.json"
    data.write_text(data.read_text().replace('"synced": "20', '"synced": "21'))
    fake.store().list()

    assert fake.asked().count("POST /sync?force=true") == 1


def test_being_signed_out_by_any_answer_is_told_and_mended_by_the_next_chain(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    store = fake.store()
    store.list()
    faults = [{"on": "POST /sync", "out": True, "message": "Syncing failed: what nobody has seen"}]
    fake.serve(login("key", "one"), faults=faults)
    with pytest.raises(Failure) as caught:
        store._session.sync()

    assert (caught.value.exit_status, caught.value.cause) == (77, "signed-out")
    assert caught.value.what == "vault.example signed this machine out; bw has dropped its local copy"
    assert fake.store().get("key").password == Secret("one")


def test_a_bw_that_finds_no_account_while_another_writes_it_is_not_believed(fake: FakePlace) -> None:
    """A new one is asked, and nobody signs in anew."""
    fake.store().list()
    fake.serve(login("key", "one"), faults=[{"on": "GET /status", "blind": True}])

    fake.store().list()
    assert fake.asked().count("login --apikey") == 1


def test_a_failure_is_told_as_what_it_was_though_bw_finds_no_account_just_then(fake: FakePlace) -> None:
    store = fake.store()
    store.list()
    failing: dict[str, object] = {"on": "GET /list", "message": "what nobody has seen"}
    fake.serve(faults=[failing, {"on": "GET /status", "blind": True}])
    with pytest.raises(Failure) as caught:
        store.list()

    assert caught.value.cause == "bw"
    assert store.list() == []


def test_a_bw_in_pieces_after_it_was_signed_out_is_replaced_and_the_new_one_knows(fake: FakePlace) -> None:
    fake.store().list()
    fake.serve(faults=[{"on": "GET /status", "message": "Error: No session key available", "out": True}])

    assert fake.store()._session.standing().state == "unauthenticated"


def test_a_wrong_master_password_is_told_once(fake: FakePlace) -> None:
    fake.store().list()
    with pytest.raises(Failure) as caught:
        fake.store(password=Secret("wrong")).list()

    assert (caught.value.what, caught.value.cause) == ("the master password is wrong", "master-password")
    assert fake.asked().count("POST /unlock") == 2


@pytest.mark.parametrize(("typed", "is_open"), [("no, no, the master password", True), ("no, no, no", False)])
def test_a_person_may_type_the_master_password_three_times(fake: FakePlace, typed: str, is_open: bool) -> None:
    fake.store().list()
    words = iter(typed.split(", "))
    session = Session(replace(fake.account, password=None), Person(lambda _: Secret(next(words)), fake.said.append))
    fake.sessions.append(session)
    with nullcontext() if is_open else pytest.raises(Refused, match="the master password is wrong"):
        session.open()

    assert list(words) == []
    assert fake.said[1:] == ["the master password is wrong; once more"] * 2
    assert session.standing().state == ("unlocked" if is_open else "locked")


def test_a_killed_serve_is_replaced_and_opened_by_the_session_it_had(fake: FakePlace) -> None:
    fake.serve(login("key", "one"))
    store = fake.store()
    store.list()
    serve = store._session._serve
    assert serve is not None
    os.kill(serve.pid, signal.SIGKILL)

    assert store.get("key").password == Secret("one")
    assert fake.asked().count("POST /unlock") == 1


@pytest.mark.parametrize("faults", [[], [{"on": "GET /object/item", "die": True}]], ids=["late", "ended"])
def test_what_was_written_is_what_is_read_next(fake: FakePlace, faults: list[dict[str, object]]) -> None:
    """Right after a write bw may still have the old items in memory; a list then would keep them there."""
    fake.serve(login("key", "one"))
    store = fake.store()
    item = store.get("key")
    fake.serve(login("key", "one"), faults=faults)

    store.put(replace(item, password=Secret("two")), expect=item.revision)
    assert store.get("key").password == Secret("two")
    store.put(Item("new", Secret("three")), expect=None)
    assert store.get("new").password == Secret("three")
    assert [asked for asked in fake.asked() if asked.startswith(("PUT", "POST /object"))] == [
        "PUT /object/item/id-of-key",
        "POST /object/item",
    ]


def test_a_data_folder_of_another_server_is_refused(fake: FakePlace) -> None:
    fake.store().list()
    fake.account = replace(fake.account, server="https://other.example")
    with pytest.raises(Failure) as caught:
        fake.store().list()

    assert caught.value.cause == "other-server"
    assert caught.value.why == "expected https://other.example, found https://vault.example"


def test_a_data_folder_of_another_account_is_refused(fake: FakePlace) -> None:
    """Its secrets are somebody else's, and ours would go there."""
    fake.store(email="A@Example.com").list()
    with pytest.raises(Failure) as caught:
        fake.store(email="b@example.com").list()

    assert (caught.value.exit_status, caught.value.cause) == (78, "other-account")
    assert caught.value.why == "expected b@example.com, found a@example.com"


def test_an_api_key_that_was_replaced_elsewhere_is_replaced_here(fake: FakePlace) -> None:
    """bw goes on with the one by which it signed in, and no command of ours could tell it another."""
    fake.store().list()
    fake.account = replace(fake.account, client_secret=Secret("a new one"))
    fake.serve(login("key", "one"))
    store = fake.store()
    store.refresh()

    assert store.get("key").password == Secret("one")
    assert fake.asked().count("login --apikey") == 2
    assert [path.name for path in fake.account.folder.parent.glob("data*")] == ["data"]


def test_a_refused_api_key_leaves_the_copy_to_be_read(fake: FakePlace) -> None:
    """The one that is set may be as old as the one that bw has."""
    fake.serve(login("key", "one"))
    fake.store().list()
    data = fake.account.folder / "data.json"
    data.write_text(data.read_text().replace('"synced": "20', '"synced": "19'))
    fake.server_file.write_text(fake.server_file.read_text().replace("the client secret", "a new one"))
    before = data.read_text()
    store = fake.store()

    assert store.get("key").password == Secret("one")
    assert fake.said[-1].endswith(": vault.example refuses the API key")
    with pytest.raises(Refused) as caught:
        store.refresh()
    assert (caught.value.cause, data.read_text()) == ("api-key", before)


def test_signing_out_forgets_the_account_and_the_next_use_signs_in(fake: FakePlace) -> None:
    fake.store().list()
    fake.store()._session.sign_out()
    fake.store()._session.sign_out()
    assert fake.asked().count("logout") == 1
    assert fake.store()._session.standing().state == "unauthenticated"

    fake.store().list()
    assert fake.asked().count("login --apikey") == 2


def test_what_is_signed_out_needs_no_lock(fake: FakePlace) -> None:
    fake.store().list()
    data = fake.account.folder / "data.json"
    data.write_text(data.read_text().replace('"user"', '"nobody"'))
    fake.store()._session.lock()

    assert fake.asked().count("POST /lock") == 0


def test_looking_how_it_stands_asks_for_nothing(fake: FakePlace) -> None:
    assert fake.store(password=None)._session.standing().state == "unauthenticated"
    fake.store().list()
    assert fake.store(password=None)._session.standing().state == "locked"


def test_news_of_a_locked_account_are_not_fetched_by_two_at_once(fake: FakePlace) -> None:
    """The lock is held while news are fetched and something is written; inside it is the same lock."""
    session = fake.store()._session
    with session.exclusive(), session.exclusive():
        assert session.documents() == []

    assert fake.asked().count("POST /sync") == 0
