"""Owns what the Bitwarden tests share: the real bw, one TLS server, a data folder that is signed in to it already."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.secret import Secret
from tasks.vault import bw
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.bw import Account
from tasks.vault.session import Session
from tasks.vault.signin import Person
from tests.conftest import Home
from tests.vault.server import Server, serving
from tests.vault.server_crypto import Authority, make_authority

LONG_AGO = "2026-01-01T00:00:00.000000Z"


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make a throw-away CA and a certificate for loopback."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def real_bw(programs_cache: Path) -> Path:
    """Return the pinned bw, or skip where nobody installed it."""
    found = sorted((programs_cache / "programs").glob("bw-*-npm/bw"))
    if not found:
        pytest.skip("bw is not installed: `inv programs.install --name=bw`")
    return found[-1]


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
    module_server.revision = datetime.now(UTC)
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
        return str(item["id"])

    return put
