"""Owns what bw says of how it stands, and whether that is the account that is wanted."""

from dataclasses import dataclass
from typing import Any

from tasks.errors import ConfigurationFailure
from tasks.vault.bw import Account

OPEN, LOCKED, SIGNED_OUT = "unlocked", "locked", "unauthenticated"
FIELDS = ("status", "serverUrl", "lastSync", "userEmail", "userId")  # of `bw status`
PERSONAL = "user."  # before the id of the account in what its API key is called; an organization's has another
DEFAULT_SERVER = "https://bitwarden.com"


@dataclass(frozen=True)
class Standing:
    """Unlocked, locked or unauthenticated; with which server; when it last synced (RFC 3339); whose account, its id."""

    state: str
    server: str = ""
    last_sync: str = ""
    email: str = ""
    user: str = ""


NOBODY = Standing(SIGNED_OUT)


def standing_of(answer: dict[str, Any]) -> Standing:
    """Return what `GET /status` of bw serve answers."""
    found = answer.get("template") or {}
    return Standing(*(str(found.get(name) or "") for name in FIELDS))


def check(standing: Standing, account: Account) -> None:
    """Refuse a data folder of another server or account: it would take secrets that are not meant for it."""
    wanted, found = account.server.rstrip("/") or DEFAULT_SERVER, standing.server.rstrip("/") or DEFAULT_SERVER
    if found != wanted:
        raise _belongs_to("server", account, f"expected {wanted}, found {found}", "BW_SERVER")
    if account.email and standing.email and account.email.lower() != standing.email.lower():
        raise _belongs_to("account", account, f"expected {account.email}, found {standing.email}", "BW_EMAIL")
    user = account.client_id.removeprefix(PERSONAL) if account.client_id.startswith(PERSONAL) else ""
    if user and standing.user and user.lower() != standing.user.lower():
        raise _belongs_to("account", account, f"expected {user}, found {standing.user}", "BW_CLIENTID")


def _belongs_to(what: str, account: Account, why: str, variable: str) -> ConfigurationFailure:
    return ConfigurationFailure(
        f"bw's data folder {account.folder} belongs to another {what}",
        why=why,
        next_step=f"set {variable} to that one, or leave BW_DATA_DIR out to have a folder for this {what}",
        cause=f"other-{what}",
    )
