"""Owns the Bitwarden vault as a Store: exact names, and writes that replace what was read or nothing.

A server refuses a write over an old revision only when the stored one is two whole seconds newer. So a revision is
replaced only when it is known to have stood for longer than that: then another's write is always seen. Writers of this
machine wait for each other, and an answer that was lost is looked for before anything is written again.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress

from tasks.errors import Busy, Failure, NotSaved, TimedOut, Unavailable
from tasks.secret import Secret
from tasks.vault.layout import Document, document_of, item_of, predecessor, ref_of
from tasks.vault.moments import age, seconds_between
from tasks.vault.session import Session
from tasks.vault.standing import LOCKED, OPEN, Standing
from tasks.vault.store import Conflict, Item, NoSuchItem, Ref, State, Status, Trouble, pick

YOUNG = 2.1  # seconds; the servers compare whole seconds (Vaultwarden: ciphers.rs; Bitwarden: CipherService.cs)
# Seconds between our clock, by which bw dates its last sync, and the server's: hours of drift, or a wrong zone. With
# ten, a clock further ahead lost a write. What was changed within this time takes two seconds more to be replaced.
LARGEST_SKEW = 86_400.0
RACE = 30.0  # seconds in which a machine that made a second item of one name takes it away again; two are usual
RACE_PAUSE = 1.0
NO_NAME = "\0"  # of no item: who looks for it waits until bw shows all that it has
STALE_SESSION = Trouble(
    "BW_SESSION is set, but does not open the vault: a later unlock replaced it, or it is of another data folder",
    'eval "$(inv vault.unlock)", or `unset BW_SESSION`',
)
STATES = {OPEN: State.OPEN, LOCKED: State.LOCKED}
Documents = list[Document]
Refs = list[Ref]  # as a name of its own: inside the class `list` is the method


class BitwardenStore:
    """The vault of one account, through the session of this chain of commands."""

    name = "bitwarden"
    writable = True

    def __init__(self, session: Session) -> None:
        self._session = session

    def status(self) -> Status:
        """Say how bw stands, without asking a person or the server; items are counted only where it is open.

        A master password that is at hand is tried, so that what is wrong with it or with the server's keys is told.
        """
        standing = self._session.standing()
        troubles = (STALE_SESSION,) if standing.state == LOCKED and self._session.account.session else ()
        if standing.state == LOCKED and self._session.account.password:
            self._session.open()
            standing = self._session.standing()
        where = f"{self._session.account.host}, {_synced(standing)}"
        state = STATES.get(standing.state, State.SIGNED_OUT)
        items = len(self._session.documents()) if state is State.OPEN else 0
        return Status(state, where, items, troubles)

    def list(self) -> Sequence[Ref]:
        """Return every item's reference, by name."""
        return sorted(map(ref_of, self._session.documents()), key=lambda ref: (ref.name, ref.id))

    def get(self, name: str) -> Item:
        """Return the item of exactly that name, or of that id; one that our copy does not have is asked for."""
        try:
            return self._found(name)
        except NoSuchItem:
            if self._session.has_asked:
                raise
            with suppress(Unavailable, TimedOut, Busy):
                self._session.sync()
            return self._found(name)

    def _found(self, name: str) -> Item:
        documents = self._settled(name)
        ref = pick([ref_of(document) for document in documents], name, self.name)
        return next(item_of(document) for document in documents if document["id"] == ref.id)

    def put(self, item: Item, *, expect: str | None) -> Ref:
        """Write the item if it is in the revision that is expected, and return what the server then has."""
        with self._session.exclusive():
            try:
                return self._replaced(item, expect)
            except Conflict:
                # Whoever reads now, to decide anew, must not read the same again.
                self._session.sync(force=True)
                raise

    def create(self, items: Iterable[Item], tell: Callable[[str], None]) -> None:
        """Create many items and tell of each; one whose name is there by now is left as it is.

        The server is asked for news once before and once after them all, not around each: with an API key each time is
        a login, and Vaultwarden allows ten a minute.
        """
        with self._session.exclusive():
            self._session.sync(force=True)
            names = {document["name"] for document in self._session.documents(NO_NAME)}
            made: Refs = []
            for item in items:
                if item.name in names:
                    tell(f"{item.name!r} is there already by now, and left as it is")
                    continue
                made.append(self._write(document_of(item), None))
                names.add(item.name)
                tell(f"{item.name!r} is new (revision {made[-1].revision})")
            self._give_way(*made)

    def exclusive(self) -> AbstractContextManager[None]:
        """Keep this machine's other writers of the account out: what is read inside is still so when it is written."""
        return self._session.exclusive()

    def refresh(self) -> None:
        """Fetch all of the account, however fresh our copy is: before what it says is told, or acted upon."""
        self._session.sync(force=True)

    def export(self) -> Secret:
        """Return everything, indented."""
        return Secret(json.dumps({"encrypted": False, "folders": [], "items": self._session.documents()}, indent=2))

    def _replaced(self, item: Item, expect: str | None) -> Ref:
        before = self._replaceable(item, expect)
        ref = self._write(document_of(item), before)
        if before is None:
            self._give_way(ref)
        return ref

    def _settled(self, name: str) -> Documents:
        """Return all items once no other machine can still be taking away its own that has this name too.

        A moment far ahead of our clock says nothing of how young an item is, and is not waited for.
        """
        documents = self._session.documents(name)
        while len(same := _of_name(documents, name)) > 1 and abs(age(same[-1]["creationDate"])) < RACE:
            time.sleep(RACE_PAUSE)
            self._session.sync()
            documents = self._session.documents(name)
        return documents

    def _give_way(self, *made: Ref) -> None:
        """Take items just made away again where another machine made one of the name before; Conflict then.

        Whoever saves reads anew after that, and replaces the other's password, which goes into the history. The server
        cannot do it: to it names are secrets.
        """
        if not made:
            return
        try:
            self._session.sync(force=True)
        except Failure:
            return  # they are written; whoever reads next sees whether there are two
        documents = self._session.documents(made[-1].id)
        second = {ref: first for ref in made if (first := _made_before(ref, documents))}
        for ref in second:
            self._session.call("DELETE", f"/object/item/{ref.id}")
        if second:
            told = ", ".join(f"{ref.name!r} as {first}" for ref, first in second.items())
            raise Conflict(f"another machine made at the same moment: {told}")

    def _replaceable(self, item: Item, expect: str | None) -> Document | None:
        """Return what the write replaces once the server is sure to see every other write.

        It is when the item was still in this revision two seconds later, by news fetched then: whatever came after
        makes the server refuse ours.
        """
        before = self._expected(item, expect)
        if before is not None:
            revised = before["revisionDate"]
            if seconds_between(revised, self._session.synced) > YOUNG + LARGEST_SKEW:
                return before
            if age(revised) < YOUNG + LARGEST_SKEW:
                time.sleep(YOUNG)
        # All of it: a bw that was killed may have left a copy that lacks an item and yet claims to be fresh.
        self._session.sync(force=True)
        return self._expected(item, expect)

    def _expected(self, item: Item, expect: str | None) -> Document | None:
        documents = self._session.documents(item.id or item.name)
        before = predecessor(documents, item, expect, self.name)
        if before is None and any(each["name"] == item.name for each in documents):
            raise Conflict(f"the bitwarden vault has an item named {item.name!r} already")
        return before

    def _write(self, document: Document, before: Document | None) -> Ref:
        try:
            answer = self._sent(document, before)
        except (TimedOut, Unavailable) as failure:
            answer = self._found_after(failure, document, before)
        _check_written(answer, document, before)
        return ref_of(answer)

    def _sent(self, document: Document, before: Document | None) -> Document:
        if before is None:
            return self._session.write("POST", "/object/item", document)
        return self._session.write("PUT", f"/object/item/{before['id']}", document)

    def _found_after(self, failure: Failure, document: Document, before: Document | None) -> Document:
        """Return the item if the write was taken though its answer was lost; else raise the failure.

        An item that changed, but not to what was sent, was changed by somebody else: a conflict to be read again.
        """
        try:
            self._session.sync(force=True)
        except Failure as second:
            raise NotSaved(
                f"it is not known whether {document['name']!r} was written",
                why=f"{failure.what}; looking for it failed too: {second.what}",
                next_step="run it again: what is there already is not written twice",
                cause="unknown",
            ) from None
        now = self._now(document, before)
        if now is None or (before and now["revisionDate"] == before["revisionDate"]):
            raise failure
        if _password(now) != _password(document):
            raise Conflict(f"{document['name']!r} was changed meanwhile in the bitwarden vault") from None
        return now

    def _now(self, document: Document, before: Document | None) -> Document | None:
        if before:
            return next((each for each in self._session.documents(before["id"]) if each["id"] == before["id"]), None)
        same = _of_name(self._session.documents(document["name"]), document["name"])
        # Another machine may have made one too: what holds our value is ours.
        return next((each for each in same if _password(each) == _password(document)), same[0] if same else None)


