"""The Bitwarden vault with the real bw against a TLS server that can decrypt what it got: reads, writes, conflicts."""

import os
import signal
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.errors import Failure
from tasks.secret import Secret
from tasks.vault import bw
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.rescue import save_exclusively
from tasks.vault.saving import save_password
from tasks.vault.session import Session
from tasks.vault.signin import Person
from tasks.vault.store import Conflict, Item, NoSuchItem
from tests.conftest import Home
from tests.vault.conftest import Make, Place, account_of, age_copy
from tests.vault.server import Fault, Server, serving
from tests.vault.server_crypto import Authority
from tests.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KEY = "Tailscale auth key"
PATIENCE = 3  # how many times slower than a quiet machine this one may be


def passwords(server: Server, name: str) -> tuple[str, list[str]]:
    """Return an item's password and its old ones, newest first, as the server has them."""
    item = server.item(name)
    return item["login"]["password"], [old["password"] for old in item["passwordHistory"] or []]


def test_names_match_exactly_and_ids_too(place: Place, make: Make) -> None:
    """bw itself would take any item that holds the words."""
    first = make(KEY, "one")
    make(f"{KEY} of another tailnet", "two")
    store = place.store()

    assert store.get(KEY).password == Secret("one")
    assert store.get(first).password == Secret("one")
    with pytest.raises(NoSuchItem) as caught:
        store.get("Tailscale")
    assert str(caught.value) == (
        f"the bitwarden vault has no item 'Tailscale': it has '{KEY}', '{KEY} of another tailnet'\n"
        "  next: `inv vault.list` shows all names"
    )


def test_two_items_of_one_name_are_refused_with_their_ids(place: Place, make: Make) -> None:
    ids = {make(KEY, "one"), make(KEY, "two")}

    with pytest.raises(Failure) as caught:
        place.store().get(KEY)

    assert (caught.value.what, caught.value.cause) == (f"the bitwarden vault has 2 items named '{KEY}'", "ambiguous")
    assert set(caught.value.why.removeprefix("their ids are ").split(", ")) == ids


def test_a_write_replaces_one_value_keeps_the_rest_and_nothing_arrives_in_clear(
    place: Place, make: Make, server: Server
) -> None:
    make(KEY, "canary-old", username="canary-user", notes="canary-notes", fields={"canary-field": "canary-value"})
    before = server.item(KEY)
    saved = save_password(place.store(), KEY, Secret("canary-new"))
    after = server.item(KEY)

    assert passwords(server, KEY) == ("canary-new", ["canary-old"])
    assert (after["notes"], after["login"]["username"]) == ("canary-notes", "canary-user")
    assert [(each["name"], each["value"]) for each in after["fields"]] == [("canary-field", "canary-value")]
    assert after["id"] == before["id"]
    assert "the old value is in its history (1 kept)" in str(saved)
    assert [request for request in server.requests if "canary" in request.body] == []


def test_a_missing_item_is_made_once(place: Place, server: Server) -> None:
    save_password(place.store(), "new", Secret("one"))
    save_password(place.store(), "new", Secret("one"))

    assert server.names() == ["new"]
    assert len(server.paths("POST")) - server.paths("POST").count("/identity/connect/token") == 1


def test_one_chain_unlocks_once_and_asks_the_server_for_news_once(place: Place, make: Make, server: Server) -> None:
    make(KEY, "one")
    store = place.store()
    store._session.sync()
    server.requests.clear()
    for _ in range(3):
        store.get(KEY)

    assert server.requests == []
    assert place.said == []


def test_a_session_of_a_shell_opens_the_vault_and_stays_good(place: Place, make: Make) -> None:
    make(KEY, "one")
    session = place.store()._session.unlocked()
    again = place.store(password=None, session=session)

    assert again.get(KEY).password == Secret("one")
    assert place.store(password=None, session=session).get(KEY).password == Secret("one")


def test_a_locked_vault_without_anybody_to_ask_names_the_variable(place: Place) -> None:
    with pytest.raises(Failure) as caught:
        place.store(password=None).list()

    assert (caught.value.exit_status, caught.value.cause) == (77, "locked")
    assert "set BW_PASSWORD" in caught.value.next_step


def test_locking_ends_the_sessions_of_shells(place: Place) -> None:
    store = place.store()
    session = store._session.unlocked()
    store._session.lock()

    with pytest.raises(Failure) as caught:
        place.store(password=None, session=session).list()
    assert caught.value.cause == "locked"


