"""From the settings to a vault: what is read, what a save says and adds, what waits for a vault."""

import json
import os
from contextlib import AbstractContextManager

import pexpect
import pytest

from tasks.errors import ConfigurationFailure
from tasks.keeping import keep_accepted_key, open_vault, read_item, set_password, where_kept
from tasks.secret import Secret
from tasks.settings import load
from tasks.vault.acceptance import acceptance_of
from tasks.vault.age import AgeStore
from tasks.vault.rescue import rescue_vault, rescued
from tasks.vault.store import Item
from tests.conftest import Home, Inv
from tests.net.conftest import FAKES, GOOD, Fakes, fakes  # noqa: F401 - a fixture
from tests.terminals import ending, inv_in_a_terminal
from tests.vault.conftest import FakePlace, fake, login  # noqa: F401 - a fixture
from tests.waiting import until

KEY = "Tailscale auth key"
UP = "network is up: fake (100.64.0.9) in fake"
DOWN: dict[str, object] = {"on": "PUT /object/item", "message": "FetchError: connect ECONNREFUSED"}
# What is on PATH answers the question for its version, which the fake has no place for.
BW = """#!/bin/sh
[ "$1" = --version ] && exec echo 2026.6.0
exec {fake} "$@"
"""


@pytest.fixture
def vault(home: Home) -> AgeStore:
    """Give the vault that the settings of this test's home name."""
    return AgeStore(home.state / "platform-manager" / "default")


