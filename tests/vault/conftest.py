"""Owns what the Bitwarden tests share: the real bw, one TLS server, a data folder that is signed in to it already."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.secret import Secret
from tasks.vault import bw
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.bw import Account
from tasks.vault.session import Session
from tasks.vault.signin import Person
from tests.conftest import ROOT, Home
from tests.vault.server import Server, serving
from tests.vault.server_crypto import Authority, make_authority

LONG_AGO = "2026-01-01T00:00:00.000000Z"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make a throw-away CA and a certificate for loopback."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def module_server(authority: Authority) -> Iterator[Server]:
    """Run one server for a module's tests."""
    with serving(authority) as server:
        yield server


@pytest.fixture
def server(module_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Give the module's server as new: empty, obedient; bw trusts its CA."""
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(authority.ca))
    module_server.order()
    module_server.items.clear()
    module_server.requests.clear()
    module_server.written.clear()
    module_server.revision = datetime.now(UTC)
    module_server.behind = timedelta(0)
    return module_server


@pytest.fixture(scope="module")
def signed_in(
    module_server: Server, authority: Authority, real_bw: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Sign bw in once, by API key, and return its data folder: each test gets a copy."""
    folder = tmp_path_factory.mktemp("signed-in") / "data"
    folder.mkdir(mode=0o700)
    account = account_of(module_server, real_bw, folder, folder.parent)
    variables = {**bw.environment(account), "NODE_EXTRA_CA_CERTS": str(authority.ca)}
    secrets = {"BW_CLIENTID": account.client_id, "BW_CLIENTSECRET": module_server.account.client_secret}
    bw.run(account, "config", "server", module_server.url, variables=variables)
    bw.run(account, "login", "--apikey", variables={**variables, **secrets})
    return folder


@dataclass
class Place:
    """One test's account: what was said, and stores over it, each as a chain of commands of its own."""

    account: Account
    said: list[str]
    sessions: list[Session]

    def store(self, **changes: object) -> BitwardenStore:
        """Return the vault as a new chain of commands finds it."""
        session = Session(replace(self.account, **changes), Person(None, self.said.append))  # type: ignore[arg-type]
        self.sessions.append(session)
        return BitwardenStore(session)


@pytest.fixture
def place(server: Server, signed_in: Path, real_bw: Path, home: Home) -> Iterator[Place]:
    """Give a signed-in account; what its sessions run ends with the test."""
    folder = home.state / "data"
    shutil.copytree(signed_in, folder)
    age_copy(folder)
    own = Place(account_of(server, real_bw, folder, home.runtime), [], [])
    yield own
    for session in own.sessions:
        session.close()


def age_copy(folder: Path) -> None:
    """Have bw's local copy look two hours old, so that news are fetched before it is read."""
    data = json.loads((folder / "data.json").read_text())
    for name in [name for name in data if name.endswith("_sync_lastSync")]:
        data[name] = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    (folder / "data.json").write_text(json.dumps(data))


def account_of(server: Server, executable: Path, folder: Path, runtime: Path) -> Account:
    """Return the server's account, with its API key and master password."""
    return Account(
        executable=executable,
        folder=folder,
        lock=folder.with_name("account.lock"),
        runtime=runtime,
        server=server.url,
        client_id=server.account.client_id,
        client_secret=Secret(server.account.client_secret),
        password=Secret(server.account.password),
    )


Make = Callable[..., str]


@pytest.fixture
def make(server: Server) -> Make:
    """Return a way to store an item that is no longer young; its id is returned."""

    def put(name: str, password: str, *, revision: str = LONG_AGO, **more: object) -> str:
        item = server.put(name, password, **more)
        item["revisionDate"] = revision
        item["creationDate"] = LONG_AGO
        return str(item["id"])

    return put


@dataclass
class FakePlace(Place):
    """The same over the fake bw, whose server is a file."""

    @property
    def server_file(self) -> Path:
        """What the fake server has."""
        return self.account.folder.with_name("fake-server.json")

    def serve(self, *items: dict[str, object], faults: Sequence[dict[str, object]] = ()) -> None:
        """Have the fake server hold these items, and the next requests go wrong in these ways."""
        password, secret = self.account.password, self.account.client_secret
        assert password is not None
        assert secret is not None
        content = {"password": password.reveal(), "secret": secret.reveal(), "items": items, "faults": faults}
        self.server_file.write_text(json.dumps(content))

    def stored(self) -> list[dict[str, Any]]:
        """Return the fake server's items."""
        items: list[dict[str, Any]] = json.loads(self.server_file.read_text())["items"]
        return items

    def asked(self) -> list[str]:
        """Return every run and request of the fake bw."""
        return self.account.folder.with_name("fake.log").read_text().splitlines()

    def syncs(self) -> int:
        """Return how often the fake bw fetched the server's news, by force or not."""
        return len([asked for asked in self.asked() if asked.startswith("POST /sync")])


@pytest.fixture
def fake(home: Home) -> Iterator[FakePlace]:
    """Give an account of the fake bw that nobody has signed in to yet, on an empty server."""
    account = Account(
        executable=ROOT / "tests" / "bin" / "bw",
        folder=home.state / "data",
        lock=home.state / "account.lock",
        runtime=home.runtime,
        server="https://vault.example",
        client_id="user.1",
        client_secret=Secret("the client secret"),
        password=Secret("the master password"),
    )
    own = FakePlace(account, [], [])
    own.serve()
    yield own
    for session in own.sessions:
        session.close()


def login(name: str, password: str, **more: object) -> dict[str, object]:
    """Return an item as bw shows it, of an old revision."""
    item = {"id": f"id-of-{name}", "name": name, "type": 1, "revisionDate": "2026-01-01T00:00:00.000Z", "fields": []}
    item["creationDate"] = item["revisionDate"]
    return {**item, "login": {"username": None, "password": password}, "passwordHistory": None, "notes": None, **more}
