"""Owns the ways into a Bitwarden account: signing bw in by API key or password, and what opens the vault.

Signing in happens once per account and machine, unlocking once per chain of commands.
"""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tasks import files
from tasks.errors import ConfigurationFailure, Failure, Refused
from tasks.secret import REDACTOR, Secret
from tasks.vault import bw
from tasks.vault.bw import Account
from tasks.vault.complaints import SIGN_IN
from tasks.vault.twostep import SecondStep

LOCK_DEADLINE = 120.0  # seconds; a sign-in takes five, and a person may be typing a code
REWRITING = 2.0  # seconds; microseconds are usual, but a busy machine may stop bw in between
LOOK = 0.01
TRIES = 3  # as sudo and rbw give
NO_DATA = 100  # bytes; bw empties a damaged data.json to 24 of them, and one with an account has thousands

T = TypeVar("T")


@dataclass(frozen=True)
class Person:
    """Whoever can be asked, and told what happens; `ask` is None when nobody can."""

    ask: Callable[[str], Secret] | None
    tell: Callable[[str], None]


def is_new(account: Account) -> bool:
    """Whether bw's data folder has no account yet, so that asking bw would only cost time.

    bw truncates the file, then writes it (lowdb's FileSync): what is no JSON yet is looked at again.
    """
    data, end = account.folder / "data.json", time.monotonic() + REWRITING
    while (head := _head(data)) is not None and len(head) < NO_DATA:
        if _is_json(head) or time.monotonic() > end:
            return True
        time.sleep(LOOK)
    return head is None


def _head(data: Path) -> bytes | None:
    try:
        with data.open("rb") as file:
            return file.read(NO_DATA)
    except OSError:
        return None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def sign_in(account: Account, person: Person) -> Secret | None:
    """Sign bw in to the account's server; return the session, if that opened the vault too."""
    files.private_folder(account.folder)
    with files.lock(account.lock.with_suffix(".signin.lock"), deadline=LOCK_DEADLINE):
        person.tell(f"signing in to {account.host} (once for this machine)")
        try:
            # bw refuses to change the server under an account, so an account is here already.
            bw.run(account, "config", "server", account.server or "https://bitwarden.com")
            if not account.client_id:
                return _by_password(account, person)
            _by_api_key(account)
        except Failure as failure:
            if "already logged in" in failure.why or "Logout required" in failure.why:
                return None
            raise
    return None


def sign_in_anew(account: Account, person: Person) -> None:
    """Sign bw in beside its account, and let that take the account's place: until then the local copy stays."""
    beside = replace(account, folder=account.folder.with_name(f"{account.folder.name}.new"))
    with files.lock(account.lock.with_suffix(".anew.lock"), deadline=LOCK_DEADLINE):
        # Whoever was killed here left a copy, which bw would take for signed in.
        shutil.rmtree(beside.folder, ignore_errors=True)
        try:
            sign_in(beside, person)
            (beside.folder / "data.json").replace(account.folder / "data.json")
        finally:
            shutil.rmtree(beside.folder, ignore_errors=True)


def sign_out(account: Account) -> None:
    """Have bw forget the account and its copy; where there is none, nothing is done."""
    with files.lock(account.lock.with_suffix(".signin.lock"), deadline=LOCK_DEADLINE):
        if not is_new(account):
            bw.run(account, "logout")


def _by_api_key(account: Account) -> None:
    if account.client_secret is None:
        raise ConfigurationFailure(
            "BW_CLIENTID is set, but BW_CLIENTSECRET is not", next_step=SIGN_IN, cause="no-login"
        )
    variables = bw.environment(account, BW_CLIENTID=Secret(account.client_id), BW_CLIENTSECRET=account.client_secret)
    # What it prints is a session that opens nothing (facts of bw 2026.6.0): leave it.
    bw.run(account, "login", "--apikey", variables=variables)


def _by_password(account: Account, person: Person) -> Secret | None:
    if not account.email:
        raise ConfigurationFailure(
            f"not signed in to {account.host}", why="nothing says as whom", next_step=SIGN_IN, cause="no-login"
        )
    return with_password(account, person, lambda password: _log_in(account, person, password))


def _log_in(account: Account, person: Person, password: Secret) -> Secret:
    variables = bw.environment(account, BW_PASSWORD=password)
    words = ("login", account.email, "--passwordenv", "BW_PASSWORD", "--raw")
    if person.ask is None:
        return parse_session(bw.run(account, *words, variables=variables))
    reply = SecondStep(account.email, account.host, person.ask)
    return parse_session(bw.converse(account, *words, variables=variables, reply=reply))


def with_password(account: Account, person: Person, use: Callable[[Secret], T]) -> T:
    """Return what `use` returns for the master password; a person who mistyped it may type it three times in all."""
    for _ in range(TRIES - 1):
        try:
            return use(password_of(account, person))
        except Refused as refusal:
            if account.password or refusal.cause != "master-password":
                raise
            person.tell(f"{refusal.what}; once more")
    return use(password_of(account, person))


def password_of(account: Account, person: Person) -> Secret:
    """Return the master password: the one given, else typed by a person."""
    if account.password:
        return account.password
    if person.ask is None:
        raise Refused(
            "the bitwarden vault is locked, and there is nobody to ask for the master password",
            why="BW_SESSION is set, but does not open it: a later unlock replaced it" if account.session else "",
            next_step='set BW_PASSWORD (or file:PATH in it), or BW_SESSION: `eval "$(inv vault.unlock)"`',
            cause="locked",
        )
    try:
        typed = person.ask(f"master password of {account.email or 'the account'} at {account.host} (hidden): ")
    except EOFError:
        raise Refused("no master password was typed", next_step="run it again, or set BW_PASSWORD") from None
    if not typed:
        raise Refused("the master password is empty", next_step="run it again, or set BW_PASSWORD")
    return typed


def parse_session(text: str) -> Secret:
    """Return the session that bw printed; anything but 88 characters is none."""
    word = text.strip().rpartition("\n")[2]
    if len(word) != bw.SESSION_LENGTH:
        raise Refused(
            "bw printed no session",
            why=f"expected {bw.SESSION_LENGTH} characters, got {len(word)}",
            next_step="`inv vault.status` shows how the vault is",
            cause="no-session",
        )
    return REDACTOR.learn(Secret(word))
