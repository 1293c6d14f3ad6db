"""Owns a Bitwarden-compatible TLS server for tests: one account, its items, faults to order, all that arrived.

What bw 2026.6.0 asks for, and no more. Its stale check is Vaultwarden's: a write over an old revision is refused when
the stored one is two whole seconds newer (src/api/core/ciphers.rs), so that tests meet that hole too.
"""

import base64
import json
import secrets
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.vault.server_crypto import Authority, Kdf, Keys, decrypt, encrypt, make_keys

STALE = "The client copy of this cipher is out of date. Resync the client and try again."
TWO_STEP_CODE = "123456"
AUTHENTICATOR, BY_MAIL = "0", "1"  # TwoFactorProviderType
MEETING_DEADLINE = 60.0  # seconds
# What of a written item the server keeps as it came.
KEPT = ("type", "name", "notes", "login", "secureNote", "card", "identity", "sshKey", "fields", "passwordHistory")
KEPT_TOO = ("reprompt", "key", "folderId", "favorite")
Document = dict[str, Any]


@dataclass
class Fault:
    """What happens to the next `times` requests of that method and path: a status, or `hang`, `cut` or `meeting`.

    `hang` never answers. `cut` does what was asked and closes the connection without an answer. `meeting` does it when
    all whom the barrier awaits have asked.
    """

    method: str
    path: str
    status: int = 0
    body: str = ""
    hang: bool = False
    cut: bool = False
    meeting: threading.Barrier | None = None
    times: int = 1


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    body: str


@dataclass
class Account:
    """The one account of a server. Its secrets are random, so that one found where it must not be is this account's."""

    email: str = "someone@example.com"
    password: str = field(default_factory=lambda: f"the master password {uuid.uuid4()}")
    kdf: Kdf = field(default_factory=Kdf)
    two_step: tuple[str, ...] = ()
    """The providers of a second step, such as AUTHENTICATOR; none where the password is enough."""
    client_secret: str = field(default_factory=lambda: f"the client secret of the API key {uuid.uuid4()}")
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.keys: Keys = make_keys(self.email, self.password, self.kdf)

    @property
    def client_id(self) -> str:
        """The API key's id."""
        return f"user.{self.id}"


class Server:
    """The server's state. Tests order faults, read what arrived, and read and write items in clear."""

    def __init__(self, account: Account, port: int = 0) -> None:
        self.account = account
        self.port = port
        self.items: dict[str, Document] = {}
        self.requests: list[Request] = []
        self.written: list[Document] = []
        self.faults: list[Fault] = []
        self.mailed: list[str] = []
        """The two-step codes that went out by e-mail; the last one alone is good."""
        self.closing = threading.Event()
        self.lock = threading.RLock()
        self.revision = datetime.now(UTC)
        self.behind = timedelta(0)
        """How far this server's clock is behind ours."""

    @property
    def url(self) -> str:
        """The address for `bw config server`."""
        return f"https://localhost:{self.port}"

    def order(self, *faults: Fault) -> None:
        """Have the next requests go wrong in these ways; earlier orders are forgotten."""
        with self.lock:
            self.faults = list(faults)

    def paths(self, method: str) -> list[str]:
        """Return the paths that were asked for by that method."""
        return [request.path for request in self.requests if request.method == method]

    def clear(self, item: Document) -> Document:
        """Return an item decrypted, however deep its EncStrings lie."""
        key = self.account.keys.user_key
        if item.get("key"):
            key = decrypt(key, item["key"])
        return {name: _opened(key, value) if name != "key" else value for name, value in item.items()}

    def item(self, name: str) -> Document:
        """Return the one item of that name out of the trash, decrypted; two of one name or none fail the test."""
        with self.lock:
            present = [item for item in self.items.values() if not item["deletedDate"]]
            found = [item for item in map(self.clear, present) if item["name"] == name]
        assert len(found) == 1, f"{len(found)} items are named {name!r}"
        return found[0]

    def names(self) -> list[str]:
        """Return the names of all items."""
        with self.lock:
            return sorted(self.clear(item)["name"] for item in self.items.values() if not item["deletedDate"])

    def put(self, name: str, password: str, **more: Any) -> Document:  # noqa: ANN401 - JSON
        """Store an item as another client would: username, notes and `fields` (name to value) in `more`."""
        login = {"username": more.get("username"), "password": password, "totp": None, "uris": None}
        fields = [{"type": 0, "name": key, "value": value} for key, value in more.get("fields", {}).items()]
        document = {"type": 1, "name": name, "notes": more.get("notes"), "login": login, "fields": fields}
        key = self.account.keys.user_key
        return self.store({entry: _closed(key, value) for entry, value in document.items()}, more.get("id", ""))

    def store(self, written: Document, item_id: str = "") -> Document:
        """Store an item as it arrived."""
        with self.lock:
            before = self.items.get(item_id, {})
            # Revisions grow, as bw's sync asks for what is newer.
            self.revision = max(
                datetime.now(UTC) - self.behind, self.revision.replace(microsecond=self.revision.microsecond)
            )
            now = _written(self.revision)
            item = {
                **{name: written.get(name) for name in (*KEPT, *KEPT_TOO)},
                "id": item_id or str(uuid.uuid4()),
                "object": "cipherDetails",
                "organizationId": None,
                "revisionDate": now,
                "creationDate": before.get("creationDate", now),
                "deletedDate": None,
                "edit": True,
                "viewPassword": True,
                "permissions": {"delete": True, "restore": True},
                "collectionIds": [],
                "attachments": None,
                "organizationUseTotp": True,
            }
            self.items[item["id"]] = item
            return item


