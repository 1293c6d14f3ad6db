"""The vault's commands by the real `inv`: what they print and where, what they ask, and that no secret leaks."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager

import pexpect
import pytest
from pyrage import x25519

from tasks.secret import Secret
from tasks.vault.age import AgeStore
from tasks.vault.layout import NEW_ITEM
from tasks.vault.saving import save_password
from tasks.vault.store import Field, Item
from tests.conftest import INV, ROOT, Home, Inv
from tests.net.conftest import GOOD, Fakes, fakes  # noqa: F401 - a fixture
from tests.terminals import inv_in_a_terminal
from tests.watching import files_with, holds_any, watched_processes

KEY = "Tailscale auth key"
ITEM = "deploy token"  # as any other name with a blank
# Its URL and base64 forms differ from itself.
CANARY = "canary/Zq7 +é&9w=sw0rdf1sh"
PROMPT = f"new password of '{ITEM}' (hidden): "
HOW = "\n  next: type it at a terminal, or give it on stdin: `inv vault.set NAME < FILE`\n"


@pytest.fixture
def vault(home: Home) -> AgeStore:
    """Give the vault that the commands use in this test's home."""
    return AgeStore(home.state / "platform-manager" / "default")


def at_terminal(
    *words: str, environment: Mapping[str, str] | None = None
) -> AbstractContextManager["pexpect.spawn[str]"]:
    """Run `inv WORDS…` at a terminal of its own."""
    return inv_in_a_terminal(environment or {}, *words, seconds=30)


def test_a_fresh_machine_has_no_vault_and_asking_makes_none(inv: Inv, vault: AgeStore) -> None:
    assert inv("vault.status").stdout == (
        f"age vault: not made yet; the first `inv vault.set NAME` makes it at {vault.path}\n"
    )
    ended = inv("vault.list")
    assert (ended.stdout, ended.stderr) == ("", "the vault is empty; `inv vault.set NAME` fills it\n")
    assert inv("vault.list", "--json").stdout == "[]\n"
    assert not vault.folder.exists()


def test_set_reads_stdin_and_get_prints_it_back(inv: Inv, vault: AgeStore) -> None:
    """A name with blanks is one word; one newline at the end of stdin is the pipe's, not the value's."""
    made = inv("vault.set", ITEM, stdin=f"{CANARY}\n")
    ref = vault.list()[0]

    assert (made.exit_status, made.stderr) == (0, "")
    assert made.stdout == f"the item '{ITEM}' of the age vault is new (revision {ref.revision})\n"
    assert inv("vault.get", ITEM).stdout == f"{CANARY}\n"
    assert inv("vault.get", ref.id).stdout == f"{CANARY}\n"


@pytest.mark.parametrize("given", [f"{GOOD}  \n", f'"{GOOD}"', f"TS_AUTHKEY={GOOD}", f"\x1b[200~{GOOD}\x1b[201~"])
@pytest.mark.parametrize(("item", "setting"), [(KEY, {}), ("mine", {"VAULT_ITEM": "mine"})])
def test_an_auth_key_is_stored_as_net_up_would_take_it(
    inv: Inv, vault: AgeStore, given: str, item: str, setting: dict[str, str]
) -> None:
    """Without what copying puts around it; any other value is taken as it is."""
    assert inv("vault.set", item, stdin=given, environment=setting).exit_status == 0
    assert vault.get(item).password == Secret(GOOD)

    inv("vault.set", "other", stdin=given, environment=setting)
    assert vault.get("other").password == Secret(given.removesuffix("\n"))


def test_what_can_be_no_auth_key_is_not_stored_as_one(inv: Inv, vault: AgeStore) -> None:
    ended = inv("vault.set", KEY, stdin="two words")

    assert (ended.exit_status, ended.stdout) == (64, "")
    assert ended.stderr == f"error: the value is no auth key: it holds blanks or characters that no key has{HOW}"
    assert not vault.folder.exists()


