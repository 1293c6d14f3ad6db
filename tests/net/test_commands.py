"""The commands of the network, by the real `inv` with fake programs: what a person sees, types and gets."""

import json
import os
import signal
import subprocess
import termios
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pexpect
import pytest

from tasks.process import PLAIN_VARIABLES
from tasks.running import identify
from tests.conftest import INV, ROOT, Home, Inv
from tests.net.conftest import GOOD, Fakes
from tests.terminals import ending, inv_in_a_terminal
from tests.waiting import until

ITEM = "Tailscale auth key"
PROMPT = "auth key (hidden; Enter alone = sign in with a browser): "
MEND = f"set TS_AUTHKEY, or put a new key into the item {ITEM!r} of the age vault: `inv vault.set`"
KEY = {"TS_AUTHKEY": GOOD}


def up_line(fakes: Fakes) -> str:
    """Return what net.up says when it has worked."""
    return f"fake (100.64.0.9) in fake, proxy 127.0.0.1:{fakes.port}"


def terminal(*words: str, environment: Mapping[str, str] | None = None) -> AbstractContextManager["pexpect.spawn[str]"]:
    """Run inv in a terminal of its own."""
    return inv_in_a_terminal({"TERM": "dumb", **(environment or {})}, *words, seconds=20)


def test_up_takes_the_vaults_key_and_says_where_it_is(inv: Inv, fakes: Fakes) -> None:
    assert inv("vault.set", ITEM, stdin=GOOD).exit_status == 0
    ended = inv("net.up")

    assert (ended.exit_status, ended.stdout, ended.stderr) == (0, f"network is up: {up_line(fakes)}\n", "")


def test_a_second_up_changes_nothing(inv: Inv, fakes: Fakes, home: Home) -> None:
    """Same process, not a line in its log, no login, no file touched."""
    inv("net.up", environment=KEY)
    files = {path: path.stat().st_mtime_ns for path in home.state.rglob("*") if path.is_file()}
    ended = inv("net.up", environment=KEY)

    assert (ended.exit_status, ended.stdout, ended.stderr) == (0, f"network is up already: {up_line(fakes)}\n", "")
    assert {path: path.stat().st_mtime_ns for path in home.state.rglob("*") if path.is_file()} == files
    assert (len(fakes.daemons()), len(fakes.ups())) == (1, 1)


def test_up_hands_all_settings_to_every_attempt(inv: Inv, fakes: Fakes) -> None:
    """So that no earlier run leaves one behind; and no key is among them."""
    settings = {"TS_LOGIN_SERVER": "http://127.0.0.1:9", "TS_HOSTNAME": "me", "TS_EXTRA_ARGS": "--accept-routes -x"}
    inv("net.up", environment={**KEY, **settings})
    argv = fakes.ups()[0]["argv"]

    assert argv[2:-1] == [
        "up",
        "--timeout=30s",
        "--reset",
        "--login-server=http://127.0.0.1:9",
        "--hostname=me",
        "--shields-up",
        "--accept-routes",
        "-x",
    ]
    assert argv[-1].startswith("--auth-key=file:/proc/")


def test_tailscale_ssh_takes_the_shields_down_and_says_so(inv: Inv, fakes: Fakes) -> None:
    ended = inv("net.up", environment={**KEY, "TS_SSH": "1"})

    assert ended.stderr == (
        "TS_SSH=1: the shields are down, peers that the policy allows reach this machine's loopback ports\n"
    )
    assert "--ssh" in fakes.ups()[0]["argv"]
    assert "--shields-up" not in fakes.ups()[0]["argv"]


def test_a_node_that_knows_its_key_comes_up_without_an_auth_key(inv: Inv, fakes: Fakes) -> None:
    inv("net.up", "net.down", environment=KEY)
    ended = inv("net.up")

    assert (ended.exit_status, ended.stdout) == (0, f"network is up: {up_line(fakes)}\n")


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}])
def test_without_a_key_and_a_terminal_the_missing_names_are_said(
    inv: Inv, fakes: Fakes, environment: dict[str, str]
) -> None:
    ended = inv("net.up", environment=environment)

    assert (ended.exit_status, ended.stdout) == (78, "")
    assert ended.stderr == (
        "error: there is no auth key, and nobody to ask: TS_AUTHKEY is not set and "
        f"the item {ITEM!r} of the age vault holds none\n  next: {MEND}\n"
    )


