"""Owns what an item says of its auth key: when, by which control server and as which node it was last accepted.

Nothing in a key's text says whether it serves once or often. So whoever meets a refusal later is told that it was
accepted before. The field is text, never hidden: Bitwarden gives a changed hidden field a place in the item's history.
"""

from datetime import UTC, datetime

from tasks.secret import Secret
from tasks.vault.store import Field, Item

NAME = "accepted"
WARNING = "; if it was a single-use key, it is spent"


def acceptance(server: str, node: str, moment: datetime) -> Field:
    """Return the field for a key that `server` accepted from `node`."""
    when = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Field(NAME, Secret(f"{when} by {server} as {node}{WARNING}"))


def is_acceptance(field: Field) -> bool:
    """Whether the field is one of ours; a person's own may have the same name."""
    return field.name == NAME and not field.hidden and field.value.reveal().endswith(WARNING)


def acceptance_of(item: Item) -> str:
    """Return what the item says of its key, or an empty text."""
    return next((each.value.reveal() for each in item.fields if is_acceptance(each)), "")
