"""Owns references to secrets: `vault:Item name/field` in a settings file becomes the value, for one program alone."""

from collections.abc import Iterable, Mapping, Set

from tasks.errors import ConfigurationFailure, Unavailable, UsageFailure
from tasks.secret import Secret
from tasks.vault.environment import is_item
from tasks.vault.store import Item, NoSuchItem, Store

# What opens vaults; a program that gets secrets gets none of these unless it is named.
KEYS_OF_VAULTS = ("BW_PASSWORD", "BW_SESSION", "BW_CLIENTID", "BW_CLIENTSECRET", "VAULT_IDENTITY", "TS_AUTHKEY")


def chosen(references: Mapping[str, str], only: Iterable[str]) -> dict[str, str]:
    """Return the references of the names in `only`, all without any; a name that has none is a usage failure."""
    names = list(only)
    missing = [name for name in names if name not in references]
    if missing:
        raise UsageFailure(
            f"--only: no settings file has a line {missing[0]}=vault:…",
            why="there are " + ", ".join(sorted(references)) if references else "there is no such line at all",
        )
    return {name: references[name] for name in names or references}


def resolved(store: Store, references: Mapping[str, str]) -> dict[str, Secret]:
    """Return each reference's value, by the variable's name. An item is read once; a missing value is a failure."""
    known = {ref.name for ref in store.list()} if any("/" in each for each in references.values()) else set()
    items: dict[str, Item] = {}
    found = {}
    for variable, reference in references.items():
        name, field = _split(store, reference, known, items)
        value = value_of(items[name], field)
        if "\0" in value.reveal():
            raise ConfigurationFailure(f"{variable}: {reference!r} holds a NUL, which no environment can carry")
        found[variable] = value
    return found


def without_secrets_of_vaults(environ: Mapping[str, str], vault: str) -> dict[str, str]:
    """Return the variables without what opens vaults and, where these are the vault itself, without its items."""
    dropped = {name for name in environ if name in KEYS_OF_VAULTS or (vault == "environment" and is_item(name))}
    return {name: value for name, value in environ.items() if name not in dropped}


def value_of(item: Item, field: str) -> Secret:
    """Return one value of an item: password, username, notes or a field of its own; an empty one is a failure."""
    own = {each.name: each.value for each in item.fields}
    values = {**own, "password": item.password, "username": item.username, "notes": item.notes}
    if not values.get(field):
        having = [name for name, value in values.items() if value]
        has = "it has " + ", ".join(having) if having else "it is empty"
        raise Unavailable(f"the item {item.name!r} has no {field}", why=has, cause="no-field")
    return values[field]


def _split(store: Store, reference: str, known: Set[str], items: dict[str, Item]) -> tuple[str, str]:
    """Return item and field, the item read: the whole text if an item has that name, else what a slash parts."""
    name, slash, field = reference.rpartition("/")
    if not reference or (slash and not (name and field)):
        raise ConfigurationFailure(f"vault:{reference}: expected vault:ITEM or vault:ITEM/FIELD")
    # A vault asks its server for what it does not have, so it is asked for what it has where the names tell.
    if slash and name in known and reference not in known:
        return _read(store, name, items), field
    try:
        return _read(store, reference, items), "password"
    except NoSuchItem:
        if not slash:
            raise
        return _read(store, name, items), field


def _read(store: Store, name: str, items: dict[str, Item]) -> str:
    if name not in items:
        items[name] = store.get(name)
    return name