def test_in_ci_a_terminal_is_no_person(fakes: Fakes) -> None:
    with terminal("net.up", environment={"CI": "true"}) as child:
        status, shown = ending(child)

    assert status == 78
    assert PROMPT not in shown


def test_a_refused_key_without_a_terminal_names_its_place(inv: Inv, fakes: Fakes) -> None:
    """And never shows the key."""
    ended = inv("net.up", environment={"TS_AUTHKEY": "tskey-auth-bad"})

    assert (ended.exit_status, ended.stdout) == (77, "")
    assert ended.stderr == f"error: the key in TS_AUTHKEY was refused: invalid pre auth key\n  next: {MEND}\n"


def test_a_key_typed_after_a_refusal_is_saved_once_it_is_accepted(inv: Inv, fakes: Fakes) -> None:
    with terminal("net.up") as child:
        child.expect_exact(PROMPT)
        child.sendline("tskey-auth-bad")
        child.expect_exact("the key you typed was refused: invalid pre auth key")
        child.expect_exact(PROMPT)
        child.sendline(f"  '{GOOD}' ")
        status, shown = ending(child)

    assert status == 0
    assert "the accepted key is saved: " in shown
    assert f"network is up: {up_line(fakes)}" in shown
    assert GOOD not in shown
    assert inv("vault.get", ITEM).stdout == f"{GOOD}\n"


def test_enter_shows_the_address_for_signing_in(inv: Inv, fakes: Fakes) -> None:
    """Whole: what is masked cannot be opened."""
    with terminal("net.up") as child:
        child.expect_exact(PROMPT)
        child.sendline("")
        child.expect_exact("to sign in, open: http://127.0.0.1:8080/register/hskey-authreq-fake")
        (fakes.home / "signed-in").touch()
        status, shown = ending(child)

    assert status == 0
    assert f"network is up: {up_line(fakes)}" in shown
    assert inv("vault.list").stdout == ""


def test_a_key_may_be_pasted_while_the_browser_has_the_word(inv: Inv, fakes: Fakes) -> None:
    """It is not shown, and asked for no second time."""
    with terminal("net.up") as child:
        child.expect_exact(PROMPT)
        child.sendline("")
        child.expect_exact("(or paste a key and press Enter)")
        child.sendline(GOOD)
        status, shown = ending(child)

    assert status == 0
    assert GOOD not in shown
    assert inv("vault.get", ITEM).stdout == f"{GOOD}\n"


@pytest.mark.parametrize(("typed", "status", "words"), [("\x03", 130, "interrupted"), ("\x04", 77, "no key given")])
def test_leaving_at_the_prompt_leaves_the_daemon_and_the_terminal_well(
    inv: Inv, fakes: Fakes, typed: str, status: int, words: str
) -> None:
    with terminal("net.up") as child:
        child.expect_exact(PROMPT)
        until(lambda: not echoes(child), what="hidden input")
        child.send(typed)
        child.expect_exact(words)
        until(lambda: echoes(child), what="restored echo")
        assert ending(child)[0] == status

    (daemon,) = fakes.daemons()
    assert identify(daemon["pid"]) is not None
    assert inv("net.up", environment=KEY).exit_status == 0
    assert len(fakes.daemons()) == 1


def echoes(child: "pexpect.spawn[str]") -> bool:
    """Whether the terminal shows what is typed."""
    return bool(termios.tcgetattr(child.child_fd)[3] & termios.ECHO)


def test_a_second_terminal_waits_and_then_finds_the_network_up(fakes: Fakes) -> None:
    """Only one of them asks."""
    with terminal("net.up") as first:
        first.expect_exact(PROMPT)
        asked = len(fakes.statuses())
        with terminal("net.up") as second:
            until(lambda: len(fakes.statuses()) > asked, what="second command that found it down", seconds=20)
            first.sendline(GOOD)
            assert ending(first)[0] == 0
            status, shown = ending(second)

    assert (status, shown) == (0, f"network is up: {up_line(fakes)}\n")


