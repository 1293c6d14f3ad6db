"""A dial to its end: the real cause behind "general failure", and patience where it may help."""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable

import pytest

from tasks.errors import Failure, TimedOut, Unavailable
from tasks.remote.destination import Destination
from tasks.remote.dialling import Dialler, await_ssh
from tasks.remote.proxy import Proxy
from tasks.tailnet import NOT_ROUTED, Peer
from tests.remote import servers
from tests.remote.conftest import WEB, tailnet

QUICKLY = 20.0  # seconds; what takes longer waits for the proxy or has patience, which have sixty here
DESTINATION = Destination("web", "web.tail.test", 22, "web.tail.test", WEB)


@dataclasses.dataclass
class World:
    """A dialler, and what its daemon says."""

    proxy: servers.Socks
    peer: Peer | None = WEB
    words: str = ""
    hangs: bool = False
    pings: bool = False
    said: list[str] = dataclasses.field(default_factory=list)

    def dialler(self, *, patience: float = 20.0) -> Dialler:
        """Return the dialler."""
        peers = (self.peer,) if self.peer else ()
        proxy = Proxy("127.0.0.1", self.proxy.port)
        return Dialler(proxy, lambda: tailnet(*peers), self._dial_error, self.said.append, patience, self._ping)

    def _ping(self, address: str) -> bool:
        assert address == "100.64.0.1"
        return self.pings

    def failure(self, destination: Destination = DESTINATION, *, patience: float = 20.0) -> Failure:
        """Return how the dial ends."""
        with pytest.raises(Failure) as caught:
            self.dialler(patience=patience).connect(destination)
        return caught.value

    def _dial_error(self, host: str, port: int) -> str:
        assert (host, port) == ("web.tail.test", 22)
        if self.hangs:
            raise TimedOut("tailscaled does not answer")
        return self.words


@pytest.fixture
def world(proxy: servers.Socks) -> World:
    """Return a world in which web is online and its port is closed."""
    return World(proxy)


def test_a_closed_port_is_told_at_once_in_the_daemons_words(world: World) -> None:
    """The host is there, its server is not."""
    world.words = "dial failure: connect tcp 100.64.0.1:22: connection was refused"
    started = time.monotonic()

    assert (
        str(world.failure(patience=60))
        == f"port 22 of web is closed: {world.words}\n  next: start its ssh server, or set ansible_port"
    )
    assert time.monotonic() - started < QUICKLY


def test_a_closed_port_that_is_not_the_ssh_servers_is_another_services(world: World) -> None:
    """net.forward's, whose user would learn nothing from advice about ssh."""
    world.words = "connection was refused"

    refused = world.failure(dataclasses.replace(DESTINATION, forwarded=True))

    assert refused.next_step == "start the service there, or forward another port"


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (None, "web has left the tailnet\n  next: `inv remote.hosts`"),
        (dataclasses.replace(WEB, online=False), "web is offline\n  next: `inv net.status`"),
        (
            dataclasses.replace(WEB, online=False, last_seen="2026-01-02T03:04:05Z"),
            "web is offline since 2026-01-02T03:04:05Z\n  next: `inv net.status`",
        ),
        (
            dataclasses.replace(WEB, expired=True),
            "web is locked out: its node key has expired\n  next: sign it in again there",
        ),
    ],
)
def test_a_machine_that_is_not_there_is_told_from_a_closed_port(world: World, peer: Peer | None, words: str) -> None:
    """The netmap is asked anew after the failure."""
    world.peer = peer

    gone = world.failure()

    assert isinstance(gone, Unavailable)
    assert str(gone) == words


def test_an_offline_machine_is_told_before_the_proxy_gives_up(world: World) -> None:
    """The control server knows; its word is tried for two seconds, not for the proxy's five."""
    world.peer = dataclasses.replace(WEB, online=False)
    world.proxy.routes["web.tail.test:22"] = servers.SILENT
    world.proxy.slow = 60
    started = time.monotonic()

    assert world.failure(dataclasses.replace(DESTINATION, peer=world.peer)).what == "web is offline"
    assert time.monotonic() - started < QUICKLY


def test_a_router_that_is_offline_is_named(world: World) -> None:
    """The host behind it cannot know."""
    world.peer = dataclasses.replace(WEB, online=False)
    behind = dataclasses.replace(DESTINATION, name="10.0.0.1", routed=True)

    assert world.failure(behind).what == "web, which routes to 10.0.0.1, is offline"


def test_a_route_that_is_announced_but_not_accepted_is_not_dialled(world: World) -> None:
    """tailscaled would connect by this machine's own network; nothing reaches the proxy."""
    behind = dataclasses.replace(DESTINATION, name="10.0.0.1", routed=True)
    world.words = NOT_ROUTED

    assert str(world.failure(behind)) == (
        "10.0.0.1 is behind web, whose routes this node does not accept: not a route of the tailnet\n"
        "  next: set TS_EXTRA_ARGS=--accept-routes, then `inv net.down net.up`"
    )
    assert world.proxy.asked == []


