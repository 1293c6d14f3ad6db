"""The records say when a tailnet is up, why a login failed, and which peer a name means."""

from dataclasses import replace

import pytest

from tasks.tailnet import Peer, TailnetStatus

SELF = Peer(name="me", dns_name="me.tail1.ts.net", addresses=("100.64.0.1",), online=True)
WEB = Peer(name="web1", dns_name="web1.tail1.ts.net", addresses=("100.64.0.2", "fd7a:115c:a1e0::2"), online=True)
UP = TailnetStatus(
    state="Running",
    version="1.102.4",
    has_node_key=True,
    tailnet="tail1",
    suffix="tail1.ts.net",
    self_peer=SELF,
    peers=(WEB,),
    health=(),
)
LOGGED_OUT = "You are logged out."
LOGIN_ERROR = "You are logged out. The last login error was: invalid key: API key does not exist"


def test_running_and_online_is_up() -> None:
    """The meaning of "accepted"."""
    assert UP.is_up


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(replace(UP, state="Starting"), id="starting"),
        pytest.param(replace(UP, state="NeedsMachineAuth"), id="waiting for approval"),
        pytest.param(replace(UP, self_peer=None), id="no netmap"),
        pytest.param(replace(UP, self_peer=replace(SELF, online=False)), id="control server gone"),
        pytest.param(replace(UP, health=(LOGGED_OUT,)), id="logged out"),
        pytest.param(replace(UP, health=("DNS is slow", LOGIN_ERROR)), id="login refused"),
    ],
)
def test_anything_less_is_not_up(status: TailnetStatus) -> None:
    """One missing condition is enough."""
    assert not status.is_up


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ((), ""),
        ((LOGGED_OUT,), ""),
        (("DNS is slow", LOGIN_ERROR), "invalid key: API key does not exist"),
        (("Somebody said: The last login error was: nothing",), ""),
    ],
)
def test_the_login_error_is_the_servers_own_words(health: tuple[str, ...], reason: str) -> None:
    """Only in the warning that tailscale's health gives for it."""
    assert replace(UP, health=health).login_error == reason


@pytest.mark.parametrize(
    "name", ["web1", "WEB1", "web1.tail1.ts.net", "Web1.Tail1.ts.net.", "100.64.0.2", "fd7a:115c:a1e0::2"]
)
def test_a_peer_is_found_by_name_and_by_address(name: str) -> None:
    """Short name, full name with or without its dot, either address; letters of any size."""
    assert UP.peer(name) == WEB


@pytest.mark.parametrize("name", ["", "web", "web1.tail2.ts.net", "100.64.0.3"])
def test_a_name_of_nobody_finds_nobody(name: str) -> None:
    """No prefix matches."""
    assert UP.peer(name) is None


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        ((), ""),
        (("DNS is slow", LOGIN_ERROR), ""),
        (("State store failed to initialize. Error: invalid character",), "invalid character"),
        (("State store failed to initialize",), "State store failed to initialize"),
    ],
)
def test_a_state_file_that_cannot_be_read_is_told(health: tuple[str, ...], reason: str) -> None:
    """In the daemon's own words."""
    assert replace(UP, health=health).store_error == reason