def test_the_daemon_outlives_command_shell_and_terminal(inv: Inv, fakes: Fakes) -> None:
    """The pty is closed, which hangs up everybody in its session."""
    script = f"{INV} net.up && echo done; read never"
    child = pexpect.spawn("/bin/sh", ["-c", script], cwd=str(ROOT), env={**os.environ, **KEY}, timeout=20)
    child.expect_exact("done")
    child.close(force=True)

    (daemon,) = fakes.daemons()
    assert identify(daemon["pid"]) is not None
    assert inv("net.up").stdout == f"network is up already: {up_line(fakes)}\n"


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_ctrl_c_while_the_daemon_starts(inv: Inv, fakes: Fakes, delay: float) -> None:
    """130, no traceback, the lock free, and the daemon gone."""
    fakes.order(daemon={"delay": 60})
    with terminal("net.up") as child:
        until(fakes.daemons, what="start of the daemon")
        time.sleep(delay)  # the moment is the subject
        child.send("\x03")
        status, shown = ending(child)

    assert (status, shown) == (130, "^Cinterrupted\n")
    assert identify(fakes.daemons()[0]["pid"]) is None
    fakes.order()
    assert inv("net.up", environment=KEY).exit_status == 0


def test_ctrl_c_while_the_browser_has_the_word(inv: Inv, fakes: Fakes) -> None:
    """No `tailscale up` stays behind."""
    with terminal("net.up") as child:
        child.expect_exact(PROMPT)
        child.sendline("")
        child.expect_exact("to sign in")
        child.send("\x03")
        status, shown = ending(child)

    assert status == 130
    assert "Traceback" not in shown
    assert [identify(up["pid"]) for up in fakes.ups()] == [None]


def test_ctrl_c_while_an_admin_has_the_word_loses_no_key(inv: Inv, fakes: Fakes) -> None:
    """The control server has taken it, and it may be spent."""
    fakes.order(up=[("print", "To approve your machine, visit (as admin):\n\n\thttps://x/admin\n\n"), ("wait", None)])
    with terminal("net.up") as child:
        child.expect_exact(PROMPT)
        child.sendline(GOOD)
        child.expect_exact("this machine must be approved by an admin: https://x/admin")
        child.send("\x03")
        status, shown = ending(child)

    assert status == 130
    assert f"the accepted key is saved: the item {ITEM!r} of the age vault is new" in shown
    assert shown.endswith("interrupted\n")
    assert inv("vault.get", ITEM).stdout == f"{GOOD}\n"


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_obstacle(fakes: Fakes, closed: str) -> None:
    """As from cron; nothing is asked, and nothing of ours takes their numbers in the daemon."""
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {INV} net.up {closed}"],
        cwd=ROOT,
        env={**os.environ, **KEY},
        capture_output=True,
        check=False,
        timeout=20,
    )

    assert ended.returncode == 0
    assert set(fakes.daemons()[0]["descriptors"]) == {"0", "1", "2"}


def test_the_daemon_knows_no_secret(inv: Inv, fakes: Fakes) -> None:
    """Neither the key that it is logged in with nor anything else of our environment."""
    inv("net.up", environment={**KEY, "BW_SESSION": "canary-1", "AWS_SECRET_ACCESS_KEY": "canary-2"})
    (daemon,) = fakes.daemons()

    assert "canary" not in str(daemon)
    assert GOOD not in str(daemon)
    assert set(daemon["environment"]) <= {*PLAIN_VARIABLES, "TS_LOGS_DIR", "LC_CTYPE"}  # the last is Python's own


def test_a_key_that_cannot_be_saved_leaves_the_network_up(fakes: Fakes, inv: Inv) -> None:
    """The environment's vault takes nothing."""
    with terminal("net.up", environment={"VAULT": "environment"}) as child:
        child.expect_exact(PROMPT)
        child.sendline(GOOD)
        status, shown = ending(child)

    assert status == 74
    assert "error: the network is up, but the new key could not be saved: " in shown
    assert inv("net.status").exit_status == 0


