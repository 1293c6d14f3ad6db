"""Owns one run of the `bw` program: which account, what its child may see, the deadline. The only file that starts it.

bw 2026.6.0: stdout carries data, stderr the complaint, the exit status is 0 or 1, and nothing in it ever times out.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tasks import process
from tasks.errors import TimedOut
from tasks.secret import Secret
from tasks.vault.complaints import Complaint, failure_of, hung

DEADLINE = 45.0  # seconds; 3 to 5 are usual for what bw does over the network
# Beside the plain variables: where node finds certificates, and its way out (bw reads the small names alone).
PASSED_ON = ("NODE_EXTRA_CA_CERTS", "http_proxy", "https_proxy", "no_proxy")
# bw's cached configuration is renewed by requests that nobody awaits: a server that is down then ends the whole
# program, after it has done its work (node's default for such a rejection).
NODE_OPTIONS = "--unhandled-rejections=warn"
SESSION_LENGTH = 88  # characters: 64 bytes as base64


@dataclass(frozen=True)
class Account:
    """One account on one server, and what opens it.

    `folder` is bw's data folder, `lock` guards all that writes for this account from here, `runtime` holds our socket.
    `server` is empty for Bitwarden's own.
    """

    executable: Path
    folder: Path
    lock: Path
    runtime: Path
    server: str = ""
    email: str = ""
    client_id: str = ""
    client_secret: Secret | None = None
    password: Secret | None = None
    session: Secret | None = None

    @property
    def host(self) -> str:
        """The server as a person knows it."""
        return (self.server or "https://bitwarden.com").partition("://")[2].rstrip("/")


def account_name(server: str, who: str) -> str:
    """Return the name of an account's data folder: its server, readable, and a sum of both."""
    host = re.sub(r"[^A-Za-z0-9.-]", "_", (server or "bitwarden.com").partition("://")[2] or server or "bitwarden.com")
    return f"{host}-{hashlib.sha256(f'{server}|{who.lower()}'.encode()).hexdigest()[:12]}"


def environment(account: Account, **secrets: Secret | None) -> dict[str, str]:
    """Return all that one child of ours sees; `secrets` are the variables that this one needs."""
    values = {name: secret.reveal() for name, secret in secrets.items() if secret}
    return process.plain_environment(
        {
            "BITWARDENCLI_APPDATA_DIR": str(account.folder),
            "BW_NOINTERACTION": "true",
            "NODE_OPTIONS": NODE_OPTIONS,
            **process.CHILD_LOCALE,
            **values,
        },
        also=PASSED_ON,
    )


def run(account: Account, *words: str, variables: dict[str, str] | None = None) -> str:
    """Run `bw WORDS…` and return what it printed; a failure is raised in its own words.

    `variables` is a whole environment made by `environment()`. An exit status of 0 with nothing on stdout is a failure
    too: bw ends so when it wanted to ask somebody.
    """
    values = environment(account) if variables is None else variables
    program = str(account.executable)
    with _hang_explained(account, words):
        ended = process.run(program, *words, deadline=DEADLINE, environment=values, ends_with_us=True)
    return _printed(account, words, ended)


def converse(account: Account, *words: str, variables: dict[str, str], reply: Callable[[str], str]) -> str:
    """Run `bw WORDS…` as `run` does, but let it ask: `reply` gets all it said so far and returns what to type.

    One run, because each one would have the server send a new code by e-mail, which ends the one before.
    """
    with _hang_explained(account, words):
        ended = process.converse(
            str(account.executable),
            *words,
            deadline=DEADLINE,
            environment={name: value for name, value in variables.items() if name != "BW_NOINTERACTION"},
            reply=lambda said: reply(said.decode(errors="replace")).encode(),
        )
    return _printed(account, words, ended)


@contextmanager
def _hang_explained(account: Account, words: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except TimedOut:
        raise hung(account.host, f"bw {words[0]}", DEADLINE) from None


def _printed(account: Account, words: Sequence[str], ended: process.Completed) -> str:
    printed = ended.text.strip()
    if ended.exit_status == 0 and printed:
        return printed
    said = ended.stderr.decode(errors="replace")
    raise failure_of(Complaint(said or "it printed nothing", f"bw {words[0]}", account.host))