def test_a_write_over_an_old_revision_is_a_conflict(place: Place, make: Make, server: Server) -> None:
    item_id = make(KEY, "one")
    store = place.store()
    mine = store.get(KEY)
    server.put(KEY, "theirs", id=item_id)

    with pytest.raises(Conflict):
        store.put(replace(mine, password=Secret("mine")), expect=mine.revision)
    assert passwords(server, KEY) == ("theirs", [])


def test_the_hole_of_two_seconds_loses_nothing(place: Place, make: Make, server: Server) -> None:
    """Another client writes over a young revision just before us: the server alone would take ours as well."""
    item_id = make(KEY, "one", revision=(datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    store = place.store()
    mine = store.get(KEY)
    server.put(KEY, "theirs", id=item_id)

    with pytest.raises(Conflict):
        store.put(replace(mine, password=Secret("mine")), expect=mine.revision)
    save_password(store, KEY, Secret("mine"))
    assert passwords(server, KEY) == ("mine", ["theirs"])


@pytest.mark.parametrize("later", [1.0, 30.0], ids=["within the hole", "after it"])
def test_a_clock_that_is_ahead_of_the_servers_loses_no_write(
    place: Place, make: Make, server: Server, later: float
) -> None:
    """bw itself then takes another's write for no news, as its last sync is dated by the clock that is ahead."""
    server.behind = timedelta(minutes=1)
    server.revision = read = datetime.now(UTC) - server.behind
    item_id = make(KEY, "one", revision=read.isoformat())
    store = place.store()
    mine = store.get(KEY)
    server.put(KEY, "theirs", id=item_id)["revisionDate"] = (read + timedelta(seconds=later)).isoformat()

    with pytest.raises(Conflict):
        store.put(replace(mine, password=Secret("mine")), expect=mine.revision)
    save_password(store, KEY, Secret("mine"))
    assert passwords(server, KEY) == ("mine", ["theirs"])


def test_a_value_that_only_our_copy_still_holds_is_written(place: Place, make: Make, server: Server) -> None:
    """Another client replaced it, which bw takes for no news as our clock is ahead."""
    server.behind = timedelta(minutes=10)
    item_id = make(KEY, "one")
    store = place.store()
    store.list()
    server.put(KEY, "theirs", id=item_id)
    save_exclusively(store, Item(KEY, Secret("one")))

    assert passwords(server, KEY) == ("one", ["theirs"])


@pytest.mark.parametrize("again", ["same value", "another value"])
def test_an_answer_lost_after_the_write_is_looked_for(place: Place, make: Make, server: Server, again: str) -> None:
    make(KEY, "one")
    store = place.store()
    store.list()
    server.order(Fault("PUT", "/api/ciphers", cut=True))
    save_password(store, KEY, Secret("two"))

    assert passwords(server, KEY) == ("two", ["one"])
    assert len(server.paths("PUT")) == 1
    if again == "another value":
        save_password(store, KEY, Secret("three"))
        assert passwords(server, KEY) == ("three", ["two", "one"])


def test_an_answer_lost_after_a_creation_doubles_nothing(place: Place, server: Server) -> None:
    server.order(Fault("POST", "/api/ciphers", cut=True))
    save_password(place.store(), "new", Secret("one"))

    assert server.names() == ["new"]


def test_a_killed_bw_serve_is_started_again(place: Place, make: Make) -> None:
    make(KEY, "one")
    store = place.store()
    store.list()
    serve = store._session._serve
    assert serve is not None
    os.kill(serve.pid, signal.SIGKILL)

    assert store.get(KEY).password == Secret("one")
    save_password(store, KEY, Secret("two"))
    assert store.get(KEY).password == Secret("two")


def test_a_damaged_data_file_means_signing_in_again(place: Place, make: Make) -> None:
    """bw empties it; what is lost with it is on the server."""
    make(KEY, "one")
    data = place.account.folder / "data.json"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])

    assert place.store().get(KEY).password == Secret("one")
    assert len(place.said) == 1
    assert place.said[0].startswith("signing in to localhost:")


FAILURES = [
    # what goes wrong, exit status, cause, within how many seconds, whether bw stays signed in
    pytest.param(Fault("*", "/api/", status=401, times=9), 77, "signed-out", 15, False, id="401"),
    pytest.param(Fault("*", "/api/", status=403, times=9), 77, "signed-out", 15, False, id="403"),
    pytest.param(Fault("PUT", "/api/", status=404, body='{"message":"nothing here"}'), 69, "bw", 15, True, id="404"),
    pytest.param(Fault("*", "/api/", status=429, times=9), 75, "rate-limited", 15, True, id="429"),
    pytest.param(Fault("*", "/api/", status=503, body="<html>", times=9), 74, "unknown", 15, True, id="503"),
    pytest.param(Fault("PUT", "/api/", hang=True), 75, "timed-out", 60, True, id="a write that hangs"),
    pytest.param(Fault("*", "/", hang=True, times=9), 74, "unknown", 75, True, id="a server that hangs"),
]


