"""The way to a host: what many share is read once, and nothing leads off the tailnet."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from tasks.errors import Unavailable
from tasks.remote.hostkeys import HostKey
from tasks.remote.inventory import Host, Inventory
from tests.remote import servers
from tests.remote.crowd import Crowd

Serve = Callable[..., servers.SSHServer]


@pytest.fixture
def crowd(proxy: servers.Socks, host_key: paramiko.PKey, tmp_path: Path, serve: Serve) -> Crowd:
    """Return a tailnet with one host."""
    crowd = Crowd(proxy, tmp_path, HostKey(host_key.get_name(), host_key.get_base64()))
    crowd.add("web", serve().port)
    return crowd


def test_a_way_has_the_hosts_own_name_and_the_tailnets_address(crowd: Crowd) -> None:
    """The first for people, the second for the proxy."""
    way = crowd.ways().to("web")

    assert (way.destination.name, way.destination.address) == ("web", "web.tail.test")
    assert (way.verifier().host, way.verifier().name) == ("web", "web.tail.test")


def test_who_logs_in_is_the_inventorys_user_else_ours(crowd: Crowd) -> None:
    """With the key that it names, else those that are there."""
    (crowd.folder / "id_ed25519").touch()
    ours = crowd.ways().to("web").login()
    crowd.hosts["web"] = replace(crowd.hosts["web"], user="", identity=Path("/its/key"))
    named = crowd.ways().to("web").login()

    assert (ours.user, ours.identities, ours.named) == ("somebody", (crowd.folder / "id_ed25519",), False)
    assert (named.user, named.identities, named.named) == ("somebody", (Path("/its/key"),), True)


def test_variables_that_are_not_applied_are_told(crowd: Crowd) -> None:
    """Somebody has written them for a reason."""
    crowd.hosts["web"] = replace(crowd.hosts["web"], not_applied=("ansible_timeout",))
    crowd.ways().to("web")

    assert crowd.said == ["web: not applied: ansible_timeout"]


@pytest.mark.parametrize("address", ["127.0.0.1", "192.0.2.1", "example.org", "localhost"])
def test_there_is_no_way_to_what_is_not_on_the_tailnet(crowd: Crowd, address: str) -> None:
    """The proxy would dial it by this machine's own network."""
    ways = replace(crowd.ways(), inventory=Inventory({"away": Host("away", address)}))

    with pytest.raises(Unavailable):
        ways.to("away")
    assert crowd.proxy.asked == []


def test_another_port_of_a_host_can_be_dialled(crowd: Crowd, serve: Serve) -> None:
    """For what is forwarded."""
    crowd.proxy.routes["web.tail.test:5432"] = serve().port
    crowd.ways().dial("web", 5432).close()

    assert crowd.proxy.asked == ["web.tail.test:5432"]


@pytest.mark.parametrize(
    ("port", "advice"),
    [
        (5432, "start the service there, or forward another port"),
        (22, "start its ssh server, or set ansible_port"),
    ],
)
def test_what_helps_against_a_closed_port_depends_on_whose_it_is(crowd: Crowd, port: int, advice: str) -> None:
    """The host's ssh server is not what a forward leads to."""
    crowd.proxy.routes.clear()
    crowd.refused["web.tail.test"] = "connection was refused"

    with pytest.raises(Unavailable) as failure:
        crowd.ways().dial("web", port)
    assert failure.value.next_step == advice