def test_a_daemon_that_cannot_start_is_explained(inv: Inv, fakes: Fakes) -> None:
    """Its last words, without any key that is among them."""
    fakes.order(daemon={"die": f"cannot use {GOOD}"})
    ended = inv("net.up", environment=KEY)

    assert (ended.exit_status, ended.stdout) == (69, "")
    assert ended.stderr == (
        "error: tailscaled ended at once (exit status 3): its log ends with\n  cannot use ****\n"
        "  next: `inv doctor` looks for the cause\n"
    )


def test_a_killed_command_leaves_the_next_one_working(inv: Inv, fakes: Fakes) -> None:
    """At the moment of the login: the key was accepted or not, the daemon is there."""
    fakes.order(up=[("wait", None)])
    with terminal("net.up", environment=KEY) as child:
        until(fakes.ups, what="login")
        child.kill(signal.SIGKILL)
        ending(child)
    fakes.order()

    ended = inv("net.up", environment=KEY)
    assert (ended.exit_status, ended.stdout) == (0, f"network is up: {up_line(fakes)}\n")
    assert len(fakes.daemons()) == 1
    until(lambda: identify(fakes.ups()[0]["pid"]) is None, what="end of the orphaned `tailscale up`")


def test_dry_says_what_would_be_done(inv: Inv, fakes: Fakes, home: Home) -> None:
    started = inv("--dry", "net.up")
    stopped = inv("--dry", "net.down", "net.down", "--logout")

    assert started.stderr.startswith("would start tailscaled and log in: tailscaled --tun=userspace-networking ")
    assert stopped.stderr == "would stop tailscaled\nwould log out and stop tailscaled\n"
    assert (started.exit_status, stopped.exit_status, fakes.daemons()) == (0, 0, [])
    assert list(home.state.iterdir()) == []


def test_down_twice_is_as_good_as_once(inv: Inv, fakes: Fakes) -> None:
    """And with no network ever."""
    assert inv("net.down").stdout == "network was down already\n"
    inv("net.up", environment=KEY)
    ended = inv("net.down", "net.down")

    assert (ended.exit_status, ended.stdout) == (0, "network is down\nnetwork was down already\n")
    assert identify(fakes.daemons()[0]["pid"]) is None


def test_logout_leaves_the_tailnet(inv: Inv, fakes: Fakes) -> None:
    inv("net.up", environment=KEY)

    assert inv("net.down", "--logout").exit_status == 0
    assert inv("net.up").exit_status == 78
    inv("net.down")
    ended = inv("net.down", "--logout")
    assert ended.exit_status == 69
    assert ended.stderr == ("error: cannot log out: the network is down\n  next: `inv net.up net.down --logout`\n")


def test_status_of_a_network_that_is_down(inv: Inv, fakes: Fakes) -> None:
    shown, document = inv("net.status"), inv("net.status", "--json")

    assert (shown.exit_status, shown.stdout) == (69, "")
    assert shown.stderr == "error: the network 'default' is down\n  next: `inv net.up`\n"
    assert (document.exit_status, json.loads(document.stdout)["cause"]) == (69, "down")


def test_status_after_the_daemon_was_killed_is_down(inv: Inv, fakes: Fakes) -> None:
    """The socket's file, which is still there, is not believed."""
    inv("net.up", environment=KEY)
    os.kill(fakes.daemons()[0]["pid"], signal.SIGKILL)

    assert inv("net.status").exit_status == 69
    assert inv("net.up").exit_status == 0