@pytest.mark.parametrize(("fault", "status", "cause", "within", "stays"), FAILURES)
def test_a_server_that_refuses_has_its_own_end(
    place: Place, make: Make, server: Server, fault: Fault, status: int, cause: str, within: float, stays: bool
) -> None:
    """And what is stored, and where bw is still signed in, its copy and session, are as they were.

    A 401 or 403 makes bw wipe its copy itself; the next chain signs in anew.
    """
    make(KEY, "one")
    store = place.store()
    item, session = store.get(KEY), store._session.unlocked()
    server.order(replace(fault))
    started = time.monotonic()
    with pytest.raises(Failure) as caught:
        store.put(replace(item, password=Secret("two")), expect=item.revision)
    taken = time.monotonic() - started
    server.order()

    assert (caught.value.exit_status, caught.value.cause) == (status, cause), str(caught.value)
    assert taken < within * PATIENCE
    assert caught.value.next_step != ""
    assert passwords(server, KEY) == ("one", [])
    if stays:
        assert place.store(password=None, session=session).get(KEY).password == Secret("one")
        assert place.said == []
    else:
        assert place.store().get(KEY).password == Secret("one")


def test_a_server_that_hangs_after_the_login_does_not_hold_us_up(server: Server, real_bw: Path, home: Home) -> None:
    """The first unlock asks for settings, and `bw unlock` itself would wait for them for ever."""
    account = account_of(server, real_bw, home.state / "data", home.runtime)
    server.put(KEY, "one")
    server.order(Fault("GET", "/api/config", hang=True, times=9))
    session = Session(account, Person(None, print))
    started = time.monotonic()
    try:
        assert BitwardenStore(session).get(KEY).password == Secret("one")
    finally:
        session.close()
        server.order()

    assert time.monotonic() - started < bw.DEADLINE * 2


def test_a_new_machine_that_cannot_reach_the_server_says_so(real_bw: Path, home: Home, authority: Authority) -> None:
    with serving(authority) as server:
        account = account_of(server, real_bw, home.state / "data", home.runtime)
    with pytest.raises(Failure) as caught:
        BitwardenStore(Session(account, Person(None, print))).list()

    assert (caught.value.exit_status, caught.value.cause) == (69, "unreachable")
    assert caught.value.what == f"{account.host} cannot be reached"
    assert caught.value.next_step == "look at the network and BW_SERVER, then run it again"


def test_a_bw_serve_that_is_killed_while_it_writes_leaves_old_or_new(place: Place, make: Make, server: Server) -> None:
    """What the server took is found there; what it did not take is a failure that says so."""
    make(KEY, "one")
    store = place.store()
    item = store.get(KEY)
    server.order(Fault("PUT", "/api/", hang=True))
    ended: list[Failure] = []

    def write() -> None:
        try:
            store.put(replace(item, password=Secret("two")), expect=item.revision)
        except Failure as failure:
            ended.append(failure)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: server.paths("PUT"), what="write", seconds=30)
    assert store._session._serve is not None
    os.kill(store._session._serve.pid, signal.SIGKILL)
    writer.join()
    server.order()

    assert [(failure.exit_status, failure.cause) for failure in ended] == [(69, "no-answer")]
    assert passwords(server, KEY) == ("one", [])
    save_password(store, KEY, Secret("two"))
    assert passwords(server, KEY) == ("two", ["one"])


def test_a_server_that_is_down_leaves_the_copy_to_be_read(
    place: Place, make: Make, server: Server, authority: Authority
) -> None:
    make(KEY, "one")
    place.store().list()
    age_copy(place.account.folder)
    server.order(Fault("*", "/", status=503, times=99))
    store = place.store()

    assert store.get(KEY).password == Secret("one")
    assert [line.partition(":")[0].split(" of ")[0] for line in place.said] == ["reading the copy"]


def test_a_server_that_hangs_ends_within_the_deadline(place: Place, make: Make, server: Server) -> None:
    make(KEY, "one")
    store = place.store()
    item = store.get(KEY)
    server.order(Fault("POST", "/identity", hang=True), Fault("GET", "/api/accounts/revision-date", hang=True))
    started = time.monotonic()
    with pytest.raises(Failure) as caught:
        store._session.sync()

    assert caught.value.exit_status == 75
    assert "did not answer within 15 s" in caught.value.what
    assert time.monotonic() - started < 40
    server.order()
    assert store.get(KEY) == item


