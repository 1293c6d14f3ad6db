"""Owns the loop of a login: where the key comes from, try it, ask for another, confirm, save.

It knows neither pty nor vault nor terminal: `Ways` brings them, so that net.up, demo and the tests share one loop.
A key is a suspect until the control server accepted it; only a typed key that was accepted is saved, and it is kept
before anything else is done: whatever fails or is killed afterwards, it may be good for one login alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks.console import visible
from tasks.errors import (
    Busy,
    ConfigurationFailure,
    Failure,
    NotSaved,
    Refused,
    TimedOut,
    Unavailable,
)
from tasks.net.accepted import Accepted, Keep, Save
from tasks.net.keys import fault_of, key_in
from tasks.net.login import State
from tasks.net.terminal import Attempt
from tasks.secret import Secret
from tasks.tailnet import TailnetStatus

CONFIRM_DEADLINE = 10.0  # seconds from `up`'s success to Running and online in the LocalAPI
CONFIRM_PAUSE = 0.02
PROMPT = "auth key (hidden; Enter alone = sign in with a browser): "


@dataclass(frozen=True)
class Ways:
    """How the loop reaches the world.

    `attempt(key, taken)` is one login, without a key by a browser, and calls `taken` as soon as it reads that the key
    is good; `resume()` is one by the node's own key, and ends where the server asks for more; `status()` asks the
    daemon; `quiet()` makes it stop trying a refused key; `ask(prompt)` asks a person and is None when nobody can be
    asked; `read()` is the vault's, and `reread()` what it is by now, after all news; `keep(key)` keeps an accepted key
    where nothing loses it and returns what saves it in the vault, which says where it went; `where(save)` says where it
    is before that; `tell` says a line of progress.
    """

    attempt: Callable[[Secret | None, Callable[[], None]], Attempt]
    resume: Callable[[], Attempt]
    status: Callable[[], TailnetStatus]
    quiet: Callable[[], None]
    ask: Callable[[str], Secret] | None
    read: Callable[[], "StoredKey | None"]
    reread: Callable[[], "StoredKey | None"]
    keep: Keep
    where: Callable[[Save], str]
    tell: Callable[[str], None]


@dataclass(frozen=True)
class StoredKey:
    """A vault's key, and what its item says of the last time that a control server accepted it; empty for nothing."""

    key: Secret
    accepted: str = ""


@dataclass(frozen=True)
class Source:
    """Where a key came from, in words for a person, and what is known of its last acceptance."""

    key: Secret | None
    name: str
    typed: bool = False
    accepted: str = ""

    def explained(self, refusal: str) -> str:
        """Return the server's refusal, and after it what may explain it."""
        return f"{refusal}; it was accepted on {visible(self.accepted)}" if self.accepted else refusal


def join(ways: Ways, status: TailnetStatus, configured: Source | None, vault_name: str) -> TailnetStatus:
    """Bring a ready daemon to Running and online, and return its status then.

    A node that has its node key needs no auth key; otherwise `configured` is tried, else the vault's, as long as that
    is another after a refusal, else a person is asked, again after each refusal.
    """
    if status.is_up:
        return status
    if status.has_node_key and status.state != "NeedsLogin":
        joined = _try_node_key(ways)
        if joined is not None:
            return joined
    source = configured or _from_vault(ways, vault_name)
    if source is None:
        source = _ask(ways, vault_name, refused=None)
    while True:
        joined, refusal = _try(ways, source)
        if joined is not None:
            return joined
        refused = (source, source.explained(refusal) if refusal else "")
        source = _replaced_meanwhile(ways, refused, vault_name) or _ask(ways, vault_name, refused)


def _try_node_key(ways: Ways) -> TailnetStatus | None:
    outcome = ways.resume()
    if outcome.state in {State.KEY_REFUSED, State.NOT_SIGNED_IN}:
        ways.tell(f"the node's own key no longer serves: {outcome.text}")
        return None
    return _judge(ways, outcome)


def _from_vault(ways: Ways, vault_name: str) -> Source | None:
    try:
        stored = ways.read()
    except Failure as error:
        if ways.ask is None:
            raise
        ways.tell(str(error))
        return None
    return Source(stored.key, vault_name, accepted=stored.accepted) if stored else None


def _replaced_meanwhile(ways: Ways, refused: tuple[Source, str], vault_name: str) -> Source | None:
    """Return the vault's key if it was the vault's that was refused and somebody has replaced it since it was read."""
    source, refusal = refused
    if source.name != vault_name:
        return None
    try:
        stored = ways.reread()
    except Failure:
        return None  # the refusal is what a person has to hear
    if stored is None or stored.key == source.key:
        return None
    ways.tell(f"{vault_name} was refused: {refusal}; it was replaced meanwhile, trying the new key")
    return Source(stored.key, vault_name, accepted=stored.accepted)


