"""Owns the choice of a store: which kinds there are, and what each needs to know of this place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.errors import ConfigurationFailure
from tasks.secret import Secret
from tasks.vault.store import Store

if TYPE_CHECKING:
    from tasks.vault.session import Session


@dataclass(frozen=True)
class Place:
    """What the stores need to know of this place; each takes its part.

    `identity` opens the age vault instead of the identity file in `folder`; `variables` are the environment's,
    `bitwarden` is the session of this chain of commands.
    """

    folder: Path
    identity: Secret | None
    variables: Mapping[str, str]
    bitwarden: "Session | None" = None


def open_store(kind: str, place: Place) -> Store:
    """Return the store of that kind; nothing is read or made yet."""
    if kind not in STORES:
        raise ConfigurationFailure(f"VAULT: expected {' or '.join(STORES)}, got {kind!r}")
    return STORES[kind](place)


def _age(place: Place) -> Store:
    from tasks.vault.age import AgeStore

    return AgeStore(place.folder, place.identity)


def _environment(place: Place) -> Store:
    from tasks.vault.environment import EnvironmentStore

    return EnvironmentStore(place.variables)


def _bitwarden(place: Place) -> Store:
    from tasks.vault.bitwarden import BitwardenStore

    if place.bitwarden is None:
        raise ConfigurationFailure("VAULT=bitwarden needs a session")
    return BitwardenStore(place.bitwarden)


STORES: dict[str, Callable[[Place], Store]] = {"age": _age, "environment": _environment, "bitwarden": _bitwarden}
