"""Bitwarden's unencrypted export: what is read of it, and that what is not changed is written back as it was."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationFailure
from tasks.secret import REDACTOR, Secret
from tasks.vault.layout import document_of, empty_export, item_of, next_revision, parse_export, ref_of, successor
from tasks.vault.store import Field, Item, Ref

NOW = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
# As Bitwarden's own clients export a login (2026.6.0), with everything that we have no name for.
LOGIN: dict[str, Any] = {
    "passwordHistory": [{"lastUsedDate": "2026-01-01T10:00:00.000Z", "password": "older-one"}],
    "revisionDate": "2026-02-02T10:00:00.000Z",
    "creationDate": "2025-02-02T10:00:00.000Z",
    "deletedDate": None,
    "archivedDate": None,
    "id": "0a1b",
    "organizationId": None,
    "folderId": "f00d",
    "type": 1,
    "reprompt": 1,
    "name": "mail",
    "notes": None,
    "favorite": True,
    "fields": [
        {"name": "pin", "value": "hidden-pin", "type": 1, "linkedId": None},
        {"name": "on", "value": "true", "type": 2, "linkedId": None},
        {"name": "same as", "value": None, "type": 3, "linkedId": 100},
    ],
    "login": {
        "uris": [{"match": None, "uri": "https://mail.example"}],
        "fido2Credentials": [{"credentialId": "c"}],
        "username": "somebody",
        "password": "current-one",
        "totp": "otpauth://totp/x?secret=ABC",
    },
    "collectionIds": None,
}
NOTE: dict[str, Any] = {
    "id": "2",
    "name": "a note",
    "type": 2,
    "notes": "text",
    "secureNote": {"type": 0},
    "revisionDate": "2026-02-02T10:00:00.000Z",
}


def test_a_login_is_read_with_its_values_and_its_history() -> None:
    item = item_of(LOGIN)

    assert (item.name, item.id, item.revision) == ("mail", "0a1b", "2026-02-02T10:00:00.000Z")
    assert (item.password, item.username, item.notes) == (Secret("current-one"), Secret("somebody"), Secret(""))
    assert item.fields == (
        Field("pin", Secret("hidden-pin"), hidden=True),
        Field("on", Secret("true")),
        Field("same as", Secret("")),
    )
    assert item.history == (Secret("older-one"),)


def test_a_reference_has_no_value() -> None:
    assert ref_of(LOGIN) == Ref("0a1b", "mail", "2026-02-02T10:00:00.000Z")


def test_whatever_was_read_is_redacted_from_then_on() -> None:
    """The password, the old ones, the hidden fields."""
    item_of(LOGIN)

    assert REDACTOR.clean("current-one older-one hidden-pin somebody") == "**** **** **** somebody"


@pytest.mark.parametrize("document", [LOGIN, NOTE])
def test_an_unchanged_item_is_written_as_it_was_read(document: dict[str, Any]) -> None:
    """To the key: folder, uris, TOTP, passkeys, what Bitwarden will invent next."""
    assert document_of(item_of(document)) == document


def test_a_changed_password_changes_nothing_else() -> None:
    item = item_of(LOGIN)
    changed = Item(**{**vars(item), "password": Secret("new")})

    assert document_of(changed) == {**LOGIN, "login": {**LOGIN["login"], "password": "new"}}


def test_a_changed_field_keeps_its_kind_and_a_new_one_gets_one() -> None:
    item = item_of(LOGIN)
    fields = (Field("pin", Secret("other"), hidden=True), Field("new", Secret("x")), Field("dark", Secret("y"), True))

    assert document_of(Item(**{**vars(item), "fields": fields}))["fields"] == [
        {"name": "pin", "value": "other", "type": 1, "linkedId": None},
        {"name": "new", "value": "x", "type": 0, "linkedId": None},
        {"name": "dark", "value": "y", "type": 1, "linkedId": None},
    ]


def test_what_bitwarden_has_more_than_we_know_of_a_field_stays_when_another_is_added() -> None:
    """Links to a login's values, nulls, two fields of one name: to the byte."""
    before = [
        {"type": 3, "name": "link", "value": None, "linkedId": 100},
        {"type": 0, "name": None, "value": None, "linkedId": None},
        {"type": 0, "name": "twice", "value": "1", "linkedId": None, "new in 2027": True},
        {"type": 2, "name": "twice", "value": "true", "linkedId": None},
    ]
    item = item_of({**LOGIN, "fields": before})
    added = Item(**{**vars(item), "fields": (*item.fields, Field("note", Secret("x")))})

    assert document_of(added)["fields"] == [*before, {"type": 0, "linkedId": None, "name": "note", "value": "x"}]


