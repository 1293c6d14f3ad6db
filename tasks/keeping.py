"""Composes the way from the settings to a vault: the store, its session, the save that loses nothing, what waits.

A thin layer that `vault`, `net`, `lab`, `demo` and `doctor` share.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, files
from tasks.errors import Failure, NotSaved
from tasks.secret import Secret
from tasks.settings import Settings, followed, tailnet_folder

if TYPE_CHECKING:
    from tasks.net.accepted import Save
    from tasks.vault.age import AgeStore
    from tasks.vault.bitwarden import BitwardenStore
    from tasks.vault.bw import Account
    from tasks.vault.session import Session
    from tasks.vault.store import Item, Store, Trouble

ACCOUNTS = "bitwarden.accounts"  # a folder beside the tailnets', whose names have no dot
_SESSIONS: "dict[Account, Session]" = {}


def open_vault(settings: Settings) -> "Store":
    """Return the vault that the settings name; nothing is read or made yet."""
    if settings.vault == "bitwarden":
        return _bitwarden_store(settings)
    if settings.vault == "environment":
        from tasks.vault.environment import EnvironmentStore

        return EnvironmentStore(os.environ)
    from tasks.vault.age import AgeStore

    return AgeStore(settings.state_folder, settings.configured_identity())


def bitwarden_session(settings: Settings) -> "Session":
    """Return this process's one session of the account that the settings name, ended with it; nothing is started yet.

    A chain of commands shares it.
    """
    from tasks.programs.pins import pinned
    from tasks.programs.provision import ensure
    from tasks.vault.bw import Account, account_name

    programs = ensure(pinned("bw"), source=settings.programs_source, cache=settings.cache_folder, say=console.step)
    own = tailnet_folder(ACCOUNTS)
    name = account_name(settings.bw_server, _who(settings))
    account = Account(
        executable=programs.executable("bw"),
        folder=settings.bw_data_folder or own / name,
        lock=files.private_folder(own) / f"{name}.lock",
        runtime=settings.runtime_folder,
        server=settings.bw_server,
        email=settings.bw_email,
        client_id=settings.bw_client_id,
        client_secret=followed(settings.bw_client_secret, "client secret"),
        password=followed(settings.bw_password, "master password"),
        session=followed(settings.bw_session, "session"),
    )
    return _session_of(account)


def close_sessions() -> None:
    """End what the sessions run: a program that takes this process's place would keep it."""
    for session in _SESSIONS.values():
        session.close()


def _session_of(account: "Account") -> "Session":
    import atexit

    from tasks.vault.session import Session
    from tasks.vault.signin import Person

    if account not in _SESSIONS:
        person = Person(console.ask_hidden if console.may_ask() else None, console.step)
        _SESSIONS[account] = Session(account, person)
        atexit.register(_SESSIONS[account].close)
    return _SESSIONS[account]


def known_troubles(settings: Settings) -> "list[Trouble]":
    """Return what is known of the vault before it is asked: faults of its programs, and what waits to be saved.

    bw is not run, node only asked its version.
    """
    if settings.vault != "bitwarden":
        return []
    from shutil import which

    from tasks.programs.node import node_version, node_wanted_by, version_beside
    from tasks.vault.breakages import of_node, of_version
    from tasks.vault.rescue import of_others

    used = bitwarden_session(settings).account.executable
    on_path = which("bw")
    # The one on PATH is what its owner types, even where ours is another.
    versions = {version_beside(Path(each)): None for each in (str(used), on_path) if each}
    troubles = [trouble for version in versions for trouble in of_version(version)]
    return [
        *_waiting_troubles(settings),
        *of_others(_rescue_of(settings)),
        *troubles,
        *of_node(version_beside(used), node_wanted_by(used), node_version()),
    ]


def _waiting_troubles(settings: Settings) -> "list[Trouble]":
    from tasks.vault.store import Trouble

    offered = "`inv net.up` at a terminal offers to save it"
    try:
        return [Trouble(_waits(settings, item), offered) for item in _waiting(settings)]
    except Failure as failure:
        return [Trouble(f"what may wait to be saved cannot be read: {failure.what}", failure.next_step)]


def begin_vault(settings: Settings) -> None:
    """Start what the vault needs to be read, beside other work; what cannot be started is told when it is read."""
    if settings.vault == "bitwarden":
        with suppress(Failure):
            bitwarden_session(settings).begin()


def read_item(settings: Settings, name: str, *, anew: bool = False) -> "Item | None":
    """Return an item, or None where there is none of that name; `anew`, however fresh our copy is."""
    from tasks.vault.store import NoSuchItem

    try:
        if anew and settings.vault == "bitwarden":
            _bitwarden_store(settings).refresh()
        return open_vault(settings).get(name)
    except NoSuchItem:
        return None


def set_password(settings: Settings, name: str, password: Secret) -> str:
    """Put a password that its owner still has into the vault, and return where it is now, in words."""
    from tasks.vault import rescue, saving
    from tasks.vault.store import Item

    if settings.vault == "bitwarden":
        return str(rescue.save_exclusively(_bitwarden_store(settings), Item(name, password)))
    return str(saving.save_password(open_vault(settings), name, password))


