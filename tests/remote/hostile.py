"""Ten thousand hostile names, patterns and inventories, each by the real command down to the dial.

However it ends, it ends as a command does: no traceback, no program started, no name looked up by this machine, and no
connection but to the proxy and the daemon, which were asked for the tailnet and for nothing else.

Run by test_hostile.py.
"""

import ipaddress
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invoke.context import Context
from invoke.exceptions import Exit

from tasks import remote
from tasks import settings as suite
from tests.conftest import Home
from tests.remote import servers
from tests.remote.auditing import Watch, watch
from tests.remote.servers import local_api, peer

pytestmark = pytest.mark.timeout(300)
NAMES, PATTERNS, INVENTORIES = 4000, 4000, 2000
TAILNET = {"web.tail.test", "router.tail.test"}
NETWORKS = [ipaddress.ip_network(text) for text in ("100.64.0.1/32", "100.64.0.5/32", "10.1.0.0/16", "fd00::/64")]
CHOSEN = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
# What names are made of, and what somebody would put into one: a shell's words, an option's, another machine's address.
PIECES = (
    *("web", "web1", "router", "controller", "all", "localhost", "example.com", ".tail.test", ".", "-", "_", "é", "İ"),
    *("100.64.0.1", "10.1.2.3", "10.2.2.3", "127.0.0.1", "127.1", "0x7f000001", "017700000001", "2130706433", "0"),
    *("169.254.169.254", "8.8.8.8", "::1", "fd00::7", "::ffff:10.1.2.3", "::ffff:127.0.0.1", "fe80::1%lo", "[", "]"),
    *("-oProxyCommand=", "touch /tmp/x", ";", "|", "&", "$(id)", "`id`", "'", '"', "\\", "\n", "\r", "\0", "\x1b[2J"),
    *(" ", "\t", "@", "user@", ":", ":22", ",", "!", "~", "*", "?", "(", ")", "{", "}", "%h", "%", "#", "/", "../"),
    *("[0]", "[1:3]", "[0-9]", "~.*", "&web", "!web", "{{ x }}", "\u2028", "\ud800", "a" * 64, "x." * 70),
)
PLAUSIBLE = ("web", "web.tail.test", "router", "100.64.0.1", "10.1.2.3", "10.2.2.3", "a.example.com", "fd00::7")
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
    st.lists(st.sampled_from((*PLAUSIBLE, *PIECES)), max_size=2).map("".join),
    st.ip_addresses().map(str),
    st.text(max_size=40),
    st.text(st.characters(max_codepoint=127), max_size=40),
)
VARIABLES = (
    *("ansible_host", "ansible_ssh_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file"),
    *("ansible_connection", "ansible_ssh_common_args", "ansible_become", "ansible_password", "x"),
)
VALUES = TEXTS | st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(TEXTS, max_size=2)
SOME_VARIABLES = st.dictionaries(st.sampled_from(VARIABLES), VALUES, max_size=3)
HOSTS = st.dictionaries(st.sampled_from(PLAUSIBLE) | TEXTS, st.none() | SOME_VARIABLES, max_size=4)
GROUPS = st.recursive(
    st.fixed_dictionaries({}, optional={"hosts": HOSTS, "vars": SOME_VARIABLES}),
    lambda inner: st.fixed_dictionaries(
        {}, optional={"hosts": HOSTS, "vars": SOME_VARIABLES, "children": st.dictionaries(TEXTS, inner, max_size=2)}
    ),
    max_leaves=4,
)
# JSON is YAML; cut anywhere, as a file that was not saved to its end.
TREES = st.tuples(st.dictionaries(st.just("all") | TEXTS, GROUPS, max_size=2), st.integers(0, 400)).map(
    lambda drawn: json.dumps(drawn[0], indent=1).encode()[: drawn[1] or None]
)
FILES = st.one_of(TREES, TREES, st.binary(max_size=80), TEXTS.map(lambda text: text.encode(errors="surrogatepass")))


class Closed(dict[str, str]):
    """What the daemon says of any dial, and what it was asked to dial."""

    def get(self, where: str, _: object = None) -> str:
        """Say that nobody listens."""
        self[where] = "connection refused"
        return self[where]


@dataclass
class Place:
    """A tailnet of two machines that is up, and this process as the suite in it."""

    proxy: servers.Socks
    dialled: Closed
    inventory: Path
    watched: Watch

    def run(self, **given: str) -> int:
        """Run `remote.run` here, and return its exit status when nothing was done that may not be."""
        self.proxy.asked.clear()
        self.dialled.clear()
        self.watched.done.clear()
        status = 0
        try:
            remote.run(Context(), command="true", **given)
        except Exit as ended:
            status = ended.code
        assert self.watched.done == []
        assert [where for where in (*self.proxy.asked, *self.dialled) if not is_ours(where)] == []
        return status


def is_ours(where: str) -> bool:
    """Whether that is on the tailnet: a peer's name or address, or in a network that one routes to."""
    name = where.rpartition(":")[0]
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name.lower() in TAILNET
    return any(address in network for network in NETWORKS)


@pytest.fixture
def place(home: Home, proxy: servers.Socks, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Bring it up."""
    dialled = Closed()
    routes = {"PrimaryRoutes": ["10.1.0.0/16", "fd00::/64", "0.0.0.0/0"]}
    peers = {"n1": peer("web", "100.64.0.1"), "n2": peer("router", "100.64.0.5", **routes)}
    inventory = home.folder / "inventory"
    inventory.mkdir()
    monkeypatch.setenv("TAILNET", "default")
    monkeypatch.setenv("CI", "1")
    monkeypatch.setenv("INVENTORY", str(inventory))
    monkeypatch.setenv("TS_SOCKS5_SERVER", f"127.0.0.1:{proxy.port}")
    api = suite.runtime_folder("default", os.environ) / "tailscaled.sock"
    with (
        local_api(api, servers.Daemon(peers, dialled)),
        watch(str(api), ("127.0.0.1", proxy.port)) as watched,
    ):
        yield Place(proxy, dialled, inventory, watched)


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("import os; os.system('true')", "os.system"),
        ("import os; os.posix_spawn('/bin/true', ['true'], {})", "os.posix_spawn"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo"),
        ("import socket; socket.socket().connect(('127.0.0.1', 9))", "socket.connect"),
    ],
)
def test_the_watch_sees_what_may_not_be(code: str, event: str) -> None:
    """Else the tests below would say nothing."""
    with watch() as watched:
        with pytest.raises(PermissionError):
            exec(code)
        assert watched.done[0].startswith(event)


@settings(CHOSEN, max_examples=NAMES)
@given(name=TEXTS)
def test_a_hostile_name(place: Place, name: str) -> None:
    """As `--host`."""
    assert place.run(host=name) in {64, 69, 78}


@settings(CHOSEN, max_examples=PATTERNS)
@given(pattern=TEXTS)
def test_a_hostile_pattern(place: Place, pattern: str) -> None:
    """As `--hosts`."""
    assert place.run(hosts=pattern or "*") in {64, 69, 78}


@settings(CHOSEN, max_examples=INVENTORIES)
@given(content=FILES, group_variables=st.none() | TREES)
def test_a_hostile_inventory(place: Place, content: bytes, group_variables: bytes | None) -> None:
    """All that it names is tried."""
    (place.inventory / "hosts.yml").write_bytes(content)
    variables = place.inventory / "group_vars" / "all.yml"
    variables.parent.mkdir(exist_ok=True)
    variables.write_bytes(group_variables or b"")
    assert place.run(hosts="all") in {64, 69, 78}
