"""The one screen of `net.status`, and the same as data."""

from dataclasses import asdict, replace

from tasks.net.report import as_document, as_text, path_of
from tests.test_tailnet import SELF, UP, WEB

PROXY = "127.0.0.1:1055"
SERVER = "http://127.0.0.1:8080"
DIRECT = replace(WEB, current_address="192.0.2.1:41641", system="linux", key_expiry="2027-01-01T00:00:00Z")
AWAY = replace(WEB, name="web2", addresses=(), online=False, last_seen="2026-11-24T11:00:00Z", relay="lab")


def test_a_network_that_is_up_on_one_screen() -> None:
    relayed = replace(WEB, name="db1", relay="lab", expired=True)
    status = replace(UP, peers=(relayed, DIRECT, AWAY))

    assert (
        as_text(status, "default", PROXY, SERVER)
        == """\
tailnet   default (tail1)
node      me.tail1.ts.net  100.64.0.1
state     up (tailscale 1.102.4)
proxy     127.0.0.1:1055 (SOCKS5 and HTTP)
control   http://127.0.0.1:8080
key       does not expire
health    well

peer  address     state                                    path                    system  key
db1   100.64.0.2  online                                   relayed by lab                  expired
web1  100.64.0.2  online                                   direct 192.0.2.1:41641  linux   expires 2027-01-01T00:00:00Z
web2  -           offline, last seen 2026-11-24T11:00:00Z  -                               does not expire"""
    )


def test_a_node_that_is_logged_out() -> None:
    """What the control server said stands where a person looks first."""
    line = "You are logged out. The last login error was: authkey expired"
    status = replace(UP, state="NeedsLogin", tailnet="", self_peer=None, peers=(), health=(line,))

    assert (
        as_text(status, "lab", PROXY, SERVER)
        == f"""\
tailnet   lab
node      no address yet
state     NeedsLogin, not up: authkey expired
proxy     127.0.0.1:1055 (SOCKS5 and HTTP)
control   http://127.0.0.1:8080, not connected
key       -
health    {line}

no peers"""
    )


def test_an_expired_and_disconnected_node_says_so() -> None:
    text = as_text(replace(UP, self_peer=replace(SELF, online=False, expired=True)), "default", PROXY, SERVER)

    assert "control   http://127.0.0.1:8080, not connected\nkey       expired\n" in text


def test_what_others_wrote_cannot_touch_the_terminal() -> None:
    """Names and health come from the control server."""
    evil = "\x1b]0;title\x07"
    node = replace(SELF, dns_name=evil)
    status = replace(UP, tailnet=evil, version=evil, self_peer=node, health=(evil,), peers=(replace(WEB, name=evil),))

    assert "\x1b" not in as_text(status, "default", PROXY, SERVER)


def test_the_path_is_direct_relayed_or_unknown() -> None:
    assert path_of(DIRECT) == "direct 192.0.2.1:41641"
    assert path_of(replace(WEB, relay="fra")) == "relayed by fra"
    assert path_of(AWAY) == "-"
    assert path_of(WEB) == "-"


def test_the_same_as_data() -> None:
    document = as_document(replace(UP, peers=(DIRECT,)), "default", PROXY, SERVER)
    node, peers = document.pop("self"), document.pop("peers")

    assert document == {
        "tailnet": "default",
        "up": True,
        "state": "Running",
        "version": "1.102.4",
        "network": "tail1",
        "suffix": "tail1.ts.net",
        "proxy": PROXY,
        "control_server": SERVER,
        "login_error": "",
        "health": [],
    }
    assert node == {**asdict(SELF), "path": "-"}
    assert peers == [{**asdict(DIRECT), "path": "direct 192.0.2.1:41641"}]
    assert as_document(replace(UP, self_peer=None), "default", PROXY, SERVER)["self"] is None