def test_a_certificate_that_nobody_trusts_is_told(
    server: Server, real_bw: object, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS")
    account = account_of(server, real_bw, home.state / "data", home.runtime)  # type: ignore[arg-type]
    with pytest.raises(Failure) as caught:
        BitwardenStore(Session(account, Person(None, print))).list()

    assert (caught.value.exit_status, caught.value.cause) == (78, "tls")
    assert caught.value.what == f"the certificate of {account.host} is not trusted"


@pytest.mark.parametrize("change", ["API key", "password"])
def test_wrong_credentials_are_told_apart(server: Server, real_bw: object, home: Home, change: str) -> None:
    account = account_of(server, real_bw, home.state / "data", home.runtime)  # type: ignore[arg-type]
    if change == "API key":
        account = replace(account, client_secret=Secret("wrong"))
    else:
        account = replace(account, client_id="", email=server.account.email, password=Secret("wrong"))
    with pytest.raises(Failure) as caught:
        BitwardenStore(Session(account, Person(None, print))).list()

    causes = {"API key": "api-key", "password": "master-password"}
    assert (caught.value.exit_status, caught.value.cause) == (77, causes[change])


def test_an_api_key_that_was_replaced_elsewhere_is_replaced_here(
    place: Place, make: Make, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong one leaves the copy as it is, and readable; the right one is taken at the next news."""
    make(KEY, "one")
    place.store().refresh()
    age_copy(place.account.folder)
    monkeypatch.setattr(server.account, "client_secret", "replaced")
    server.put("news", "two")

    assert place.store().get(KEY).password == Secret("one")
    assert place.said[-1].endswith(f": {place.account.host} refuses the API key")
    assert place.store(client_secret=Secret("replaced")).get("news").password == Secret("two")


def test_a_machine_that_signed_out_signs_in_anew(place: Place, make: Make) -> None:
    """So is a master password taken that was changed elsewhere: bw compares with what it has."""
    make(KEY, "one")
    place.store()._session.sign_out()
    assert place.store()._session.standing().state == "unauthenticated"

    assert place.store().get(KEY).password == Secret("one")


def test_an_unlock_that_loses_the_account_is_no_success(server: Server, real_bw: object, home: Home) -> None:
    """After a login bw asks for its settings; a 403 there signs it out though it prints a session."""
    account = account_of(server, real_bw, home.state / "data", home.runtime)  # type: ignore[arg-type]
    server.put(KEY, "one")
    server.order(Fault("GET", "/api/config", status=403, times=9))
    session = Session(account, Person(None, print))
    try:
        with pytest.raises(Failure) as caught:
            BitwardenStore(session).list()
    finally:
        session.close()

    assert (caught.value.exit_status, caught.value.cause) == (77, "signed-out"), str(caught.value)


def test_the_socket_is_ours_alone_and_goes_with_us(place: Place) -> None:
    store = place.store()
    store.list()
    [socket] = place.account.runtime.glob("bw-*.sock")

    assert socket.stat().st_mode & 0o777 == 0o600
    assert socket.parent.stat().st_mode & 0o777 == 0o700
    store._session.close()
    assert not socket.exists()


def test_two_threads_of_one_place_wait_for_each_other(place: Place, make: Make, server: Server) -> None:
    make(KEY, "zero")
    stores = [place.store(), place.store()]
    for store in stores:
        store.list()

    threads = [
        threading.Thread(target=save_exclusively, args=(store, Item(KEY, Secret(f"value {number}"))))
        for number, store in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now, history = passwords(server, KEY)

    assert {now, *history} == {"zero", "value 0", "value 1"}


def test_many_items_are_made_with_fewer_logins_than_servers_allow(place: Place, server: Server) -> None:
    """With an API key each look for news is a login; Vaultwarden allows ten a minute."""
    names, told = [f"item {number:02}" for number in range(14)], list[str]()
    place.store().create([Item(name, Secret(f"value of {name}")) for name in names], told.append)

    assert server.names() == names
    assert len(told) == len(names)
    assert passwords(server, names[-1]) == (f"value of {names[-1]}", [])
    assert server.paths("POST").count("/identity/connect/token") <= 3


def test_an_item_keeps_what_we_have_no_name_for(place: Place, make: Make, server: Server) -> None:
    make(KEY, "one", notes="as it was")
    store = place.store()
    store.put(replace(store.get(KEY), password=Secret("two")), expect=store.get(KEY).revision)

    assert Item(KEY).notes == Secret("")
    assert server.item(KEY)["notes"] == "as it was"