@contextmanager
def serving(authority: Authority, account: Account | None = None) -> Iterator[Server]:
    """Run a server on loopback until the end of the context."""
    state = Server(account or Account())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)

    class Bound(_Handler):
        server_state = state
        tls = context

    listener = _Listener(("127.0.0.1", 0), Bound)
    state.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        listener.shutdown()
        listener.server_close()
        thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that trusts no CA of ours, or was killed, says nothing of the server."""


class _Handler(BaseHTTPRequestHandler):
    """One connection. TLS begins here, so that a slow handshake stops nobody else."""

    server_state: Server
    tls: ssl.SSLContext
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    wbufsize = -1  # an answer leaves in one piece, as from any real server: two would wait for each other (Nagle)
    request: socket.socket

    def setup(self) -> None:
        self.request.settimeout(10.0)
        self.request = self.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self) -> None:
        try:
            super().handle()
        except (ssl.SSLError, ConnectionError):
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Say nothing."""

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        state, path = self.server_state, urlsplit(self.path).path
        with state.lock:
            state.requests.append(Request(self.command, path, body))
            fault = self._fault(path)
        if fault is not None and fault.hang:
            state.closing.wait(600)
            self.close_connection = True
        elif fault is not None and fault.status:
            self._answer(fault.status, fault.body or json.dumps({"message": "", "object": "error"}))
        else:
            if fault is not None and fault.meeting is not None:
                fault.meeting.wait(MEETING_DEADLINE)
            status, document = _reply(state, self.command, path, body, self.headers.get("Authorization", ""))
            if fault is not None and fault.cut:
                self.close_connection = True
                self.request.shutdown(socket.SHUT_RDWR)
            else:
                self._answer(status, json.dumps(document))

    def _fault(self, path: str) -> Fault | None:
        for fault in self.server_state.faults:
            if fault.times > 0 and fault.method in {self.command, "*"} and path.startswith(fault.path):
                fault.times -= 1
                return fault
        return None

    def _answer(self, status: int, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _reply(state: Server, method: str, path: str, body: str, authorization: str) -> tuple[int, Any]:
    """Return status and document of the answer."""
    if path == "/api/config":
        return 200, {"version": "2026.6.0", "gitHash": "", "server": None, "environment": {}, "featureStates": {}}
    if path in {"/identity/accounts/prelogin", "/identity/accounts/prelogin/password"}:
        kdf = state.account.kdf
        settings = {"kdfType": kdf.kind, "iterations": kdf.iterations, "memory": kdf.memory}
        settings["parallelism"] = kdf.parallelism
        return 200, {**_kdf(kdf), "kdfSettings": settings, "salt": state.account.email}
    if path == "/identity/connect/token":
        return _token(state, {name: values[0] for name, values in parse_qs(body).items()})
    if path == "/api/two-factor/send-email-login":
        state.mailed.append(f"{secrets.randbelow(10**6):06}")
        return 200, {}
    if not authorization.startswith("Bearer "):
        return 401, {"message": "Unauthorized", "object": "error"}
    with state.lock:
        return _account_reply(state, method, path, body)


def _account_reply(state: Server, method: str, path: str, body: str) -> tuple[int, Any]:
    if path == "/api/accounts/revision-date":
        return 200, int(state.revision.timestamp() * 1000)
    if path == "/api/sync":
        return 200, _sync(state)
    if path == "/api/ciphers" and method == "POST":
        return 200, state.store(json.loads(body))
    item_id = path.removeprefix("/api/ciphers/").removesuffix("/delete")
    if path.startswith("/api/ciphers/") and item_id not in state.items:
        return 404, {"message": "Cipher doesn't exist", "object": "error"}
    if path.endswith("/delete") and method == "PUT":
        state.revision = datetime.now(UTC) - state.behind
        state.items[item_id]["deletedDate"] = state.items[item_id]["revisionDate"] = _written(state.revision)
        return 200, {}
    if path.startswith("/api/ciphers/") and method == "PUT":
        return _write(state, item_id, json.loads(body))
    if path.startswith("/api/ciphers/"):
        return 200, state.items[item_id]
    return 404, {"message": f"no {path} here", "object": "error"}


def _write(state: Server, item_id: str, written: Document) -> tuple[int, Any]:
    known = written.get("lastKnownRevisionDate")
    if known:
        stored = datetime.fromisoformat(state.items[item_id]["revisionDate"])
        if int((stored - datetime.fromisoformat(known)).total_seconds()) > 1:
            return 400, {"message": STALE, "validationErrors": None, "object": "error"}
    state.written.append(written)
    return 200, state.store(written, item_id)


def _token(state: Server, form: dict[str, str]) -> tuple[int, Any]:
    account, grant = state.account, form.get("grant_type")
    if grant == "client_credentials":
        if (form.get("client_id"), form.get("client_secret")) != (account.client_id, account.client_secret):
            return 400, {"error": "invalid_client", "ErrorModel": {"Message": "Incorrect client_secret"}}
    elif grant == "password":
        if form.get("password") != account.keys.auth_hash or form.get("username") != account.email:
            message = "Username or password is incorrect. Try again"
            return 400, {"error": "invalid_grant", "ErrorModel": {"Message": message, "Object": "error"}}
        if account.two_step and (refusal := _second_step(state, form)):
            return 400, refusal
    return 200, _tokens(account, with_refresh=grant != "client_credentials")


def _second_step(state: Server, form: dict[str, str]) -> Document | None:
    """Return what is wrong with the second step of a login."""
    good = {AUTHENTICATOR: TWO_STEP_CODE, BY_MAIL: state.mailed[-1] if state.mailed else None}
    providers: dict[str, Document | None] = dict.fromkeys(state.account.two_step)
    if BY_MAIL in providers:
        providers[BY_MAIL] = {"Email": "s***@example.com"}
    code, provider = form.get("twoFactorToken"), form.get("twoFactorProvider")
    if code is None:
        asked = {"TwoFactorProviders": list(providers), "TwoFactorProviders2": providers}
        return {"error": "invalid_grant", "error_description": "Two factor required.", **asked}
    if provider not in providers or code != good[provider]:
        message = "Two-step token is invalid. Try again."
        return {"error": "invalid_grant", "ErrorModel": {"Message": message, "Object": "error"}}
    return None


def _tokens(account: Account, *, with_refresh: bool) -> Document:
    unlock = _unlock(account)
    tokens = {
        "access_token": _jwt(account),
        "token_type": "Bearer",
        "expires_in": 7200,
        "scope": "api offline_access",
        "Key": account.keys.wrapped_user_key,
        "PrivateKey": account.keys.wrapped_private_key,
        **{name[0].upper() + name[1:]: value for name, value in _kdf(account.kdf).items()},
        "ForcePasswordReset": False,
        "ResetMasterPassword": False,
        "MasterPasswordPolicy": {},
        "AccountKeys": _account_keys(account),
        "UserDecryptionOptions": {"HasMasterPassword": True, "MasterPasswordUnlock": unlock},
    }
    return {**tokens, "refresh_token": "a refresh token"} if with_refresh else tokens


def _jwt(account: Account) -> str:
    now = int(time.time())
    claims = {
        "sub": account.id,
        "email": account.email,
        "name": "Someone",
        "email_verified": True,
        "premium": False,
        "iat": now,
        "nbf": now,
        "exp": now + 7200,
        "client_id": "cli",
        "scope": ["api", "offline_access"],
    }
    parts = ({"alg": "RS256", "typ": "JWT"}, claims)
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*encoded, "c2lnbmF0dXJl"])


