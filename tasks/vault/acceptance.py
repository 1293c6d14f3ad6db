"""Owns what an item says of its auth key: when, by which control server and as which node it was last accepted.

Nothing in a key's text says whether it serves once or often. So whoever meets a refusal later is told that it was
accepted before. The field is text, never hidden: Bitwarden gives a changed hidden field a place in the item's history.
It names its key by the begin of its SHA-256: another of Bitwarden's programs may replace the key and leave the field.
"""

import hashlib
import re
from datetime import UTC, datetime

from tasks.secret import Secret
from tasks.vault.store import Field, Item

NAME = "accepted"
WARNING = "; if it was a single-use key, it is spent"
FORM = re.compile(rf"(?P<said>.*{WARNING}) \(key (?P<key>[0-9a-f]{{8}})\)", re.DOTALL)


def acceptance(key: Secret, server: str, node: str, moment: datetime) -> Field:
    """Return the field for a key that `server` accepted from `node`."""
    when = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Field(NAME, Secret(f"{when} by {server} as {node}{WARNING} (key {_mark(key)})"))


def is_acceptance(field: Field) -> bool:
    """Whether the field is one of ours; a person's own may have the same name."""
    return field.name == NAME and not field.hidden and FORM.fullmatch(field.value.reveal()) is not None


def acceptance_of(item: Item) -> str:
    """Return what the item says of the key that it holds now, or an empty text."""
    read = (FORM.fullmatch(each.value.reveal()) for each in item.fields if is_acceptance(each))
    return next((each["said"] for each in read if each and each["key"] == _mark(item.password)), "")


def _mark(key: Secret) -> str:
    return hashlib.sha256(key.reveal().encode(errors="surrogatepass")).hexdigest()[:8]