def test_set_keeps_the_rest_and_says_that_the_old_value_is_kept(inv: Inv, vault: AgeStore) -> None:
    vault.put(Item(KEY, Secret("old"), Secret("me"), Secret("a\nb"), (Field("pin", Secret("42")),)), expect=None)
    ended = inv("vault.set", KEY, stdin="new")
    item = vault.get(KEY)

    assert ended.stdout == (
        f"the item '{KEY}' of the age vault was replaced (revision {item.revision}); "
        "the old value is in its history (1 kept)\n"
    )
    assert (item.password, item.username, item.notes) == (Secret("new"), Secret("me"), Secret("a\nb"))
    assert inv("vault.get", KEY, "--field=username").stdout == "me\n"
    assert inv("vault.get", KEY, "--field=notes").stdout == "a\nb\n"
    assert inv("vault.get", KEY, "--field=pin").stdout == "42\n"


@pytest.mark.parametrize("value", ["a\nb\n\n", " \t'\"$HOME ", "é🔑", "x" * 65536, "tskey-auth-abc123"])
def test_a_value_comes_back_as_it_went_in(inv: Inv, value: str) -> None:
    """To the byte; what looks like a key is not masked where it is asked for."""
    inv("vault.set", "item", stdin=f"{value}\n")

    assert inv("vault.get", "item").stdout == f"{value}\n"


def test_a_value_comes_out_in_a_locale_that_lacks_its_letters(inv: Inv, vault: AgeStore) -> None:
    save_password(vault, "item", Secret("é🔑"))
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    assert inv("vault.get", "item", environment=narrow).stdout == "é🔑\n"


def test_a_hidden_prompt_asks_at_a_terminal_and_nothing_leaks(vault: AgeStore, home: Home) -> None:
    """Not on the screen, in no argv and no environment, in no file; in clear, base64 or URL form."""
    save_password(vault, ITEM, Secret(f"old {CANARY}"))
    with at_terminal("vault.set", ITEM) as child, watched_processes([CANARY]) as seen:
        child.expect_exact(PROMPT)
        child.sendline(CANARY)
        child.expect_exact("was replaced")
        child.expect(pexpect.EOF)
        shown = (child.before or "").encode()
        child.close()

    assert (child.exitstatus, seen) == (0, [])
    assert vault.get(ITEM).password == Secret(CANARY)
    assert not holds_any(shown, [CANARY])
    assert files_with(home.folder, [CANARY]) == []


def test_the_whole_session_at_a_terminal_shows_the_prompt_alone(vault: AgeStore) -> None:
    with at_terminal("vault.set", ITEM) as child:
        child.expect_exact(PROMPT)
        child.sendline(CANARY)
        child.expect(pexpect.EOF)
        shown = child.before

    assert shown == f"\r\nthe item '{ITEM}' of the age vault is new (revision {vault.list()[0].revision})\r\n"


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        ("\r", 64, f"error: the value is empty{HOW}"),
        ("\x04", 64, f"error: no value was typed{HOW}"),
        ("\x03", 130, "interrupted\n"),
        ("x" * 4095 + "\r", 64, "error: a terminal cuts a line at 4095 bytes\n  next: give it on stdin\n"),
    ],
    ids=["enter", "ctrl-d", "ctrl-c", "too long"],
)
def test_what_is_no_value_at_the_prompt_ends_in_words(vault: AgeStore, typed: str, status: int, words: str) -> None:
    """And the vault is not made."""
    with at_terminal("vault.set", ITEM) as child:
        child.expect_exact(PROMPT)
        child.send(typed)
        child.expect(pexpect.EOF)
        shown = (child.before or "").replace("\r\n", "\n")
        child.close()

    assert (child.exitstatus, shown.removeprefix("^C").strip("\n")) == (status, words.strip("\n"))
    assert not vault.folder.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", f"error: the value is empty{HOW}"),
        (b"\n", f"error: the value is empty{HOW}"),
        (b"a\0b", "error: the value holds a NUL, which no environment and no argument can carry\n"),
        (b"\xff", "error: the value on stdin is not UTF-8 text\n"),
        (b"x" * 1_000_001, "error: the value on stdin is longer than 1000000 bytes\n"),
    ],
    ids=["nothing", "newline", "nul", "latin-1", "too long"],
)
def test_what_is_no_value_on_stdin_is_refused(inv: Inv, vault: AgeStore, content: bytes, words: str) -> None:
    ended = inv("vault.set", KEY, stdin=content.decode(errors="surrogateescape"))

    assert (ended.exit_status, ended.stdout, ended.stderr) == (64, "", words)
    assert not vault.folder.exists()