def _kdf(kdf: Kdf) -> Document:
    return {
        "kdf": kdf.kind,
        "kdfIterations": kdf.iterations,
        "kdfMemory": kdf.memory,
        "kdfParallelism": kdf.parallelism,
    }


def _unlock(account: Account) -> Document:
    kdf = account.kdf
    return {
        "Salt": account.email,
        "MasterKeyEncryptedUserKey": account.keys.wrapped_user_key,
        "MasterKeyWrappedUserKey": account.keys.wrapped_user_key,
        "Kdf": {
            "KdfType": kdf.kind,
            "Iterations": kdf.iterations,
            "Memory": kdf.memory,
            "Parallelism": kdf.parallelism,
        },
    }


def _account_keys(account: Account) -> Document:
    pair = {
        "publicKey": account.keys.public_key,
        "wrappedPrivateKey": account.keys.wrapped_private_key,
        "signedPublicKey": None,
    }
    return {"publicKeyEncryptionKeyPair": pair, "signatureKeyPair": None, "securityState": None}


def _sync(state: Server) -> Document:
    account = state.account
    profile = {
        "id": account.id,
        "email": account.email,
        "name": "Someone",
        "emailVerified": True,
        "premium": False,
        "key": account.keys.wrapped_user_key,
        "privateKey": account.keys.wrapped_private_key,
        "accountKeys": _account_keys(account),
        "securityStamp": "a stamp",
        "culture": "en-US",
        "twoFactorEnabled": account.two_step != (),
        "forcePasswordReset": False,
        "avatarColor": None,
        "organizations": [],
        "providers": [],
        "providerOrganizations": [],
        "object": "profile",
        "usesKeyConnector": False,
        "masterPasswordHint": None,
        "creationDate": "2026-01-01T00:00:00.000Z",
    }
    return {
        "object": "sync",
        "profile": profile,
        "ciphers": list(state.items.values()),
        **{name: [] for name in ("folders", "collections", "policies", "sends")},
        "domains": None,
        "userDecryption": {"masterPasswordUnlock": _lowered(_unlock(account))},
    }


def _lowered(document: Document) -> Document:
    return {
        name[0].lower() + name[1:]: _lowered(value) if isinstance(value, dict) else value
        for name, value in document.items()
    }


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _closed(key: bytes, value: Any) -> Any:  # noqa: ANN401 - JSON
    match value:
        case str():
            return encrypt(key, value.encode())
        case dict():
            return {name: _closed(key, each) for name, each in value.items()}
        case list():
            return [_closed(key, each) for each in value]
    return value


def _opened(key: bytes, value: Any) -> Any:  # noqa: ANN401 - JSON
    match value:
        case str() if value.startswith("2."):
            return decrypt(key, value).decode() if value.count("|") == 2 else value
        case dict():
            return {name: _opened(key, each) for name, each in value.items()}
        case list():
            return [_opened(key, each) for each in value]
    return value
