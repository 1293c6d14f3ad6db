"""Owns the open Bitwarden vault of one chain of commands: one `bw serve`, at most one sign-in, at most one unlock.

After each failure it asks bw how it stands: a 401 or 403 signs bw out and wipes its local copy, whatever was asked.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks import files
from tasks.errors import Busy, Failure, Refused, TimedOut, Unavailable
from tasks.secret import Secret
from tasks.vault import moments
from tasks.vault.bw import Account
from tasks.vault.complaints import signed_out, still_locked
from tasks.vault.serve import Lost, Serve
from tasks.vault.signin import Person, is_new, parse_session, sign_in, sign_in_anew, sign_out, with_password
from tasks.vault.standing import LOCKED, NOBODY, OPEN, SIGNED_OUT, Standing, check, standing_of
from tasks.vault.store import Conflict, NoSuchItem

FRESH = 60.0  # seconds for which the local copy is read without asking the server for news
START_DEADLINE = 30.0  # seconds until bw is up: one is usual, twenty were seen on a very busy machine
STATUS_DEADLINE = 5.0  # seconds once it is: milliseconds are usual
SYNC_DEADLINE = 15.0  # seconds; two are usual where there is news
SETTLING = 1.0  # seconds after a sync in which bw may not show an item that it has (2026.6.0, busy machine)
SETTLING_PAUSE = 0.2
SIGNING_OUT_DEADLINE = 5.0  # seconds in which bw clears its copy after a 403; it says "locked" meanwhile; 0.1 is usual
SIGNING_OUT_PAUSE = 0.05
SAID_WHILE_SIGNING_OUT = ("no-unlock-data", "server-too-old")  # by an unlock that finds the account half gone
MEMORY_DEADLINE = 2.0  # seconds after a write in which bw may still have the old item in memory; 0.1 was seen
MEMORY_PAUSE = 0.005
WRITERS_DEADLINE = 300.0  # seconds; twenty writers of one item at once take five each
Document = dict[str, Any]


class Session:
    """The vault of one account for as long as this process lives; nothing is started before it is needed."""

    def __init__(self, account: Account, person: Person) -> None:
        self.account = account
        self._person = person
        self._serve: Serve | None = None
        self._session = account.session
        self._is_open = False
        self._looked = False  # whether the copy is fresh enough to be read
        self._asked_at: float | None = None  # when this chain fetched the server's news, by the monotonic clock
        self._held = False
        self._unlocked_now = False
        self.synced = ""
        """When bw's copy was last known to be the server's (RFC 3339); empty before bw was asked."""

    def begin(self) -> None:
        """Start bw beside other work, if it can be of use by itself."""
        if not is_new(self.account):
            self._served()

    def close(self) -> None:
        """End bw."""
        if self._serve is not None:
            self._serve.close()
        self._serve, self._is_open = None, False

    def standing(self) -> Standing:
        """Ask bw how it stands; nobody is asked anything, and nothing leaves this machine."""
        if is_new(self.account):
            return NOBODY
        try:
            standing = standing_of(self._status())
        except Lost as lost:
            if lost.cause == "signed-out":  # bw serve does not even start without an account
                return NOBODY
            raise
        self.synced = standing.last_sync
        return standing

    def _believed(self, *doubtful: str) -> Standing:
        """Return how bw stands; a doubtful state is believed when a new bw says so too.

        bw reads its data file without a lock, and another one may be writing it: then it finds no account. And one that
        a 403 is signing out just now says that it is locked; ended in the middle, it leaves a copy of which a new one
        says so too. So a doubtful "locked" gets the time to become "signed out".
        """
        standing = self.standing()
        end = time.monotonic() + SIGNING_OUT_DEADLINE
        while standing.state == LOCKED and LOCKED in doubtful and time.monotonic() < end:
            time.sleep(SIGNING_OUT_PAUSE)
            standing = self.standing()
        if standing.state in doubtful:
            self.close()
            standing = self.standing()
        return standing

    def open(self) -> None:
        """Sign in and unlock, as far as either is needed."""
        if self._is_open and self._served().is_alive():
            return
        standing = self._believed(SIGNED_OUT)
        if standing.state == SIGNED_OUT:
            standing = self._signed_in()
        check(standing, self.account)
        if standing.state != OPEN:
            self._unlock()
        self._is_open = True

    def unlocked(self) -> Secret:
        """Return a session for a shell to keep: the one in use, else that of a new unlock."""
        self.open()
        if self._session is None:
            raise AssertionError("an open vault has a session")
        return self._session

    def lock(self) -> None:
        """Forget what opens the vault: every session of this data folder ends."""
        if self._believed(SIGNED_OUT).state != SIGNED_OUT:
            self._served().ask("POST", "/lock")
        self.close()

    def sign_out(self) -> None:
        """Have bw forget the account and its local copy, though the server may be away; the next use signs in anew."""
        self.close()
        sign_out(self.account)

    def documents(self, wanted: str = "") -> list[Document]:
        """Return every item that is not in the trash, from bw's local copy; fetch news first if it is not fresh.

        Just after a sync bw may show no items at all. So none, or none of the name or id `wanted`, is believed only
        when it stays so for a moment.
        """
        self.open()
        if not self._looked:
            self._refresh()
        while True:
            found = self._listed()
            self._check_unlock()
            sought = not wanted or any(wanted in {each["name"], each["id"]} for each in found)
            if (found and sought) or not self._is_settling():
                return found
            time.sleep(SETTLING_PAUSE)

    def _is_settling(self) -> bool:
        return self._asked_at is not None and time.monotonic() - self._asked_at < SETTLING

    @property
    def has_asked(self) -> bool:
        """Whether this chain fetched the server's news."""
        return self._asked_at is not None

    def sync(self, *, force: bool = False) -> None:
        """Fetch the server's news; its failure is raised.

        bw takes for news what the server dated after our last sync by our clock; where that is ahead, it misses some.
        With `force` everything is fetched, which costs an account that signs in by its API key a login.
        """
        self.open()
        began = moments.now()
        try:
            self.call("POST", "/sync?force=true" if force else "/sync", deadline=SYNC_DEADLINE)
        except Refused as refusal:
            if refusal.cause != "api-key":
                raise
            self._take_new_api_key()
        self._looked, self._asked_at, self.synced = True, time.monotonic(), began

    def call(self, method: str, path: str, body: object = None, *, deadline: float = 30.0) -> Document:
        """Ask bw, and look how it stands when that fails."""
        try:
            return self._served().ask(method, path, body, deadline=deadline)
        except (Conflict, NoSuchItem):
            raise
        except Failure as failure:
            self._is_open = False
            doubtful = (LOCKED, SIGNED_OUT) if failure.cause in SAID_WHILE_SIGNING_OUT else (SIGNED_OUT,)
            if failure.cause != "signed-out" and self._believed(*doubtful).state == SIGNED_OUT:
                raise signed_out(self.account.host, failure) from None
            raise

    def write(self, method: str, path: str, document: Document) -> Document:
        """Write an item, and return it once bw has it in memory too.

        That is a moment after its answer (2026.6.0: one time in four). A list meanwhile would be of the old items, and
        bw would keep it for as long as it lives (its getAllDecrypted).
        """
        written = self.call(method, path, document)
        if not self._comes_to_remember(written):
            self.close()  # a new one reads what is on the disk
        return written

    def _comes_to_remember(self, written: Document) -> bool:
        end = time.monotonic() + MEMORY_DEADLINE
        while time.monotonic() < end:
            try:
                item = self._served().ask("GET", f"/object/item/{written['id']}", deadline=MEMORY_DEADLINE)
                if item["revisionDate"] >= written["revisionDate"]:
                    return True
            except NoSuchItem:
                pass  # an item just made may not be there at all
            except Failure:
                return False
            time.sleep(MEMORY_PAUSE)
        return False

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the account's lock; a second one inside it is the same."""
        if self._held:
            yield
            return
        self.open()
        with files.lock(self.account.lock, deadline=WRITERS_DEADLINE):
            self._held = True
            try:
                yield
            finally:
                self._held = False

    def _status(self) -> Document:
        serve = self._served()
        try:
            return serve.ask("GET", "/status", deadline=STATUS_DEADLINE if serve.has_answered else START_DEADLINE)
        except Lost:
            raise
        except (TimedOut, Unavailable):
            # A 403 on its own question for settings leaves bw in pieces: it goes on waiting, or says "No session key
            # available". A new one knows how it stands.
            self.close()
            return self._served().ask("GET", "/status", deadline=START_DEADLINE)

    def _served(self) -> Serve:
        if self._serve is None or not self._serve.is_alive():
            self._serve = Serve(self.account, self._session)
            self._is_open = False
        return self._serve

    def _listed(self) -> list[Document]:
        try:
            listed = self.call("GET", "/list/object/items")
        except Lost:
            # It was killed; a list changes nothing, so ask a new one.
            self.open()
            listed = self.call("GET", "/list/object/items")
        found: list[Document] = listed.get("data") or []
        return found

    def _signed_in(self) -> Standing:
        self.close()
        session = sign_in(self.account, self._person)
        self._session = session or self._session
        self._looked = True
        standing = self.standing()
        if standing.state == SIGNED_OUT:
            raise signed_out(self.account.host, None)
        return standing

    def _take_new_api_key(self) -> None:
        """Sign in by the API key that is set now, which fetches all news: bw asks with the one it signed in by."""
        sign_in_anew(self.account, self._person)
        self.close()
        self._session = None
        self.open()

    def _unlock(self) -> None:
        """Unlock through the running bw. It counts only if there is a session and bw says that it is unlocked."""
        answer = with_password(
            self.account, self._person, lambda typed: self.call("POST", "/unlock", {"password": typed.reveal()})
        )
        self._session = parse_session(str(answer.get("raw") or ""))
        self._unlocked_now = True
        state = self._believed(LOCKED, SIGNED_OUT).state
        if state == LOCKED:
            raise still_locked(self.account.executable)
        if state != OPEN:
            raise signed_out(self.account.host, None)

    def _check_unlock(self) -> None:
        """See whether the unlock of this chain has lasted: bw's own question for settings then may sign it out.

        That question is answered beside ours, so the first list, which takes longest, goes before.
        """
        if self._unlocked_now and self.standing().state != OPEN:
            raise signed_out(self.account.host, None)
        self._unlocked_now = False

    def _refresh(self) -> None:
        """Fetch news for reading; a server that cannot be asked leaves us with the copy, and the person told so."""
        age = moments.age(self.synced) if self.synced else FRESH
        if 0 <= age < FRESH:
            self._looked = True
            return
        try:
            self.sync(force=age < 0)  # our clock was ahead once: bw would take nothing for news until then
        except (Unavailable, TimedOut, Busy, Refused) as failure:
            if isinstance(failure, Refused) and failure.cause != "api-key":
                raise
            self._person.tell(f"reading the copy of {self.synced or 'an unknown time'}: {failure.what}")
            self._looked = True
            self.open()
