"""Owns what bw's complaints mean: texts of bw 2026.6.0 and of its servers, each with our sentence, kind and next step.

bw tells everything by text alone: its exit status is 1 whatever happened, and stack traces surround the text.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import Busy, ConfigurationFailure, Failure, Refused, TimedOut, Unavailable
from tasks.vault.store import Conflict, NoSuchItem

LONGEST_QUOTE = 200  # characters of a foreign text in our sentence
NOISE = re.compile(r"^\s*(?:at |node:|Node\.js v|\^|\}|\{|code:|ERROR bitwarden|Could not find d|\(node:|\(Use `node)")

CONTROLS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
# bw's questions, which come with what was typed (inquirer 8.2.6); a list goes on to its last choice.
QUESTIONS = re.compile(r"^\? Two-step login method:(?:.|\n)*\bCancel\b.*|^\s*\? .*", re.MULTILINE)


@dataclass(frozen=True)
class Complaint:
    """What was said, by which step, and which server it is about."""

    text: str
    step: str
    host: str


@dataclass(frozen=True)
class Meaning:
    """A pattern of bw's text and the failure it stands for; `{host}` and `{step}` are filled in."""

    pattern: str
    kind: type[Failure]
    cause: str
    what: str
    next_step: str


SIGN_IN = "set BW_CLIENTID and BW_CLIENTSECRET (the account's API key), or BW_EMAIL; then run it again"
BY_KEY = "or sign in by the API key: set BW_CLIENTID and BW_CLIENTSECRET"
MEANINGS = (
    # coreutils' env, or busybox's, which bw's first line names
    Meaning(
        r"^(?:\S*/)?env: (?:can't execute )?\W*node\W*: No such file",
        Unavailable,
        "no-node",
        "bw runs by Node, and there is no node on PATH",
        "put Node 20 or newer on PATH, then run it again",
    ),
    Meaning(
        r"out of date\. |is out of date|Cipher doesn't exist",
        Conflict,
        "conflict",
        "the item was changed meanwhile on {host}",
        "run it again: it reads the new state first",
    ),
    Meaning(
        r"toWrappedAccountCryptographicState",
        ConfigurationFailure,
        "server-too-old",
        "{host} is too old for this bw: its login answer lacks the account's keys",
        "update the server (Vaultwarden: 1.35 or newer)",
    ),
    Meaning(
        r"Master password unlock data is required|User Decryption Options are required|cryptographic state is required",
        ConfigurationFailure,
        "no-unlock-data",
        "{host} did not give what unlocks the vault",
        "update the server; a new one says so after it refused bw (403): sign in again",
    ),
    Meaning(
        r"KeyIdBackfillError",
        ConfigurationFailure,
        "bw-too-new",
        "this bw is too new for {host}, which does not know a step of its login",
        "take the pinned bw off PATH's newer one (`inv programs.install --name=bw`), or update the server",
    ),
    Meaning(
        r"Please update your app",
        ConfigurationFailure,
        "bw-too-old",
        "{host} refuses this bw as too old",
        "install a newer bw",
    ),
    Meaning(
        r"Insecure URL not allowed",
        ConfigurationFailure,
        "insecure",
        "bw speaks to a server over https alone",
        "set BW_SERVER to an https address",
    ),
    Meaning(
        r"self-signed certificate|unable to verify the first certificate|unable to get (?:local )?issuer|"
        r"certificate has expired|ERR_TLS_CERT|CERT_",
        ConfigurationFailure,
        "tls",
        "the certificate of {host} is not trusted",
        "if its CA is your own: NODE_EXTRA_CA_CERTS=FILE; never turn the check off",
    ),
    Meaning(
        r"Rate limit exceeded|\"statusCode\":\s*429|statusCode: 429",
        Busy,
        "rate-limited",
        "{host} limits how often one may ask",
        "wait a minute, then run it again",
    ),
    Meaning(
        r"client_id or client_secret is incorrect|Incorrect client_secret|invalid_client",
        Refused,
        "api-key",
        "{host} refuses the API key",
        "take the account's present one: BW_CLIENTID, BW_CLIENTSECRET",
    ),
    Meaning(
        r"Two-step token is invalid|Invalid TOTP code|Token is invalid!|Token has expired|Invalid Yubikey OTP|"
        r"^Login failed\.$",
        Refused,
        "two-step",
        "{host} refuses the two-step code",
        "run it again and type the newest code, " + BY_KEY,
    ),
    Meaning(
        r"No provider selected",
        Refused,
        "two-step",
        "{host} asks for a two-step code, and the account has several ways to get one",
        "run it at a terminal once, which asks for the way, " + BY_KEY,
    ),
    Meaning(
        r"No providers available for this client",
        Refused,
        "two-step",
        "{host} asks for a second step that bw has not, such as a passkey or Duo",
        BY_KEY.removeprefix("or "),
    ),
    Meaning(
        r"Code is required",
        Refused,
        "two-step",
        "{host} asks for a two-step code",
        "run it at a terminal once, " + BY_KEY,
    ),
    Meaning(
        r"Username or password is incorrect|[Ii]nvalid master password|The decryption operation failed",
        Refused,
        "master-password",
        "the master password is wrong",
        "set BW_PASSWORD, or type it when asked; if it was changed elsewhere, `inv vault.lock --sign-out` first",
    ),
    Meaning(
        r"You are not logged in|Unauthorized|\"statusCode\":\s*40[13]|statusCode: 40[13]|You cannot build a user key|"
        r"invalid_grant",
        Refused,
        "signed-out",
        "{host} does not let this account in any more; bw has dropped its local copy",
        SIGN_IN,
    ),
    Meaning(
        r"Vault is locked",
        *(Refused, "locked", "the vault is locked", 'set BW_PASSWORD, or `eval "$(inv vault.unlock)"`'),
    ),
    Meaning(
        r"ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH",
        Unavailable,
        "unreachable",
        "{host} cannot be reached",
        "look at the network and BW_SERVER, then run it again",
    ),
    Meaning(
        r"socket hang up|ECONNRESET|EPIPE|Premature close",
        Unavailable,
        "cut",
        "{host} cut the connection",
        "run it again",
    ),
    Meaning(
        r"\"statusCode\":\s*5\d\d|statusCode: 5\d\d|invalid json response body",
        Unavailable,
        "server-error",
        "{host} answers with an error",
        "wait until the server is well, then run it again",
    ),
    Meaning(
        r"statusCode\"?:\s*404",
        ConfigurationFailure,
        "no-server",
        "{host} is no Bitwarden server",
        "check BW_SERVER",
    ),
    Meaning(
        r"^Not found\.",
        NoSuchItem,
        "no-item",
        "the bitwarden vault has no such item",
        "`inv vault.list` shows all names",
    ),
)


