"""Secrets: status, list, get, set, rotate, run, export; unlock and lock for Bitwarden."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tasks import console, options, process
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import ConfigurationFailure, Refused, UsageFailure
from tasks.keeping import (
    bitwarden_session,
    close_sessions,
    keep_accepted_key,
    known_troubles,
    open_vault,
    save_password,
    set_password,
    where_kept,
)
from tasks.net.keys import fault_of, key_in
from tasks.secret import REDACTOR, Secret
from tasks.settings import Settings, vault_references

if TYPE_CHECKING:
    from tasks.net.accepted import Save
    from tasks.vault.store import Item, Trouble

LONGEST_VALUE = 1_000_000  # bytes on stdin; what is longer is no secret but a wrong file
LONGEST_TYPED = 4095  # bytes; a terminal cuts a longer line without a word (Linux N_TTY_BUF_SIZE)
HOW_TO_GIVE = "type it at a terminal, or give it on stdin: `inv vault.set NAME < FILE`"


@command(options_help={"json": "the same as one JSON document"})
def status(_context: Context, json: bool = False) -> None:
    """Say which vault is used, and how it is."""
    settings = load_settings()
    known = known_troubles(settings)
    _warn(known)
    store = open_vault(settings)
    state = store.status()
    _warn(state.troubles)
    if json:
        document = {"vault": store.name, "state": state.state, "where": state.where, "items": state.items}
        warnings = [trouble.what for trouble in (*known, *state.troubles)]
        console.document({**document, "writable": store.writable, "warnings": warnings})
    else:
        console.say(f"{store.name} vault: {state}")


def _warn(troubles: Sequence["Trouble"]) -> None:
    for trouble in troubles:
        console.step(f"warning: {trouble.what}\n  next: {trouble.next_step}")


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
    from tasks.vault.references import value_of

    console.hand_over(value_of(open_vault(load_settings()).get(name), field))


@command(name="set", options_help={"name": "the item, by its exact name; a new one is made"})
def set_(context: Context, name: str) -> None:
    """Replace an item's password: asked for, hidden, or read from stdin. The old one stays in the item's history."""
    settings = load_settings()
    _check_name(name)
    if is_dry(context):
        console.step(f"would set the password of {name!r} in the {settings.vault} vault")
        return
    value = _read_value(name)
    console.say(set_password(settings, name, _well_formed(value) if name == settings.vault_item else value))


@command(options_help={"name": "the item, by its exact name"})
def rotate(context: Context, name: str) -> None:
    """Ask for an item's new password, prove it by a login where it is the auth key, save it, read it back."""
    from tasks.vault.saving import check_takes_passwords
    from tasks.vault.store import Item

    settings = load_settings()
    if is_dry(context):  # to look for the item may end the session that a shell keeps
        login = ", log in with it" if name == settings.vault_item else ""
        console.step(f"would ask for the new password of {name!r}{login}")
        return
    store = open_vault(settings)
    before = store.get(name)
    check_takes_passwords(store, before)
    item_id = before.id if name != before.name else ""  # other items may have its name
    new = _read_value(name)
    if settings.vault_item not in {before.name, before.id}:
        console.say(save_password(settings, before.name, new, item_id=item_id))
        return
    console.say(_proved(settings, Item(before.name, new, id=item_id))())
    console.step("a key for one use is spent by the proof; one for many uses serves the next `inv net.up`")


@command()
def unlock(context: Context) -> None:
    """Open the Bitwarden vault for a shell to keep: eval "$(inv vault.unlock)"."""
    settings = _bitwarden_settings()
    if is_dry(context):
        console.step("would unlock the bitwarden vault, and print its session for a shell to keep")
        return
    session = bitwarden_session(settings).unlocked()
    console.hand_over(Secret(f"export BW_SESSION='{session.reveal()}';"))


@command(options_help={"sign_out": "forget the account here too; the next use signs in anew"})
def lock(context: Context, sign_out: bool = False) -> None:
    """Lock the Bitwarden vault: no session that a shell keeps opens it any more."""
    settings = _bitwarden_settings()
    if is_dry(context):
        console.step("would sign out of the bitwarden vault" if sign_out else "would lock the bitwarden vault")
        return
    session = bitwarden_session(settings)
    (session.sign_out if sign_out else session.lock)()
    how = "signed out here" if sign_out else "locked"
    console.say(f"the bitwarden vault is {how}; `unset BW_SESSION` where it was set")