def test_a_closed_stdin_is_refused_at_once(vault: AgeStore) -> None:
    argv = ["/bin/sh", "-c", '"$0" vault.set item <&-', str(INV)]
    ended = subprocess.run(argv, cwd=ROOT, capture_output=True, check=False, text=True, timeout=30)

    assert ended.stderr == f"error: the value is empty{HOW}"
    assert (ended.returncode, vault.folder.exists()) == (64, False)


def test_nobody_is_asked_in_ci(vault: AgeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal or not: it must not wait for somebody who is not there."""
    monkeypatch.setenv("CI", "true")
    with at_terminal("vault.set", ITEM) as child:
        child.expect_exact("error: there is nobody to ask for the value, and it is not on stdin")
        child.expect(pexpect.EOF)
        child.close()

    assert (child.exitstatus, vault.folder.exists()) == (64, False)


def test_dry_asks_nothing_and_writes_nothing(inv: Inv, vault: AgeStore) -> None:
    ended = inv("--dry", "vault.set", KEY, stdin=CANARY)

    assert (ended.exit_status, ended.stdout) == (0, "")
    assert ended.stderr == f"would set the password of '{KEY}' in the age vault\n"
    assert not vault.folder.exists()


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x1b[31m"])
def test_a_name_is_printable(inv: Inv, vault: AgeStore, name: str) -> None:
    ended = inv("vault.set", name, stdin="x")

    assert (ended.exit_status, ended.stderr) == (64, f"error: name: expected printable characters, got {name!r}\n")
    assert not vault.folder.exists()


def test_a_missing_item_is_told_with_those_that_exist(inv: Inv, vault: AgeStore) -> None:
    save_password(vault, KEY, Secret("x"))
    ended = inv("vault.get", "tailscale")

    assert (ended.exit_status, ended.stdout) == (69, "")
    assert ended.stderr == (
        f"error: the age vault has no item 'tailscale': it has '{KEY}'\n  next: `inv vault.list` shows all names\n"
    )


def test_a_missing_field_is_told_with_those_that_exist(inv: Inv, vault: AgeStore) -> None:
    vault.put(Item("item", Secret("x"), notes=Secret("y"), fields=(Field("pin", Secret("1")),)), expect=None)
    ended = inv("vault.get", "item", "--field=username")

    assert (ended.exit_status, ended.stdout) == (69, "")
    assert ended.stderr == "error: the item 'item' has no username: it has pin, password, notes\n"


def test_the_list_shows_names_and_dates(inv: Inv, vault: AgeStore) -> None:
    save_password(vault, KEY, Secret(CANARY))
    save_password(vault, "db", Secret(CANARY))
    key, db = vault.list()
    as_json = inv("vault.list", "--json").stdout

    assert inv("vault.list").stdout.splitlines() == [
        "NAME                CHANGED",
        f"{KEY}  {key.revision}",
        f"db                  {db.revision}",
    ]
    assert json.loads(as_json) == [{"name": ref.name, "id": ref.id, "revision": ref.revision} for ref in (key, db)]


def test_the_status_counts(inv: Inv, vault: AgeStore) -> None:
    save_password(vault, KEY, Secret("x"))

    assert inv("vault.status").stdout == f"age vault: open, 1 item in {vault.path}\n"
    assert json.loads(inv("vault.status", "--json").stdout) == {
        "vault": "age",
        "state": "open",
        "where": str(vault.path),
        "items": 1,
        "writable": True,
        "warnings": [],
    }


def test_a_vault_that_cannot_be_opened_is_a_failure(inv: Inv, vault: AgeStore) -> None:
    """In JSON too."""
    save_password(vault, KEY, Secret("x"))
    vault.identity_path.unlink()
    ended = inv("vault.status", "--json")

    assert ended.exit_status == 78
    assert json.loads(ended.stdout)["cause"] == "identity-lost"


def test_the_export_goes_to_stdout_and_the_warning_to_stderr(inv: Inv, vault: AgeStore) -> None:
    """So that it can be piped into `bw import bitwardenjson /dev/stdin`."""
    save_password(vault, KEY, Secret(CANARY))
    ended = inv("vault.export")

    assert [item["login"]["password"] for item in json.loads(ended.stdout)["items"]] == [CANARY]
    assert ended.stderr == "this is every secret of the vault in clear: do not leave it in a file\n"


def test_the_environment_is_a_vault_that_cannot_be_written(inv: Inv) -> None:
    """Bytes that are no UTF-8 come out as they are."""
    environment = {"VAULT": "environment", "VAULT_TAILSCALE_AUTH_KEY": "caf\udce9-key"}

    assert inv("vault.get", KEY, environment=environment).stdout == "caf\udce9-key\n"
    assert inv("vault.list", environment=environment).stdout == "NAME                CHANGED\nTAILSCALE_AUTH_KEY  -\n"
    assert inv("vault.status", environment=environment).stdout == (
        "environment vault: open, 1 item in the variables VAULT_…\n"
    )
    ended = inv("vault.set", KEY, stdin="x", environment=environment)
    assert (ended.exit_status, ended.stderr) == (
        78,
        f"error: cannot write '{KEY}': the environment vault is read-only\n"
        "  next: set VAULT_TAILSCALE_AUTH_KEY where this is started from, or choose VAULT=age\n",
    )


def test_a_command_gets_of_the_environments_vault_what_it_asked_for(home: Home) -> None:
    """Nothing else is exported, though the whole vault is in our own environment."""
    project = home.folder / "project"  # a copy, because references stand in a file of the project's
    shutil.copytree(ROOT / "tasks", project / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tasks.py", "invoke.yaml"):
        shutil.copy(ROOT / name, project)
    (project / ".env").write_text("TOKEN=vault:deploy\nROOT=vault:db root\n")
    items = {"VAULT_DEPLOY": "the token", "VAULT_DB_ROOT": "root's", "VAULT_TAILSCALE_AUTH_KEY": "tskey-auth-x"}
    ended = subprocess.run(
        [str(INV), "vault.run", "--only=TOKEN", "--", "env"],
        cwd=project,
        env={**os.environ, "VAULT": "environment", **items},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    given = dict(line.split("=", 1) for line in ended.stdout.splitlines() if "=" in line)

    assert given["TOKEN"] == "the token"
    assert [name for name in given if name in items or name == "ROOT"] == []


def test_nothing_follows_a_command_that_gets_secrets(inv: Inv) -> None:
    """It becomes its program, and what follows would be lost: refused before the first of the chain runs."""
    ended = inv("vault.status", "vault.run", "vault.list", "--", "true", environment={"VAULT": "environment"})

    assert (ended.exit_status, ended.stdout) == (64, "")
    assert ended.stderr == "error: `vault.run` becomes its program: vault.list would never run\n  next: put it last\n"


def test_an_identity_comes_from_the_variable_or_a_file(inv: Inv, vault: AgeStore, home: Home) -> None:
    """`VAULT_IDENTITY=AGE-SECRET-KEY-1…` or `VAULT_IDENTITY=file:PATH`."""
    identity = str(x25519.Identity.generate())
    (home.home / "identity").write_text(f"# mine\n{identity}\n")
    inv("vault.set", KEY, stdin="one", environment={"VAULT_IDENTITY": identity})

    assert inv("vault.get", KEY, environment={"VAULT_IDENTITY": "file:~/identity"}).stdout == "one\n"
    assert not vault.identity_path.exists()
    ended = inv("vault.get", KEY, environment={"VAULT_IDENTITY": "file:/nowhere"})
    assert (ended.exit_status, ended.stderr) == (
        78,
        "error: cannot read the age identity file /nowhere: no such file or directory\n",
    )


def test_each_tailnet_has_its_own_vault(inv: Inv) -> None:
    inv("vault.set", KEY, stdin="one", environment={"TAILNET": "one"})

    assert inv("vault.list", "--json", environment={"TAILNET": "two"}).stdout == "[]\n"


def rotated(typed: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[int | None, str]:
    """Rotate the auth key at a terminal, and return the exit status and all that was shown."""
    shown = ""
    with at_terminal("vault.rotate", KEY, environment=environment) as child:
        for line in typed:
            child.expect_exact(f"new password of '{KEY}' (hidden): ")
            shown += child.before or ""
            child.sendline(line)
        child.expect(pexpect.EOF)
        shown += child.before or ""
        child.close()
    return child.exitstatus, shown.replace("\r\n", "\n")


@pytest.mark.parametrize("typed", [f"{GOOD}  ", f'"{GOOD}"', f"TS_AUTHKEY={GOOD}"])
def test_a_rotation_proves_and_stores_the_key_alone(fakes: Fakes, vault: AgeStore, typed: str) -> None:  # noqa: F811
    """As net.up does with what is typed: the next one takes what is stored."""
    save_password(vault, KEY, Secret("the-old-key"))
    status, shown = rotated(["two words", typed])

    assert status == 0, shown
    assert "the key you typed was refused: it holds blanks or characters that no key has\n" in shown
    assert vault.get(KEY).password == Secret(GOOD)
    assert (len(fakes.ups()), GOOD in shown) == (1, False)


@pytest.mark.parametrize(
    "orders",
    [
        {"daemon": {"clings": True}},
        {
            "up": [
                ("print", "\nTo approve your machine, visit:\n\ntimeout waiting for Tailscale service\n"),
                ("exit", 1),
            ]
        },
        {"up": [("print", "this node is locked out; sign it\n"), ("exit", 1)]},
    ],
    ids=["logout fails", "approval", "lock"],
)
def test_a_rotation_stores_each_key_that_the_control_server_took(
    inv: Inv,
    fakes: Fakes,  # noqa: F811
    vault: AgeStore,
    orders: dict[str, object],
) -> None:
    """It may be good for one login alone, and that was the proof."""
    save_password(vault, KEY, Secret("the-old-key"))
    fakes.order(**orders)
    ended = inv("vault.rotate", KEY, stdin=GOOD)

    assert (ended.exit_status, vault.get(KEY).password) == (0, Secret(GOOD)), ended.stderr


def test_a_rotation_asks_for_nothing_that_cannot_be_stored(inv: Inv, fakes: Fakes, vault: AgeStore) -> None:  # noqa: F811
    """A key would be spent by the proof; stdin is not read."""
    read_only = {"VAULT": "environment", "VAULT_TAILSCALE_AUTH_KEY": "one"}
    ended = inv("vault.rotate", KEY, environment=read_only)
    assert (ended.exit_status, ended.stderr.splitlines()[0]) == (
        78,
        f"error: cannot write '{KEY}': the environment vault is read-only",
    )
    note = Item(KEY, notes=Secret("a note"), document=Secret(json.dumps({**NEW_ITEM, "type": 2, "login": None})))
    vault.put(note, expect=None)
    ended = inv("vault.rotate", KEY)
    assert (ended.exit_status, ended.stderr) == (
        78,
        f"error: '{KEY}' is not a login, so it cannot hold a password\n",
    )
    assert fakes.ups() == []


@pytest.mark.parametrize(("item", "login"), [(KEY, ", log in with it"), (ITEM, "")])
def test_a_dry_rotation_opens_no_vault(inv: Inv, vault: AgeStore, item: str, login: str) -> None:
    vault.folder.mkdir(parents=True)
    vault.path.write_bytes(b"garbage")
    ended = inv("--dry", "vault.rotate", item)

    assert (ended.exit_status, ended.stderr) == (0, f"would ask for the new password of '{item}'{login}\n")


def test_a_rotation_by_id_replaces_that_items_password(inv: Inv, vault: AgeStore) -> None:
    """And makes no item that has the id for its name."""
    save_password(vault, ITEM, Secret("one"))
    ended = inv("vault.rotate", vault.get(ITEM).id, stdin="two")

    assert (ended.exit_status, [ref.name for ref in vault.list()]) == (0, [ITEM])
    assert vault.get(ITEM).password == Secret("two")


def test_a_rotation_by_id_proves_the_key_too(inv: Inv, fakes: Fakes, vault: AgeStore) -> None:  # noqa: F811
    save_password(vault, KEY, Secret("the-old-key"))
    ended = inv("vault.rotate", vault.get(KEY).id, stdin="tskey-auth-wrong")

    assert (ended.exit_status, vault.get(KEY).password) == (77, Secret("the-old-key"))
    assert ended.stderr == (
        "error: the new key was refused: invalid pre auth key\n  next: the vault still holds the old one\n"
    )