def _try(ways: Ways, source: Source) -> tuple[TailnetStatus | None, str]:
    """Try one key; return the status if it was accepted, else the refusal in the server's words."""
    if source.key is not None and (fault := fault_of(source.key)):
        return None, fault
    accepted = Accepted(source.key if source.typed else None, ways.keep)
    try:
        with accepted.told_when_interrupted(ways.where, ways.tell):
            outcome = ways.attempt(source.key, accepted.keep)
            if outcome.state is State.KEY_REFUSED:
                ways.quiet()
                return None, outcome.text
            if outcome.state is State.TYPED:
                return None, ""
            joined = _judge(ways, outcome, accepted.keep)
    except Failure:
        if accepted.save is not None:
            _save_all_the_same(ways, accepted.save)
        raise
    if accepted.save is not None:
        _save(ways, accepted.save)
    return joined, ""


def _judge(ways: Ways, outcome: Attempt, taken: Callable[[], None] = lambda: None) -> TailnetStatus:
    """Turn the end of an attempt into the confirmed status, or into its own failure; call `taken` for a good key."""
    if outcome.state in {State.ACCEPTED, State.NO_ANSWER, State.FAILED}:
        patience = CONFIRM_DEADLINE if outcome.state is State.ACCEPTED else 0.0
        status = _confirm(ways, patience)
        # A node that waits for a login may have an older node key, which has expired.
        if status.is_up or (status.has_node_key and status.state != "NeedsLogin"):
            taken()
        if status.is_up:
            return status
        raise _not_up(status, outcome)
    raise failure_of(outcome)


def _confirm(ways: Ways, patience: float) -> TailnetStatus:
    """Ask the daemon until it is up or the patience (seconds) is over: scraped text alone proves nothing."""
    end = time.monotonic() + patience
    status = ways.status()
    while not status.is_up and time.monotonic() < end:
        time.sleep(CONFIRM_PAUSE)
        status = ways.status()
    return status


def _not_up(status: TailnetStatus, outcome: Attempt) -> Failure:
    cause = status.login_error or "; ".join(status.health) or outcome.text or f"the daemon stays in {status.state}"
    return Unavailable(
        "the login did not come through",
        why=visible(cause),
        next_step="`inv net.logs` shows what the daemon tried; `inv doctor` looks for the cause",
    )


def failure_of(outcome: Attempt) -> Failure:
    """Return the failure for an end that no other key can mend."""
    text = outcome.text
    match outcome.state:
        case State.RATE_LIMITED:
            return Busy("the control server limits logins", why=text, next_step="wait that long, then `inv net.up`")
        case State.NEEDS_APPROVAL:
            return TimedOut(
                "the key is good, but this machine waits for an admin's approval",
                why=text,
                next_step="have it approved in the admin console, then `inv net.up`",
                cause="needs-approval",
            )
        case State.LOCKED_OUT:
            return Refused(
                "logged in, but tailnet lock keeps this node out",
                why=text,
                next_step="sign the node from a trusted one: `tailscale lock sign`",
                cause="locked-out",
            )
        case State.TAGS_REFUSED:
            return ConfigurationFailure(
                "the control server refuses the tags",
                why=text,
                next_step="mend --advertise-tags in TS_EXTRA_ARGS, or use a key that carries them",
                cause="tags",
            )
        case State.MISCONFIGURED:
            return ConfigurationFailure("`tailscale up` refuses the settings", why=text, next_step="`inv doctor`")
        case State.DAEMON_FAILED:
            return Unavailable("the daemon cannot log in", why=text, next_step="`inv net.down net.up` starts it anew")
        case _:
            return TimedOut("nobody signed in", why=text, next_step="`inv net.up` shows a new address")


def _ask(ways: Ways, vault_name: str, refused: tuple[Source, str] | None) -> Source:
    """Ask a person for a key, after saying why the last one is none; without anybody to ask, fail with names."""
    if ways.ask is None:
        raise _nobody_to_ask(vault_name, refused)
    if refused and refused[1]:
        ways.tell(f"{refused[0].name} was refused: {refused[1]}")
    try:
        typed = ways.ask(PROMPT)
    except EOFError:
        raise Refused("no key given", next_step="`inv net.up` asks again; the daemon is up, but logged out") from None
    key = key_in(typed)
    return Source(key, "the key you typed", typed=True) if key else Source(None, "the sign-in")


def _nobody_to_ask(vault_name: str, refused: tuple[Source, str] | None) -> Failure:
    mend = f"set TS_AUTHKEY, or put a new key into {vault_name}: `inv vault.set`"
    if refused is None:
        return ConfigurationFailure(
            "there is no auth key, and nobody to ask",
            why=f"TS_AUTHKEY is not set and {vault_name} holds none",
            next_step=mend,
            cause="no-key",
        )
    return Refused(f"{refused[0].name} was refused", why=refused[1], next_step=mend, cause="key-refused")


def _save_all_the_same(ways: Ways, save: Save) -> None:
    """Save a good key though the login failed, which is what is to be said last."""
    try:
        ways.tell(f"the accepted key is saved: {save()}")
    except Failure as failure:
        ways.tell(f"the accepted key could not be saved: {failure}")


def _save(ways: Ways, save: Save) -> None:
    try:
        place = save()
    except Failure as error:
        kept = isinstance(error, NotSaved) and error.next_step
        raise NotSaved(
            "the network is up, but the new key could not be saved",
            why=error.sentence,
            next_step=error.next_step if kept else "mend the vault, then `inv vault.set` with the same key",
            cause=error.cause if kept else "",
        ) from None
    ways.tell(f"the accepted key is saved: {place}")