@command(
    words=True, becomes=True, options_help={"only": "the variables to give, such as TOKEN,PASSWORD; without it, all"}
)
def run(context: Context, only: str = "") -> None:
    """Run the words after `--` with the secrets in their environment that lines NAME=vault:ITEM/FIELD of .env name."""
    from tasks.vault.references import chosen, resolved, without_secrets_of_vaults

    settings, words = load_settings(), options.words()
    if not words:
        raise UsageFailure("there is nothing to run", next_step="`inv vault.run -- COMMAND …`")
    wanted = chosen(vault_references(settings.tailnet), options.names(only))
    if is_dry(context):
        console.step(f"would run {words[0]} with {', '.join(wanted) or 'no secrets'}")
        return
    values = {name: secret.reveal() for name, secret in resolved(open_vault(settings), wanted).items()}
    own = without_secrets_of_vaults(os.environ, settings.vault)
    close_sessions()
    process.become(*words, environment={**own, **values})


@command(options_help={"to": "bitwarden: create there what it does not have, instead of printing"})
def export(context: Context, to: str = "") -> None:
    """Print the whole vault in clear, in Bitwarden's unencrypted layout; or copy it with --to=bitwarden."""
    settings = load_settings()
    if to:
        _move(settings, to, dry=is_dry(context))
        return
    everything = open_vault(settings).export()
    console.step("this is every secret of the vault in clear: do not leave it in a file")
    console.hand_over(everything)


def _move(settings: Settings, to: str, *, dry: bool) -> None:
    from tasks.vault import moving
    from tasks.vault.bitwarden import BitwardenStore

    if to != "bitwarden" or settings.vault == to:
        raise UsageFailure(f"--to: expected bitwarden, with another VAULT to copy from, got {to!r}")
    source, target = open_vault(settings), BitwardenStore(bitwarden_session(settings))
    plan = moving.plan(source, target)
    if plan.present:
        console.step(f"there already, left as they are: {moving.names(plan.present)}")
    console.step(f"would create: {moving.names(plan.missing)}" if plan.missing else "there is nothing to create")
    if dry or not plan.missing or (console.may_ask() and not console.ask_yes("create them?")):
        return
    moving.create_all(source, target, plan.missing, console.say)


def _bitwarden_settings() -> Settings:
    settings = load_settings()
    if settings.vault != "bitwarden":
        raise ConfigurationFailure(f"the {settings.vault} vault is never locked", next_step="VAULT=bitwarden is")
    return settings


def _proved(settings: Settings, item: "Item") -> "Save":
    """Log in with an auth key, with the next one after a refusal; return what saves it, as it is kept by then."""
    while isinstance(proof := _proof(settings, item), str):
        if not console.may_ask():
            raise Refused("the new key was refused", why=proof, next_step="the vault still holds the old one")
        console.step(f"the key you typed was refused: {proof}")
        item = replace(item, password=_ask(item.name))
    return proof


def _proof(settings: Settings, item: "Item") -> "Save | str":
    """Log in with the key beside the running network; return what saves it, or why it was refused."""
    from tasks.connecting import daemon_of, up_arguments
    from tasks.net.proving import Ways, prove
    from tasks.programs.pins import pinned
    from tasks.programs.provision import ensure

    key = key_in(item.password)
    if fault := fault_of(key):
        return fault
    found = ensure(pinned("tailscale"), source=settings.programs_source, cache=settings.cache_folder, say=console.step)
    ways = Ways(
        like=daemon_of(settings),
        programs=(found.executable("tailscale"), found.executable("tailscaled")),
        arguments=up_arguments(settings),
        keep=lambda accepted: keep_accepted_key(settings, item.name, accepted, item_id=item.id),
        where=lambda save: where_kept(settings, save),
        tell=console.step,
    )
    return prove(ways, key)


def _well_formed(key: Secret) -> Secret:
    """Return an auth key as `net.up` takes it, or fail as it could only be refused there."""
    key = key_in(key)
    if fault := fault_of(key):
        raise UsageFailure("the value is no auth key", why=fault, next_step=HOW_TO_GIVE)
    return key


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
