"""Owns the read-only vault of CI: the item `Tailscale auth key` is the variable VAULT_TAILSCALE_AUTH_KEY."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tasks.errors import ConfigurationFailure
from tasks.secret import REDACTOR, Secret
from tasks.vault.layout import document_of, empty_export
from tasks.vault.store import Item, Ref, State, Status, no_such_item

PREFIX = "VAULT_"
# Settings that begin like an item.
SETTINGS = ("VAULT_IDENTITY", "VAULT_ITEM")


@dataclass(frozen=True)
class EnvironmentStore:
    """The variables VAULT_…; an empty one counts as not set. The name of an item is the rest of its variable's."""

    variables: Mapping[str, str]
    name: str = "environment"
    writable: bool = False

    def status(self) -> Status:
        """Count the variables."""
        return Status(State.OPEN, f"the variables {PREFIX}…", len(self.list()))

    def list(self) -> Sequence[Ref]:
        """Return the variables, by name; they have no revisions."""
        names = sorted(name for name, value in self.variables.items() if is_item(name) and value)
        return [Ref(name, name.removeprefix(PREFIX), "") for name in names]

    def get(self, name: str) -> Item:
        """Return the item whose variable the name stands for, or is; it has a password and nothing else."""
        variable = name if is_item(name) else variable_of(name)
        name = name.removeprefix(PREFIX)
        value = "" if variable in SETTINGS else self.variables.get(variable, "")
        if not value:
            names = [ref.name for ref in self.list()]
            raise no_such_item(name, names, self.name, next_step=f"set the variable {variable}")
        return Item(name=name, password=REDACTOR.learn(Secret(value)), id=variable)

    def put(self, item: Item, *, expect: str | None) -> NoReturn:  # noqa: ARG002 - the protocol's
        """Refuse: no program can set a variable of those that start it."""
        raise ConfigurationFailure(
            f"cannot write {item.name!r}: the environment vault is read-only",
            next_step=f"set {variable_of(item.name)} where this is started from, or choose VAULT=age",
            cause="read-only",
        )

    def export(self) -> Secret:
        """Return the variables as logins."""
        items = [{**document_of(self.get(ref.name)), "id": ref.id} for ref in self.list()]
        return Secret(json.dumps({**empty_export(), "items": items}, indent=2))


def variable_of(name: str) -> str:
    """Return the variable of an item: VAULT_ and the name in capitals, with _ for all but ASCII letters and digits."""
    return PREFIX + re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def is_item(variable: str) -> bool:
    """Whether the variable is an item of this vault; two of its settings begin like one."""
    return variable.startswith(PREFIX) and variable not in SETTINGS