def test_a_note_takes_no_password() -> None:
    """Bitwarden would drop it without a word."""
    item = item_of(NOTE)
    with pytest.raises(ConfigurationFailure, match=r"^'a note' is not a login, so it cannot hold a password$"):
        document_of(Item(**{**vars(item), "password": Secret("x")}))


def test_a_new_item_is_a_login_that_bitwarden_can_import() -> None:
    document = document_of(Item("new", Secret("value")))

    assert (document["type"], document["name"], document["login"]["password"]) == (1, "new", "value")
    assert document["notes"] is None


def test_a_replaced_password_goes_first_into_the_history() -> None:
    document = {**LOGIN, "login": {**LOGIN["login"], "password": "new"}}

    after = successor(document, LOGIN, NOW)

    assert after["passwordHistory"] == [
        {"lastUsedDate": "2026-05-04T03:02:01.123456Z", "password": "current-one"},
        {"lastUsedDate": "2026-01-01T10:00:00.000Z", "password": "older-one"},
    ]
    assert after["revisionDate"] == "2026-05-04T03:02:01.123456Z"


def test_five_old_passwords_are_kept() -> None:
    """As many as Bitwarden keeps."""
    document = LOGIN
    for number in range(8):
        changed = {**document, "login": {"password": f"value {number}"}}
        document = successor(changed, document, NOW)

    assert [old["password"] for old in document["passwordHistory"]] == [f"value {n}" for n in (6, 5, 4, 3, 2)]


def test_an_unchanged_password_leaves_the_history_alone() -> None:
    """A change of the notes is a new revision, not a new password."""
    after = successor({**LOGIN, "notes": "x"}, LOGIN, NOW)

    assert after["passwordHistory"] == LOGIN["passwordHistory"]
    assert after["revisionDate"] != LOGIN["revisionDate"]


def test_what_a_writer_says_of_the_history_is_not_believed() -> None:
    """The history is the store's."""
    after = successor({**LOGIN, "passwordHistory": []}, LOGIN, NOW)

    assert after["passwordHistory"] == LOGIN["passwordHistory"]


def test_a_new_item_has_the_same_date_twice_and_no_history() -> None:
    after = successor(document_of(Item("new", Secret("x"))), None, NOW)

    assert (after["creationDate"], after["revisionDate"]) == ("2026-05-04T03:02:01.123456Z",) * 2
    assert after["passwordHistory"] is None


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20))
def test_a_revision_never_repeats_whatever_the_clock_does(jumps: list[int]) -> None:
    """It stands still or jumps back by hours (µs here), and each revision is later than the one before."""
    revision, clock, seen = "", NOW, [""]
    for jump in jumps:
        clock += timedelta(microseconds=jump)
        revision = next_revision(revision, clock)
        seen.append(revision)

    assert seen == sorted(set(seen))


@pytest.mark.parametrize("previous", ["", "yesterday", "2026-02-02T10:00:00.000Z", "2026-02-02T10:00:00"])
def test_a_revision_is_a_date_of_rfc_3339(previous: str) -> None:
    """Whatever the one before looked like."""
    assert next_revision(previous, NOW) == "2026-05-04T03:02:01.123456Z"


def test_an_export_is_read_as_it_is() -> None:
    export = {**empty_export(), "items": [LOGIN, NOTE], "something": "new"}

    assert parse_export(json.dumps(export), "it") == export


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("\xff", "it is not JSON"),
        ("[]", "it has no list of items"),
        ('{"encrypted": true, "data": "2.x"}', "it has no list of items"),
        ('{"items": [7]}', "item 1 is not an object"),
        ('{"items": [{"id": "1", "name": "x"}]}', "item 1 has no valid revisionDate"),
        ('{"items": [{"id": 1, "name": "x", "revisionDate": ""}]}', "item 1 has no valid id"),
        ('{"items": [{"id": "1", "name": "x", "revisionDate": "", "login": []}]}', "item 1 has no valid login"),
    ],
)
def test_what_is_no_export_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigurationFailure) as failed:
        parse_export(text.encode("latin-1"), "the file")

    assert str(failed.value) == f"the file does not hold Bitwarden's unencrypted export: {why}"


@given(name=st.text(), password=st.text(), username=st.text(), notes=st.text(), field=st.text())
def test_every_value_comes_back_to_the_letter(name: str, password: str, username: str, notes: str, field: str) -> None:
    """Whatever the letters are."""
    item = Item(name, Secret(password), Secret(username), Secret(notes), (Field("f", Secret(field), hidden=True),))
    stored = {**document_of(item), "id": "1", "revisionDate": "r"}
    read = item_of(json.loads(json.dumps(stored)))

    assert (read.name, read.password, read.username) == (name, Secret(password), Secret(username))
    assert (read.notes, read.fields) == (Secret(notes), item.fields)
