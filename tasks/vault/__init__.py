"""Secrets: status, list, get, set, export."""

import os
import sys
from typing import TYPE_CHECKING

from tasks import console
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import ConfigurationFailure, Unavailable, UsageFailure
from tasks.secret import REDACTOR, Secret
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.vault.age import AgeStore
    from tasks.vault.store import Item, Store

KINDS = ("age", "environment")


@command(options_help={"json": "the same as one JSON document"})
def status(_context: Context, json: bool = False) -> None:
    """Say which vault is used, and how it is."""
    settings = load_settings()
    text = open_vault(settings).status()
    if json:
        console.document({"vault": settings.vault, "status": text, "auth_key_item": settings.vault_item})
    else:
        console.say(f"{settings.vault}: {text}")


@command(name="list", options_help={"json": "the same as one JSON document"})
def list_(_context: Context, json: bool = False) -> None:
    """List the items by name, with the date of their last change; never a value."""
    refs = open_vault(load_settings()).list()
    if json:
        console.document([{"name": ref.name, "revision": ref.revision} for ref in refs])
    elif refs:
        console.say(console.table([("item", "changed"), *((console.visible(ref.name), ref.revision) for ref in refs)]))
    else:
        console.step("the vault is empty")


@command(options_help={"name": "the item, by its exact name", "field": "username, notes or a field of its own"})
def get(_context: Context, name: str, field: str = "password") -> None:
    """Print one secret of an item, and nothing else."""
    console.hand_over(_field(open_vault(load_settings()).get(name), field))


@command(name="set", options_help={"name": "the item, by its exact name; a new one is made"})
def set_(context: Context, name: str) -> None:
    """Replace an item's password: asked for, hidden, or read from stdin. The old one stays in the item's history."""
    settings = load_settings()
    if is_dry(context):
        console.step(f"would replace the password of {name!r} in the {settings.vault} vault")
        return
    console.say(save_password(settings, name, _typed_or_piped(name)))


@command()
def export(_context: Context) -> None:
    """Print the whole vault in clear, in Bitwarden's export layout."""
    settings = load_settings()
    if settings.vault != "age":
        raise UsageFailure(f"the {settings.vault} vault has no export", next_step="VAULT=age inv vault.export")
    console.step("what follows holds every secret in clear")
    console.hand_over(_age(settings).export())


def open_vault(settings: Settings) -> "Store":
    """Return the vault that VAULT names."""
    from tasks.vault.environment import EnvironmentStore

    if settings.vault == "age":
        return _age(settings)
    if settings.vault == "environment":
        return EnvironmentStore(os.environ)
    raise ConfigurationFailure(f"VAULT: expected one of {', '.join(KINDS)}, got {settings.vault!r}")


def read_password(settings: Settings, name: str) -> Secret | None:
    """Return an item's password from the vault in use, or None."""
    from tasks.vault import store

    return store.read_password(open_vault(settings), name)


def save_password(settings: Settings, name: str, password: Secret) -> str:
    """Put a password into the vault in use, and return where it is now, in words."""
    from tasks.vault import store

    vault = open_vault(settings)
    before = store.replace_password(vault, name, password)
    place = f"the item {name!r} of the {vault.name} vault"
    if before is None:
        return f"{place} is new"
    if before.password == password:
        return f"{place} held it already"
    kept = len(vault.get(name).history)
    return f"{place} is replaced, the old value is in its history ({kept} kept)"


def _age(settings: Settings) -> "AgeStore":
    from tasks.vault.age import AgeStore

    return AgeStore(settings.state_folder, settings.vault_identity)


def _field(item: "Item", field: str) -> Secret:
    values = {"password": item.password, "username": Secret(item.username), "notes": Secret(item.notes)}
    values = {**dict(item.fields), **values}
    if field not in values or not values[field]:
        having = ", ".join(sorted(name for name, value in values.items() if value))
        raise Unavailable(f"the item {item.name!r} has no {field}", why=f"it has {having or 'nothing'}")
    return values[field]


def _typed_or_piped(name: str) -> Secret:
    if console.may_ask():
        try:
            typed = console.ask_hidden(f"new password of {name} (hidden): ")
        except EOFError:
            typed = Secret("")
    else:
        typed = REDACTOR.learn(Secret(_piped()))
    if not typed:
        raise UsageFailure("no value given", why="nothing was typed, and stdin was empty", next_step="pipe it in")
    return typed


def _piped() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        return ""
    content = sys.stdin.buffer.read()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise UsageFailure("the value on stdin is not UTF-8 text") from None
    if "\0" in text:
        raise UsageFailure("the value on stdin holds a NUL, which no program takes")
    return text.removesuffix("\n")