def plain(text: str) -> str:
    """Return a text for a terminal without what moves the cursor, colours or rings."""
    return CONTROLS.sub("", text)


def failure_of(complaint: Complaint) -> Failure:
    """Return the failure that a complaint of bw's stands for."""
    text = QUESTIONS.sub("", plain(complaint.text))
    for meaning in MEANINGS:
        if re.search(meaning.pattern, text, re.MULTILINE):
            what = meaning.what.format(host=complaint.host)
            why = f"{complaint.step} said: {_told(text, meaning.pattern)}"
            return meaning.kind(what, why=why, next_step=meaning.next_step, cause=meaning.cause)
    return Unavailable(
        f"{complaint.step} failed on {complaint.host}",
        why=_told(text, ""),
        next_step="`inv vault.status` shows how the vault is",
        cause="bw",
    )


def hung(host: str, step: str, deadline: float) -> TimedOut:
    """Return the failure of a step of bw's that a server kept waiting for so many seconds."""
    return TimedOut(
        f"{host} did not answer within {deadline:g} s",
        why=f"{step} went on waiting; it has no time limit of its own",
        next_step="look at the server, then run it again",
    )


def still_locked(executable: Path) -> Refused:
    """Return the failure of a bw that unlocks and does not."""
    return Refused(
        "bw unlocked the vault and gave a session, but says that it is still locked",
        why=f"a fault of some bw (2025.12 to 2026.4.1 are known for it); this one is {executable}",
        next_step="`inv programs.install --name=bw` brings the pinned one; `inv vault.status` tells what is known",
        cause="still-locked",
    )


def signed_out(host: str, failure: Failure | None) -> Refused:
    """Return the failure of a bw that finds itself signed out after `failure`, or after nothing that it told."""
    return Refused(
        f"{host} signed this machine out; bw has dropped its local copy",
        why=failure.sentence if failure else "bw says that it is signed out",
        next_step=f"run it again to sign in anew; if that fails, {SIGN_IN}",
        cause="signed-out",
    )


def _told(text: str, pattern: str) -> str:
    """Return the line that says it, without the stack trace around it."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not NOISE.match(line)]
    telling = [line for line in lines if pattern and re.search(pattern, line, re.MULTILINE)] or lines or ["nothing"]
    # A failing request is told with node's own trace on the same line.
    return telling[0].partition("node:internal")[0].rstrip(".")[:LONGEST_QUOTE]
