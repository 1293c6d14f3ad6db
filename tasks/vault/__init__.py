"""Secrets: status, list, get, set, export."""

import functools
import os
import sys
from typing import TYPE_CHECKING

from tasks import console, files
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import Unavailable, UsageFailure
from tasks.secret import REDACTOR, Secret
from tasks.settings import Settings, followed, tailnet_folder

if TYPE_CHECKING:
    from tasks.vault.bw import Account
    from tasks.vault.session import Session
    from tasks.vault.store import Item, Store

LONGEST_VALUE = 1_000_000  # bytes on stdin; what is longer is no secret but a wrong file
LONGEST_TYPED = 4095  # bytes; a terminal cuts a longer line without a word (Linux N_TTY_BUF_SIZE)
ACCOUNTS = "bitwarden.accounts"  # a folder beside the tailnets', whose names have no dot
HOW_TO_GIVE = "type it at a terminal, or give it on stdin: `inv vault.set NAME < FILE`"


@command(options_help={"json": "the same as one JSON document"})
def status(_context: Context, json: bool = False) -> None:
    """Say which vault is used, and how it is."""
    store = open_vault(load_settings())
    state = store.status()
    if json:
        document = {"vault": store.name, "state": state.state, "where": state.where, "items": state.items}
        console.document({**document, "writable": store.writable})
    else:
        console.say(f"{store.name} vault: {state}")


@command(name="list", options_help={"json": "the same as one JSON document"})
def list_(_context: Context, json: bool = False) -> None:
    """List the items by name, with the date of their last change; never a value."""
    refs = open_vault(load_settings()).list()
    if json:
        console.document([{"name": ref.name, "id": ref.id, "revision": ref.revision or None} for ref in refs])
    elif refs:
        rows = [(console.visible(ref.name), ref.revision or "-") for ref in refs]
        console.say(console.table([("NAME", "CHANGED"), *rows]))
    else:
        console.step("the vault is empty; `inv vault.set NAME` fills it")


@command(options_help={"name": "the item, by its exact name", "field": "username, notes or a field of its own"})
def get(_context: Context, name: str, field: str = "password") -> None:
    """Print one value of an item, and nothing else."""
    console.hand_over(_value(open_vault(load_settings()).get(name), field))


@command(name="set", options_help={"name": "the item, by its exact name; a new one is made"})
def set_(context: Context, name: str) -> None:
    """Replace an item's password: asked for, hidden, or read from stdin. The old one stays in the item's history."""
    settings = load_settings()
    _check_name(name)
    if is_dry(context):
        console.step(f"would set the password of {name!r} in the {open_vault(settings).name} vault")
        return
    console.say(save_password(settings, name, _read_value(name)))


@command()
def export(_context: Context) -> None:
    """Print the whole vault in clear, in the layout of Bitwarden's unencrypted export."""
    everything = open_vault(load_settings()).export()
    console.step("this is every secret of the vault in clear: do not leave it in a file")
    console.hand_over(everything)


def open_vault(settings: Settings) -> "Store":
    """Return the vault that the settings name; nothing is read or made yet."""
    from tasks.vault.store import Place, open_store

    session = bitwarden_session(settings) if settings.vault == "bitwarden" else None
    place = Place(settings.state_folder, settings.configured_identity(), os.environ, session)
    return open_store(settings.vault, place)


def bitwarden_session(settings: Settings) -> "Session":
    """Return this process's one session of the account that the settings name; nothing is started yet."""
    from tasks.programs.pins import pinned
    from tasks.programs.provision import ensure
    from tasks.vault.bw import Account, account_name

    programs = ensure(pinned("bw"), source=settings.programs_source, cache=settings.cache_folder, say=console.step)
    own = tailnet_folder(ACCOUNTS)
    name = account_name(settings.bw_server, settings.bw_client_id or settings.bw_email)
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


@functools.cache
def _session_of(account: "Account") -> "Session":
    import atexit

    from tasks.vault.session import Session
    from tasks.vault.signin import Person

    session = Session(account, Person(console.ask_hidden if console.may_ask() else None, console.step))
    atexit.register(session.close)
    return session


def read_password(settings: Settings, name: str) -> Secret | None:
    """Return an item's password, or None where there is no such item or it has none."""
    from tasks.vault.store import NoSuchItem

    try:
        return open_vault(settings).get(name).password or None
    except NoSuchItem:
        return None


def save_password(settings: Settings, name: str, password: Secret) -> str:
    """Put a password into the vault, and return where it is now, in words."""
    from tasks.vault import saving

    return str(saving.save_password(open_vault(settings), name, password))


def _value(item: "Item", field: str) -> Secret:
    own = {each.name: each.value for each in item.fields}
    values = {**own, "password": item.password, "username": item.username, "notes": item.notes}
    if not values.get(field):
        having = [name for name, value in values.items() if value]
        has = "it has " + ", ".join(having) if having else "it is empty"
        raise Unavailable(f"the item {item.name!r} has no {field}", why=has, cause="no-field")
    return values[field]


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable():
        raise UsageFailure(f"name: expected printable characters, got {name!r}")


def _read_value(name: str) -> Secret:
    value = _ask(name) if console.may_ask() else REDACTOR.learn(Secret(_stdin()))
    if not value:
        raise UsageFailure("the value is empty", next_step=HOW_TO_GIVE)
    if "\0" in value.reveal():
        raise UsageFailure("the value holds a NUL, which no environment and no argument can carry")
    return value


def _ask(name: str) -> Secret:
    try:
        typed = console.ask_hidden(f"new password of {name!r} (hidden): ")
    except EOFError:
        raise UsageFailure("no value was typed", next_step=HOW_TO_GIVE) from None
    if len(typed.reveal().encode()) >= LONGEST_TYPED:
        raise UsageFailure(f"a terminal cuts a line at {LONGEST_TYPED} bytes", next_step="give it on stdin")
    return typed


def _stdin() -> str:
    if os.isatty(0):
        raise UsageFailure("there is nobody to ask for the value, and it is not on stdin", next_step=HOW_TO_GIVE)
    content = sys.stdin.buffer.read(LONGEST_VALUE + 1)
    if len(content) > LONGEST_VALUE:
        raise UsageFailure(f"the value on stdin is longer than {LONGEST_VALUE} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UsageFailure("the value on stdin is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