def test_status_on_one_screen_and_as_data(inv: Inv, fakes: Fakes) -> None:
    inv("net.up", environment=KEY)
    shown, document = inv("net.status"), inv("net.status", "--json")

    assert shown.stdout == (
        "tailnet   default (fake)\n"
        "node      fake.fake.test  100.64.0.9\n"
        "state     up (tailscale 1.102.4-fake)\n"
        f"proxy     127.0.0.1:{fakes.port} (SOCKS5 and HTTP)\n"
        "control   Tailscale\n"
        "key       does not expire\n"
        "health    well\n"
        "\n"
        "no peers\n"
    )
    assert json.loads(document.stdout)["self"]["addresses"] == ["100.64.0.9"]
    assert (shown.stderr, document.stderr) == ("", "")


def test_logs_are_printed_with_control_characters_escaped(inv: Inv, fakes: Fakes, home: Home) -> None:
    missing = inv("net.logs")
    log = home.state / "platform-manager" / "default" / "tailscaled.log"
    assert missing.exit_status == 69
    assert missing.stderr == f"error: there is no log at {log}\n  next: `inv net.up` starts the daemon\n"

    log.parent.mkdir(parents=True, mode=0o700)
    log.write_bytes(b"one\n\x1b]0;title\x07 tskey-auth-secret \xff\n")
    assert inv("net.logs").stdout == "one\n\\x1b]0;title\\x07 **** \ufffd\n"


def test_logs_are_followed_until_ctrl_c(fakes: Fakes, home: Home) -> None:
    """Also when the log is cut meanwhile."""
    log = home.state / "platform-manager" / "default" / "tailscaled.log"
    log.parent.mkdir(parents=True, mode=0o700)
    log.write_text("a long first line\n")
    with terminal("net.logs", "--follow") as child:
        child.expect_exact("a long first line")
        with log.open("a") as writer:
            writer.write("second\n")
        child.expect_exact("second")
        log.write_text("anew\n")
        child.expect_exact("anew")
        child.send("\x03")
        status, shown = ending(child)

    assert status == 130
    assert "Traceback" not in shown


def test_env_gives_a_shell_the_proxy_and_takes_it_again(fakes: Fakes) -> None:
    """As a person uses it."""
    script = (
        f'eval "$({INV} net.env)"; echo "$ALL_PROXY $all_proxy $HTTP_PROXY $https_proxy $NO_PROXY"; '
        f'eval "$({INV} net.env --unset)"; echo "[${{ALL_PROXY-}}${{http_proxy-}}${{NO_PROXY-}}]"'
    )
    ended = subprocess.run(
        ["/bin/sh", "-euc", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=20
    )

    proxy = f"127.0.0.1:{fakes.port}"
    assert ended.stdout == (
        f"socks5h://{proxy} socks5h://{proxy} http://{proxy} http://{proxy} localhost,127.0.0.1,::1\n[]\n"
    )


def test_env_for_fish(inv: Inv, fakes: Fakes) -> None:
    proxy = f"127.0.0.1:{fakes.port}"

    assert inv("net.env", "--shell=fish").stdout.startswith(f"set -gx ALL_PROXY 'socks5h://{proxy}';\n")
    assert inv("net.env", "--shell=fish", "--unset").stdout.startswith("set -e ALL_PROXY;\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("net.env", "--shell=tcsh"), "--shell: expected sh or fish, got 'tcsh'"),
        (("net.wait",), "--host: expected the name of a host\n  next: `inv remote.hosts` lists them"),
        (
            ("net.wait", "--host=web1", "--timeout=abc"),
            "--timeout: expected a time such as 30s, 5m or 2h, got 'abc'",
        ),
    ],
)
def test_words_that_cannot_be_taken_are_a_usage_error(
    inv: Inv, fakes: Fakes, words: tuple[str, ...], complaint: str
) -> None:
    ended = inv(*words)

    assert (ended.exit_status, ended.stdout, ended.stderr) == (64, "", f"error: {complaint}\n")


def test_folders_with_blanks_and_a_home_that_is_missing(inv: Inv, fakes: Fakes, home: Home) -> None:
    """State may lie anywhere."""
    odd: Path = home.folder / "a b'ü"
    ended = inv("net.up", "net.status", "net.down", environment={**KEY, "TS_STATE_DIR": str(odd)})

    assert ended.exit_status == 0
    assert (odd / "tailscaled.state").exists()