def save_password(settings: Settings, name: str, password: Secret, *, item_id: str = "") -> str:
    """Put a password that may exist nowhere else into the vault, and return where it is now, in words.

    It is tried three times; NotSaved says where the password is then. `item_id` tells the item that is there from
    others of its name.
    """
    from tasks.vault.store import Item

    return _kept(settings, Item(name, password, id=item_id))()


def keep_accepted_key(settings: Settings, name: str, key: Secret, node: str = "", *, item_id: str = "") -> "Save":
    """Keep an auth key that the control server accepted from `node`, by default this machine; a field says so.

    Nothing loses it from now on. What is returned puts it into the vault, as `save_password` does.
    """
    from datetime import UTC, datetime

    from tasks.vault.acceptance import acceptance
    from tasks.vault.store import Item

    node = node or settings.hostname or os.uname().nodename
    note = acceptance(key, settings.login_server or "Tailscale", node, datetime.now(UTC))
    return _kept(settings, Item(name, key, fields=(note,), id=item_id))


def _kept(settings: Settings, item: "Item") -> "Save":
    from tasks.vault import rescue

    if settings.vault != "bitwarden":
        return _at_once(lambda: str(rescue.save_patiently(open_vault(settings), item, console.step)))
    own = _rescue_of(settings)
    save = rescue.keep_item(lambda: _bitwarden_store(settings), own, item, console.step)
    return lambda: str(save())


def _at_once(save: "Save") -> "Save":
    """Save now, as a vault of this machine is as near as any place to keep it; what is returned tells how that went."""
    failed: Failure | None = None
    said = ""
    try:
        said = save()
    except Failure as failure:
        failed = failure

    def tell() -> str:
        if failed is not None:
            raise failed
        return said

    return tell


def where_kept(settings: Settings, save: "Save") -> str:
    """Say where the key is that `save` has still to save, without asking a server."""
    if settings.vault == "bitwarden":
        waiting = [f"{trouble.what}; {trouble.next_step}" for trouble in _waiting_troubles(settings)]
        return "\n".join(waiting) or "the accepted key could not be kept here"
    try:
        return f"the accepted key is saved: {save()}"
    except Failure as failure:
        return f"the accepted key could not be saved: {failure}"


def offer_rescued(settings: Settings, *, dry: bool = False) -> NotSaved | None:
    """Offer to save what did not reach Bitwarden earlier; one look at a file when there is nothing.

    A failure is told, and returned as what is to be raised once the network is up: it must not keep it down.
    """
    try:
        waiting = _waiting(settings)
    except Failure as failure:
        failures = [_told(failure)]
    else:
        offered = (_offer(settings, item, dry=dry) for item in waiting)
        failures = [failure for failure in offered if failure is not None]
    if dry or not failures:
        return None
    unsaved = "the network is up, but what waits for Bitwarden could not be saved; it is still kept here"
    steps = [*(failure.next_step for failure in failures), "the next `inv net.up` offers it again"]
    next_step = "; ".join(dict.fromkeys(filter(None, steps)))
    why = "; ".join(dict.fromkeys(failure.sentence for failure in failures))
    return NotSaved(unsaved, why=why, next_step=next_step, cause="rescued")


def _told(failure: Failure) -> Failure:
    console.step(f"not saved: {failure.sentence}")
    return failure


def _waiting(settings: Settings) -> "list[Item]":
    from tasks.vault import rescue

    return rescue.rescued(_rescue_of(settings)) if settings.vault == "bitwarden" else []


def _rescue_of(settings: Settings) -> "AgeStore":
    from tasks.vault.rescue import rescue_vault

    # Who names nobody has signed in to this data folder by hand.
    who = _who(settings) or str(settings.bw_data_folder or "")
    return rescue_vault(settings.state_folder, settings.bw_server, who)


def _who(settings: Settings) -> str:
    return settings.bw_client_id or settings.bw_email


def _waits(settings: Settings, item: "Item") -> str:
    host = (settings.bw_server or "https://bitwarden.com").partition("://")[2].rstrip("/")
    account = f"{_who(settings) or 'the account'} at {host}"
    which = f"{item.name!r} ({item.id})" if item.id else repr(item.name)
    return f"a value for {which} waits to be saved to Bitwarden (kept since {item.revision}, for {account})"


def _offer(settings: Settings, item: "Item", *, dry: bool) -> Failure | None:
    """Offer one value; a failure is told and returned, as it may be this item's alone."""
    if dry:
        console.step(f"{_waits(settings, item)}; would offer it")
    elif not console.may_ask():
        console.step(f"{_waits(settings, item)}; `inv net.up` at a terminal offers it")
    else:
        try:
            _ask_about(settings, item)
        except Failure as failure:
            return _told(failure)
    return None


def _ask_about(settings: Settings, item: "Item") -> None:
    from tasks.vault import rescue

    own = _rescue_of(settings)
    question = f"{_waits(settings, item)}; `inv vault.list` shows of when Bitwarden's own is: save it now?"
    match console.ask_which(question, ("yes", "no", "discard")):
        case "y" | "yes":
            console.step(str(rescue.deliver(_bitwarden_store(settings), own, item, console.step)))
        case "discard":
            rescue.forget(own, item)
            console.step(f"discarded: the value that was kept for {item.name!r}")


def _bitwarden_store(settings: Settings) -> "BitwardenStore":
    from tasks.vault.bitwarden import BitwardenStore

    return BitwardenStore(bitwarden_session(settings))
