"""Owns the layout of Bitwarden's unencrypted export: one item's JSON to an Item and back, its history, its revision.

Source of the layout: CipherWithIdExport and LoginExport of Bitwarden's clients (libs/common/src/models/export).
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.errors import ConfigurationFailure
from tasks.secret import REDACTOR, Secret
from tasks.vault.store import HISTORY_KEPT, Conflict, Field, Item, Ref

LOGIN = 1  # CipherType.Login
TEXT, HIDDEN = 0, 1  # FieldType
NEW_ITEM: dict[str, Any] = {
    "id": None,
    "organizationId": None,
    "folderId": None,
    "collectionIds": None,
    "type": LOGIN,
    "reprompt": 0,
    "favorite": False,
    "name": None,
    "notes": None,
    "fields": [],
    "login": {"uris": [], "username": None, "password": None, "totp": None},
    "passwordHistory": None,
    "creationDate": None,
    "revisionDate": None,
    "deletedDate": None,
}
NEEDED = ("id", "name", "revisionDate")
SHAPES = {"login": dict, "fields": list, "passwordHistory": list}
Document = dict[str, Any]
"""One item's JSON, or the whole export's."""


def empty_export() -> Document:
    """Return an export without items."""
    return {"encrypted": False, "folders": [], "items": []}


def parse_export(text: str | bytes, where: str) -> Document:
    """Return the export after a look at what we rely on: its items, and each one's name, id and revision."""
    try:
        export = json.loads(text)
    except (ValueError, RecursionError):
        raise _foreign(where, "it is not JSON") from None
    if not isinstance(export, dict) or not isinstance(export.get("items"), list):
        raise _foreign(where, "it has no list of items")
    for number, item in enumerate(export["items"], start=1):
        if not isinstance(item, dict):
            raise _foreign(where, f"item {number} is not an object")
        wrong = [key for key in NEEDED if not isinstance(item.get(key), str)]
        wrong += [key for key, kind in SHAPES.items() if not isinstance(item.get(key), kind | None)]
        if wrong:
            raise _foreign(where, f"item {number} has no valid {wrong[0]}")
    return export


def _foreign(where: str, why: str) -> ConfigurationFailure:
    return ConfigurationFailure(f"{where} does not hold Bitwarden's unencrypted export", why=why)


def ref_of(document: Mapping[str, Any]) -> Ref:
    """Return an item's reference."""
    return Ref(document["id"], document["name"], document["revisionDate"])


def item_of(document: Mapping[str, Any]) -> Item:
    """Return an item's record; its password, its old ones and its hidden fields are never shown by a message again."""
    login = document.get("login") or {}
    item = Item(
        name=document["name"],
        password=_secret(login.get("password")),
        username=_secret(login.get("username")),
        notes=_secret(document.get("notes")),
        fields=_fields_of(document),
        history=tuple(_secret(old.get("password")) for old in document.get("passwordHistory") or []),
        id=document["id"],
        revision=document["revisionDate"],
        document=Secret(json.dumps(document)),
    )
    hidden = [field.value for field in item.fields if field.hidden]
    for secret in (item.password, *item.history, *hidden):
        REDACTOR.learn(secret)
    return item


def _fields_of(document: Mapping[str, Any]) -> tuple[Field, ...]:
    return tuple(map(_field_of, document.get("fields") or []))


def _field_of(field: Mapping[str, Any]) -> Field:
    return Field(field.get("name") or "", _secret(field.get("value")), hidden=field.get("type") == HIDDEN)


def _secret(value: str | None) -> Secret:
    return Secret(value or "")


def document_of(item: Item) -> Document:
    """Return the item's JSON: what the record has no name for, and what it does not change, stays as it was read."""
    document: Document = json.loads(item.document.reveal() or json.dumps(NEW_ITEM))
    if document.get("type") != LOGIN and item.password:
        raise ConfigurationFailure(f"{item.name!r} is not a login, so it cannot hold a password")
    document["name"] = item.name
    _set(document, "notes", item.notes)
    if document.get("type") == LOGIN:
        login = document["login"] = document.get("login") or {}
        _set(login, "username", item.username)
        _set(login, "password", item.password)
    if item.fields != _fields_of(document):
        document["fields"] = _fields(item.fields, document.get("fields") or [])
    return document


def _set(document: Document, key: str, value: Secret) -> None:
    # An empty value that was null stays null.
    if _secret(document.get(key)) != value:
        document[key] = value.reveal()


def _fields(fields: Sequence[Field], before: Sequence[Document]) -> list[Document]:
    """Return the fields' JSON: what is not changed stays as it was read, links and nulls too."""
    left = list(before)
    return [_taken_from(left, field) for field in fields]


def _taken_from(left: list[Document], field: Field) -> Document:
    """Take the field's JSON out of what is left of the stored ones: the equal one, else one of its name changed."""
    known = [(each, _field_of(each)) for each in left]
    for stored in [each for each, found in known if found == field]:
        left.remove(stored)
        return stored
    place: Document = {"type": HIDDEN if field.hidden else TEXT, "linkedId": None}
    for stored in [each for each, found in known if (found.name, found.hidden) == (field.name, field.hidden)][:1]:
        left.remove(stored)
        place = stored
    return {**place, "name": field.name, "value": field.value.reveal()}


def predecessor(documents: Sequence[Document], item: Item, expect: str | None, vault: str) -> Document | None:
    """Return the document that a write replaces, None for a new one; Conflict if it is not in the revision expected."""
    before = next((each for each in documents if each["id"] == item.id), None)
    revision = before["revisionDate"] if before else None
    if revision != expect:
        raise Conflict(
            f"{item.name!r} was changed meanwhile in the {vault} vault",
            why=f"expected revision {expect or 'none'}, found {revision or 'none'}",
            next_step="run it again: it reads the new state first",
        )
    return before


def successor(document: Document, before: Mapping[str, Any] | None, now: datetime) -> Document:
    """Return the document as the next revision of `before`: dated, with the password that it replaces in its history.

    A revision never repeats, whatever the clock does. The newest old password comes first, as in Bitwarden.
    """
    revision = next_revision(before["revisionDate"] if before else "", now)
    if before is None:
        return {**document, "creationDate": revision, "revisionDate": revision}
    history = list(before.get("passwordHistory") or [])
    old = (before.get("login") or {}).get("password")
    if old and old != (document.get("login") or {}).get("password"):
        history = [{"lastUsedDate": revision, "password": old}, *history][:HISTORY_KEPT]
    return {**document, "passwordHistory": history or None, "revisionDate": revision}


def next_revision(previous: str, now: datetime) -> str:
    """Return the moment as RFC 3339 with microseconds, later than the previous revision by at least one of them."""
    try:
        earliest = datetime.fromisoformat(previous) + timedelta(microseconds=1)
    except ValueError:
        earliest = now
    if earliest.tzinfo is None:
        earliest = earliest.replace(tzinfo=UTC)
    return max(now, earliest).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