def _of_name(documents: Documents, name: str) -> Documents:
    """Return the items of exactly that name, the one that was made first before the others."""
    return sorted(
        (each for each in documents if each["name"] == name), key=lambda each: (each["creationDate"], each["id"])
    )


def _made_before(made: Ref, documents: Documents) -> str:
    """Return the id of the item that another machine made of the same name before ours, unless ours was changed."""
    first, *later = _of_name(documents, made.name) or [{"id": ""}]
    ours = any((each["id"], each["revisionDate"]) == (made.id, made.revision) for each in later)
    return str(first["id"]) if ours else ""


def _password(document: Document) -> str:
    return (document.get("login") or {}).get("password") or ""


def _check_written(answer: Document, document: Document, before: Document | None) -> None:
    """Compare what the server has with what was sent, and find the value that it replaced in the history."""
    old = _password(before) if before else ""
    kept = [each.get("password") for each in answer.get("passwordHistory") or []]
    if _password(answer) != _password(document) or (old and old != _password(document) and old not in kept):
        raise NotSaved(
            f"{document['name']!r} is not what was written to the bitwarden vault",
            why="the value or its history differs from what was sent",
            next_step="run it again; `inv vault.get` shows what is there",
            cause="differs",
        )


def _synced(standing: Standing) -> str:
    return f"synced {standing.last_sync}" if standing.last_sync else "never synced here"