def test_a_route_that_the_daemon_tries_is_dialled(world: World) -> None:
    """Whether its own try succeeds, fails or takes too long."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        world.proxy.routes["web.tail.test:22"] = target.getsockname()[1]
        for world.hangs in (False, True):
            world.dialler().connect(dataclasses.replace(DESTINATION, routed=True)).close()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("resolve failure: lookup web: no such host", "unknown host web"),
        ("dial failure: no route to host", "web cannot be reached"),
    ],
)
def test_other_words_of_the_daemon_are_passed_on(world: World, words: str, what: str) -> None:
    """What nobody foresaw is still said."""
    world.words = words

    failed = world.failure()

    assert (failed.what, failed.why) == (what, words)


def test_silence_is_waited_out_with_one_line_and_ends_as_a_timeout(world: World) -> None:
    """A known, online peer gets time: its path may be cold."""
    world.proxy.routes["web.tail.test:22"] = servers.SILENT
    world.proxy.slow = 3.2

    silent = world.failure(patience=5)

    assert isinstance(silent, TimedOut)
    assert silent.what == "no answer from port 22 of web"
    assert world.said == ["web is online but does not answer yet; trying for 5 s"]
    assert len(world.proxy.asked) == 2


def test_a_machine_that_answers_pings_and_drops_us_is_told_without_patience(world: World) -> None:
    """Policy, shields or firewall: the proxy's five seconds are not waited for."""
    world.proxy.routes["web.tail.test:22"] = servers.SILENT
    world.proxy.slow = 60
    world.pings = True
    started = time.monotonic()

    barred = world.failure(patience=60)

    assert isinstance(barred, Unavailable)
    assert barred.what == "port 22 of web does not let us in, though the machine answers"
    assert world.said == []
    assert time.monotonic() - started < QUICKLY


def test_a_path_that_comes_up_meanwhile_is_used(world: World) -> None:
    """The proxy's five seconds ran out, the ping is answered, the next dial succeeds."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        world.proxy.routes["web.tail.test:22"] = target.getsockname()[1]
        world.proxy.refuse_first, world.hangs, world.pings = 1, True, True

        world.dialler().connect(DESTINATION).close()
    assert (len(world.proxy.asked), world.said) == (2, [])


def test_silence_behind_a_router_names_it(world: World) -> None:
    """Its own answer to a ping would say nothing of the host."""
    world.hangs, world.pings = True, True

    silent = world.failure(dataclasses.replace(DESTINATION, name="10.0.0.1", routed=True), patience=0)

    assert silent.what == "no answer from port 22 of 10.0.0.1"
    assert silent.why == "web, which routes to it, is online; its path may not be there yet"


def test_a_daemon_that_cannot_tell_either_means_silence(world: World) -> None:
    """The proxy failed early, the daemon's own dial hangs."""
    world.hangs = True

    assert world.failure(patience=0).what == "no answer from port 22 of web"


def test_a_host_that_comes_up_meanwhile_is_reached(world: World) -> None:
    """Patience is for this."""
    with socket.create_server(("127.0.0.1", 0)) as target:
        world.proxy.routes["web.tail.test:22"] = target.getsockname()[1]
        world.proxy.refuse_first = 2

        with world.dialler().connect(DESTINATION):
            assert world.said == []
    assert len(world.proxy.asked) == 3


def test_a_failure_without_any_reason_ends_too(world: World) -> None:
    """The daemon connects, the proxy does not: tried four times."""
    assert str(world.failure()) == (
        "web cannot be reached: the proxy fails again and again where the daemon itself connects\n"
        "  next: `inv net.logs`"
    )
    assert len(world.proxy.asked) == 4


def test_waiting_ends_when_an_ssh_server_greets() -> None:
    """A port that is open without a greeting is not enough (a forwarder whose server is not up)."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def dial(greeting: list[bytes]) -> Callable[[], socket.socket]:
            def connect() -> socket.socket:
                client = socket.create_connection(listener.getsockname())
                server = stack.enter_context(listener.accept()[0])
                server.sendall(greeting.pop(0))
                server.shutdown(socket.SHUT_RDWR)
                return client

            return connect

        greetings = [b"HTTP", b"", b"SSH-2.0-x\r\n", b"never asked"]
        await_ssh(dial(greetings), seconds=10)

        assert greetings == [b"never asked"]


def test_waiting_ends_at_its_deadline_with_the_last_reason() -> None:
    """Whatever the way fails with, an unknown name too: the machine may join meanwhile."""

    def dial() -> socket.socket:
        raise Unavailable("unknown host web", why="nobody has this name")

    with pytest.raises(TimedOut) as caught:
        await_ssh(dial, seconds=0.3)
    assert str(caught.value) == "no SSH server answered within 0.3 s: unknown host web"