def test_the_settings_choose_the_vault(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is made by opening one, and what opens the age vault is read for no other."""
    folder = home.state / "platform-manager" / "default"
    assert open_vault(load()) == AgeStore(folder, None)
    assert open_vault(load({"VAULT_IDENTITY": "AGE-SECRET-KEY-1"})) == AgeStore(folder, Secret("AGE-SECRET-KEY-1"))
    monkeypatch.setenv("VAULT_X", "y")
    store = open_vault(load({"VAULT": "environment", "VAULT_IDENTITY": "file:/nonexistent"}))

    assert store.get("X").password == Secret("y")
    assert list(home.state.iterdir()) == []


def test_an_item_is_read_or_none(vault: AgeStore) -> None:
    """No item is no key; a vault that cannot be read is a failure."""
    set_password(load(), KEY, Secret("one"))
    item = read_item(load(), KEY)

    assert item is not None
    assert item.password == Secret("one")
    assert read_item(load(), "other") is None

    vault.path.write_bytes(b"")
    with pytest.raises(ConfigurationFailure, match="is damaged"):
        read_item(load(), KEY)


def test_an_accepted_key_carries_when_by_whom_and_as_which_node(vault: AgeStore) -> None:
    """Until its owner puts another key in its place by hand."""
    said = keep_accepted_key(load(), KEY, Secret("one"), "box")()
    accepted = acceptance_of(vault.get(KEY))

    assert said == f"the item '{KEY}' of the age vault is new (revision {vault.get(KEY).revision})"
    assert accepted[20:] == " by Tailscale as box; if it was a single-use key, it is spent"
    set_password(load(), KEY, Secret("two"))
    assert acceptance_of(vault.get(KEY)) == ""


def test_where_an_accepted_key_is_before_it_is_saved(vault: AgeStore) -> None:
    """A vault of this machine has it at once, or says why not."""
    assert where_kept(load(), keep_accepted_key(load(), KEY, Secret("one"))).startswith(
        f"the accepted key is saved: the item '{KEY}' of the age vault is new"
    )
    vault.path.write_bytes(b"")
    assert where_kept(load(), keep_accepted_key(load(), KEY, Secret("two"))).startswith(
        "the accepted key could not be saved: the vault "
    )


@pytest.fixture
def bitwarden(fake: FakePlace, fakes: Fakes, home: Home, monkeypatch: pytest.MonkeyPatch) -> FakePlace:  # noqa: F811
    """Have the commands of this test use the fake bw, whose vault has an older key; the network takes TS_AUTHKEY."""
    folder = home.home / "bin"
    folder.mkdir()
    (folder / "bw").write_text(BW.format(fake=FAKES / "bw"))
    (folder / "bw").chmod(0o755)
    account = fake.account
    assert account.password is not None
    assert account.client_secret is not None
    for name, value in {
        "PATH": os.pathsep.join([str(folder), os.environ["PATH"]]),
        "VAULT": "bitwarden",
        "BW_SERVER": account.server,
        "BW_CLIENTID": account.client_id,
        "BW_CLIENTSECRET": account.client_secret.reveal(),
        "BW_PASSWORD": account.password.reveal(),
        "BW_DATA_DIR": str(account.folder),
        "TS_AUTHKEY": GOOD,
    }.items():
        monkeypatch.setenv(name, value)
    fake.serve(login(KEY, "bitwardens-own", id="one"))
    return fake


def rescue_of(home: Home, who: str) -> AgeStore:
    """Return an account's rescue vault of this place."""
    return rescue_vault(home.state / "platform-manager" / "default", "https://vault.example", who)


@pytest.fixture
def waiting(home: Home) -> AgeStore:
    """Give the rescue vault of this place, in which a key waits."""
    own = rescue_of(home, "user.1")
    own.put(Item(KEY, Secret("the-kept-key")), expect=None)
    return own


def at_terminal(*words: str) -> AbstractContextManager["pexpect.spawn[str]"]:
    """Run `inv WORDS…` at a terminal of its own."""
    return inv_in_a_terminal({}, *words, seconds=30)


def answered(answer: str, waiting: AgeStore) -> tuple[int | None, str]:
    """Run net.up at a terminal, answer its offer, and return how it ended and what it said then."""
    (ref,) = rescued(waiting)
    with at_terminal("net.up") as child:
        child.expect_exact(
            f"a value for '{KEY}' waits to be saved to Bitwarden "
            f"(kept since {ref.revision}, for user.1 at vault.example); "
            "`inv vault.list` shows of when Bitwarden's own is: save it now? [yes/no/discard] "
        )
        child.sendline(answer)
        return ending(child)


def passwords(bitwarden: FakePlace) -> list[str]:
    """Return the fake server's passwords."""
    return [item["login"]["password"] for item in bitwarden.stored() if item["login"]]


def test_what_waits_is_saved_after_a_yes(bitwarden: FakePlace, waiting: AgeStore) -> None:
    status, shown = answered("yes", waiting)

    assert (status, passwords(bitwarden), rescued(waiting)) == (0, ["the-kept-key"], []), shown
    assert f"the item '{KEY}' of the bitwarden vault was replaced " in shown
    assert UP in shown


def test_what_waits_is_not_offered_to_another_account(
    bitwarden: FakePlace, waiting: AgeStore, inv: Inv, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its item of that name has a value of its own, which a yes would replace. That something waits is told."""
    monkeypatch.setenv("BW_CLIENTID", "user.2")
    with at_terminal("net.up") as child:
        status, shown = ending(child)

    assert (status, "waits" in shown, passwords(bitwarden)) == (0, False, ["bitwardens-own"])
    assert waiting.get(KEY).password == Secret("the-kept-key")
    warned = f"warning: values for another account wait to be saved to Bitwarden, in {waiting.path}\n  next: "
    assert warned in inv("vault.status").stderr


def test_a_rotation_by_id_is_saved_by_id(bitwarden: FakePlace, home: Home, inv: Inv) -> None:
    """As whoever has two items of one name is told to do; what must wait goes to that item too."""
    twins = [login("dup", "one", id="first"), login("dup", "two", id="second")]
    bitwarden.serve(*twins)
    assert "give an id in the name's place" in inv("vault.get", "dup").stderr
    assert inv("vault.rotate", "second", stdin="three").exit_status == 0
    assert passwords(bitwarden) == ["one", "three"]

    bitwarden.serve(*twins, faults=[DOWN] * 3)
    assert inv("vault.rotate", "second", stdin="four").exit_status == 74
    with at_terminal("net.up") as child:
        child.expect_exact("a value for 'dup' (second) waits to be saved to Bitwarden (kept since ")
        child.sendline("yes")
        status, _ = ending(child)
    assert (status, passwords(bitwarden), rescued(rescue_of(home, "user.1"))) == (0, ["one", "four"], [])


def test_what_waits_goes_on_waiting_after_a_no(bitwarden: FakePlace, waiting: AgeStore) -> None:
    status, shown = answered("no", waiting)

    assert (status, UP in shown, passwords(bitwarden)) == (0, True, ["bitwardens-own"])
    assert waiting.get(KEY).password == Secret("the-kept-key")


def test_what_waits_can_be_discarded(bitwarden: FakePlace, waiting: AgeStore) -> None:
    """Else the question would come for ever where Bitwarden has a newer one."""
    status, shown = answered("discard", waiting)

    assert (status, UP in shown, passwords(bitwarden)) == (0, True, ["bitwardens-own"])
    assert f"discarded: the value that was kept for '{KEY}'\n" in shown
    assert rescued(waiting) == []


def test_a_vault_that_is_down_does_not_keep_the_network_down(bitwarden: FakePlace, waiting: AgeStore, inv: Inv) -> None:
    """The exit status says what is not saved, and that the network is up is true."""
    bitwarden.serve(login(KEY, "bitwardens-own", id="one"), faults=[DOWN] * 9)
    status, shown = answered("yes", waiting)

    assert status == 74
    assert (
        shown.index("not saved: ")
        < shown.index(UP)
        < shown.index(
            "error: the network is up, but what waits for Bitwarden could not be saved; it is still kept here: "
        )
    )
    assert "the next `inv net.up` offers it again" in shown
    assert waiting.get(KEY).password == Secret("the-kept-key")
    assert inv("net.status").exit_status == 0


def test_a_rescue_vault_that_cannot_be_read_does_not_keep_the_network_down(
    bitwarden: FakePlace, waiting: AgeStore, inv: Inv
) -> None:
    waiting.path.write_bytes(b"")
    ended = inv("net.up")

    assert (ended.exit_status, ended.stdout.startswith(UP)) == (74, True)
    assert f"the vault {waiting.path} is damaged" in ended.stderr


def test_one_that_cannot_be_saved_does_not_hold_up_the_others(bitwarden: FakePlace, waiting: AgeStore) -> None:
    """As where a note has its name by now."""
    for name in ("A note", "other"):
        waiting.put(Item(name, Secret(f"the kept {name}")), expect=None)
    own = login("other", "its own")
    bitwarden.serve({**login("A note", ""), "type": 2, "login": None}, login(KEY, "one", id="a"), own)
    with at_terminal("net.up") as child:
        for _ in range(3):
            child.expect_exact("[yes/no/discard] ")
            child.sendline("yes")
        status, shown = ending(child)

    assert (status, [item.name for item in rescued(waiting)]) == (74, ["A note"]), shown
    assert sorted(passwords(bitwarden)) == ["the kept other", "the-kept-key"]
    assert shown.endswith(
        "it is still kept here: 'A note' is not a login, so it cannot hold a password\n"
        "  next: the next `inv net.up` offers it again\n"
    )


def test_dry_offers_nothing(bitwarden: FakePlace, waiting: AgeStore) -> None:
    """It says what would be offered; neither a person nor Bitwarden is asked."""
    with at_terminal("--dry", "net.up") as child:
        status, shown = ending(child)

    assert status == 0
    assert shown.startswith(f"a value for '{KEY}' waits to be saved to Bitwarden (kept since ")
    assert ", for user.1 at vault.example); would offer it\nwould start tailscaled and log in: " in shown
    assert not bitwarden.account.folder.with_name("fake.log").exists()


def test_dry_unlocks_nothing(bitwarden: FakePlace, inv: Inv) -> None:
    """And gives a shell nothing to evaluate."""
    ended = inv("--dry", "vault.unlock")

    assert (ended.exit_status, ended.stdout) == (0, "")
    assert ended.stderr == "would unlock the bitwarden vault, and print its session for a shell to keep\n"
    assert not bitwarden.account.folder.with_name("fake.log").exists()


def test_signing_out_forgets_the_account_here(bitwarden: FakePlace, inv: Inv) -> None:
    """The next use signs in anew, with what is set by then."""
    bitwarden.serve(login(KEY, "one"))
    assert inv("vault.get", KEY).stdout == "one\n"
    assert inv("--dry", "vault.lock", "--sign-out").stderr == "would sign out of the bitwarden vault\n"
    said = inv("vault.lock", "--sign-out").stdout

    assert said == "the bitwarden vault is signed out here; `unset BW_SESSION` where it was set\n"
    assert bitwarden.asked().count("logout") == 1
    assert inv("vault.get", KEY).stdout == "one\n"
    assert bitwarden.asked().count("login --apikey") == 2


def test_the_vaults_status_tells_what_waits(bitwarden: FakePlace, waiting: AgeStore, inv: Inv) -> None:
    (ref,) = rescued(waiting)
    what = (
        f"a value for '{KEY}' waits to be saved to Bitwarden (kept since {ref.revision}, for user.1 at vault.example)"
    )

    assert f"warning: {what}\n  next: `inv net.up` at a terminal offers to save it\n" in inv("vault.status").stderr
    assert what in json.loads(inv("vault.status", "--json").stdout)["warnings"]
    waiting.path.write_bytes(b"")
    assert "warning: what may wait to be saved cannot be read: the vault " in inv("vault.status").stderr


def test_an_accepted_key_waits_here_before_it_is_saved_to_bitwarden(bitwarden: FakePlace, home: Home) -> None:
    """No server is asked to tell so; what waits for another account is another matter."""
    rescue_of(home, "user.2").put(Item(KEY, Secret("another")), expect=None)
    told = where_kept(load(), keep_accepted_key(load(), KEY, Secret("one")))

    assert told.startswith(f"a value for '{KEY}' waits to be saved to Bitwarden")
    assert told.endswith("; `inv net.up` at a terminal offers to save it")
    assert not bitwarden.account.folder.with_name("fake.log").exists()


@pytest.mark.parametrize("words", [("vault.rotate", "other"), ("net.up",)], ids=["save", "delivery"])
def test_whoever_interrupts_a_save_is_told_where_the_value_is(
    bitwarden: FakePlace, waiting: AgeStore, words: tuple[str, ...]
) -> None:
    """`interrupted` alone sounds like a loss."""
    hang: dict[str, object] = {"on": "PUT /object/item", "hang": True}
    bitwarden.serve(login(KEY, "bitwardens-own", id="one"), login("other", "one"), faults=[hang])
    with at_terminal(*words) as child:
        child.expect([r"\(hidden\): ", r"save it now\? .*\] "])
        child.sendline("yes")
        log = bitwarden.account.folder.with_name("fake.log")
        until(lambda: log.exists() and "PUT /object/item" in log.read_text(), what="write", seconds=30)
        child.sendintr()
        status, shown = ending(child)

    name = words[1] if words[1:] else KEY
    assert status == 130
    assert (
        f"the value of '{name}' is safe, encrypted in {waiting.path}; the next `inv net.up` offers to save it\n"
        in shown
    )
    assert shown.endswith("interrupted\n")
    assert name in [ref.name for ref in rescued(waiting)]
