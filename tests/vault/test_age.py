"""The embedded vault: whole at every moment, one writer at a time, closed to everybody else, each damage told apart."""

import json
import os
import shutil
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pyrage import x25519

from tasks.errors import ConfigurationFailure, NotSaved
from tasks.secret import REDACTOR, Secret
from tasks.vault.age import AgeStore
from tasks.vault.saving import save_password
from tasks.vault.store import Conflict, Item, NoSuchItem, State, Status
from tests.conftest import ROOT, Home

WRITERS = 20
KILLS = 100
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
SOMEBODY = 12345  # a user id that is not ours


@pytest.fixture
def vault(home: Home) -> AgeStore:
    """Give a vault of the test's own; it does not exist yet."""
    return AgeStore(home.state / "place")


@pytest.fixture
def filled(vault: AgeStore) -> AgeStore:
    """Give a vault with one item, `key`, of value `one`."""
    save_password(vault, "key", Secret("one"))
    return vault


def mode(path: Path) -> int:
    """Return the permission bits."""
    return stat.S_IMODE(path.lstat().st_mode)


def looks(folder: Path) -> set[tuple[str, int, int, int, int]]:
    """Return what shows whether a file of the folder was touched: name, inode, mode, size, time of the last write."""
    states = [(path.name, path.lstat()) for path in folder.iterdir()]
    return {(name, state.st_ino, state.st_mode, state.st_size, state.st_mtime_ns) for name, state in states}


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start Python code with the vault's names in a process of its own."""
    head = (
        "import sys, os\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from tasks.secret import Secret\n"
        "from tasks.vault.age import AgeStore\n"
        "from tasks.vault.saving import save_password\n"
        "from tasks.vault.store import Conflict, Item, NoSuchItem\n"
        "vault = AgeStore(Path(sys.argv[1]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code), *(str(argument) for argument in arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )


def output(child: "subprocess.Popen[str]") -> str:
    """Wait for the child's good end and return what it printed."""
    stdout, stderr = child.communicate(timeout=50)
    assert child.returncode == 0, stderr
    return stdout


def test_reading_a_vault_that_is_not_made_yet_makes_nothing(vault: AgeStore) -> None:
    with pytest.raises(NoSuchItem, match="it is empty"):
        vault.get("key")

    assert vault.list() == []
    assert vault.status() == Status(State.MISSING, str(vault.path), 0)
    assert json.loads(vault.export().reveal()) == {"encrypted": False, "folders": [], "items": []}
    assert not vault.folder.exists()


def test_the_first_write_makes_folder_identity_and_vault_for_us_alone(vault: AgeStore) -> None:
    """Whatever the umask is."""
    saved = os.umask(0)
    try:
        save_password(vault, "key", Secret("one"))
    finally:
        os.umask(saved)

    assert mode(vault.folder) == 0o700
    assert {path.name: mode(path) for path in vault.folder.iterdir()} == {
        "vault.age": 0o600,
        "vault-identity.txt": 0o600,
        "vault.lock": 0o600,
    }
    assert vault.status() == Status(State.OPEN, str(vault.path), 1)


def test_the_file_is_plain_age_around_bitwardens_unencrypted_export(filled: AgeStore) -> None:
    """Opened without us: `age --decrypt --identity vault-identity.txt vault.age | bw import bitwardenjson …`."""
    save_password(filled, "key", Secret("two"))
    lines = filled.identity_path.read_text().splitlines()
    identity = x25519.Identity.from_str(next(line for line in lines if not line.startswith("#")))
    export = json.loads(pyrage.decrypt(filled.path.read_bytes(), [identity]))
    ref = filled.list()[0]

    assert export == {
        "encrypted": False,
        "folders": [],
        "items": [
            {
                "id": ref.id,
                "organizationId": None,
                "folderId": None,
                "collectionIds": None,
                "type": 1,
                "reprompt": 0,
                "favorite": False,
                "name": "key",
                "notes": None,
                "fields": [],
                "login": {"uris": [], "username": None, "password": "two", "totp": None},
                "passwordHistory": [{"lastUsedDate": ref.revision, "password": "one"}],
                "creationDate": export["items"][0]["creationDate"],
                "revisionDate": ref.revision,
                "deletedDate": None,
            }
        ],
    }
    assert json.loads(filled.export().reveal()) == export


def test_no_file_of_the_vault_holds_a_value_in_clear(vault: AgeStore) -> None:
    save_password(vault, "the-name", Secret("swordfish"))

    assert [path for path in vault.folder.iterdir() if b"swordfish" in path.read_bytes()] == []
    assert [path for path in vault.folder.iterdir() if b"the-name" in path.read_bytes()] == []


def test_the_list_has_names_in_order_and_no_values(filled: AgeStore) -> None:
    save_password(filled, "a", Secret("swordfish"))

    assert [ref.name for ref in filled.list()] == ["a", "key"]
    assert "swordfish" not in repr(filled.list())


def test_a_write_that_expects_an_older_revision_is_a_conflict_and_changes_nothing(filled: AgeStore) -> None:
    item = filled.get("key")
    filled.put(replace(item, password=Secret("two")), expect=item.revision)
    content = filled.path.read_bytes()
    with pytest.raises(Conflict) as failed:
        filled.put(replace(item, password=Secret("three")), expect=item.revision)

    assert str(failed.value) == (
        "'key' was changed meanwhile in the age vault: "
        f"expected revision {item.revision}, found {filled.get('key').revision}\n"
        "  next: run it again: it reads the new state first"
    )
    assert (failed.value.exit_status, failed.value.cause) == (75, "conflict")
    assert filled.path.read_bytes() == content


def test_an_item_that_is_no_longer_there_is_a_conflict(filled: AgeStore) -> None:
    """Somebody deleted it since it was read: whoever writes reads again."""
    item = replace(filled.get("key"), id="gone", name="gone")
    with pytest.raises(Conflict):
        filled.put(item, expect=item.revision)

    assert [ref.name for ref in filled.list()] == ["key"]


def test_items_of_one_name_lie_beside_each_other_where_that_is_asked_for(vault: AgeStore) -> None:
    """What is alike is replaced; the last one that is taken out takes vault and identity with it."""
    one, two = (Item("key", Secret(value)) for value in ("one", "two"))
    for item in (one, two, one):
        vault.put_beside(item, lambda kept: kept.password == item.password)  # noqa: B023 - called at once
    assert [item.password.reveal() for item in vault.items()] == ["two", "one"]

    vault.remove(lambda item: item.password == Secret("two"))
    assert [item.password.reveal() for item in vault.items()] == ["one"]
    vault.remove(lambda _item: True)
    assert (vault.items(), [path.name for path in vault.folder.iterdir()]) == ([], ["vault.lock"])


def test_a_name_is_never_given_twice(filled: AgeStore) -> None:
    """Neither to a new item nor to one that is renamed."""
    save_password(filled, "other", Secret("x"))
    other = filled.get("other")
    for item, expect in ((Item("key"), None), (replace(other, name="key"), other.revision)):
        with pytest.raises(Conflict, match=r"^the age vault has another item named 'key' already"):
            filled.put(item, expect=expect)

    assert [ref.name for ref in filled.list()] == ["key", "other"]


@pytest.mark.parametrize(
    "value",
    [
        "line\nline\r\n\n",
        "\"'`$HOME ${X:-y} \\n",
        "пароль 🔑 é e\u0301 \u202e",
        " blanks ",
        "\x1b[31m\x7f\t",
        "x" * 65536,
    ],
)
def test_a_value_comes_back_to_the_byte(vault: AgeStore, value: str) -> None:
    """Newlines, quotes, other scripts, control characters, 64 kB."""
    save_password(vault, value[:20], Secret(value))

    assert AgeStore(vault.folder).get(value[:20]).password.reveal() == value


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(values=st.lists(st.text(st.characters(), min_size=1), min_size=1, max_size=8, unique=True))
def test_any_values_come_back_in_order(vault: AgeStore, values: list[str]) -> None:
    """The last one is the password, the five before it are the history; lone surrogates too."""
    shutil.rmtree(vault.folder, ignore_errors=True)
    for value in values:
        save_password(vault, "key", Secret(value))
    item = vault.get("key")

    assert [item.password, *item.history] == [Secret(v) for v in values[::-1][:6]]


def test_a_given_identity_opens_the_vault_and_no_file_is_made(home: Home) -> None:
    """VAULT_IDENTITY: for CI and for a second machine."""
    identity = Secret(str(x25519.Identity.generate()))
    vault = AgeStore(home.state / "place", identity)
    save_password(vault, "key", Secret("one"))

    assert vault.get("key").password == Secret("one")
    assert not vault.identity_path.exists()
    assert REDACTOR.clean(f"got {identity.reveal()}") == "got ****"


def test_an_identity_file_of_age_keygen_serves(filled: AgeStore) -> None:
    """Comments and blank lines around it; of several identities each opens the vault from then on."""
    second = str(x25519.Identity.generate())
    text = f"# created: 2026-01-01\r\n\r\n{filled.identity_path.read_text()}\r\n  {second}  \r\n"
    filled.identity_path.write_text(text)
    save_password(filled, "key", Secret("two"))

    assert AgeStore(filled.folder, Secret(second)).get("key").password == Secret("two")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "AGE-SECRET-KEY-1BROKEN", "age1qqqq\n", "vault:item"])
def test_what_is_no_identity_is_refused_and_not_shown(filled: AgeStore, text: str) -> None:
    """From the variable and from the file."""
    filled.identity_path.write_text(text)
    stores = [(filled, str(filled.identity_path))]
    stores += [(AgeStore(filled.folder, Secret(text)), "VAULT_IDENTITY")] if text else []
    for store, where in stores:
        with pytest.raises(ConfigurationFailure) as failed:
            store.get("key")

        assert str(failed.value) == (
            f"{where} holds no age identity: expected a line AGE-SECRET-KEY-1…\n"
            "  next: bring it back from a backup; `age-keygen` makes one for a new vault"
        )


def lose_identity(vault: AgeStore) -> None:
    """Remove the identity, as when only the vault was copied."""
    vault.identity_path.unlink()


def swap_identity(vault: AgeStore) -> None:
    """Put the identity of another vault in its place."""
    vault.identity_path.write_text(str(x25519.Identity.generate()))


def cut(vault: AgeStore) -> None:
    """Lose the end of the file."""
    vault.path.write_bytes(vault.path.read_bytes()[:-20])


def cut_head(vault: AgeStore) -> None:
    """Lose nearly everything."""
    vault.path.write_bytes(vault.path.read_bytes()[:40])


def empty(vault: AgeStore) -> None:
    """Lose everything."""
    vault.path.write_bytes(b"")


def flip(vault: AgeStore) -> None:
    """Change one bit of the last byte."""
    content = bytearray(vault.path.read_bytes())
    content[-1] ^= 1
    vault.path.write_bytes(content)


def other_file(vault: AgeStore) -> None:
    """Put something else in its place."""
    vault.path.write_bytes(b"{}" * 200)


def not_export(vault: AgeStore) -> None:
    """Encrypt something else for the same identity."""
    identity = x25519.Identity.from_str(vault.identity_path.read_text().splitlines()[-1])
    vault.path.write_bytes(pyrage.encrypt(b'{"items": 7}', [identity.to_public()]))


def open_identity(vault: AgeStore) -> None:
    """Let the group read the identity."""
    vault.identity_path.chmod(0o640)


def link_identity(vault: AgeStore) -> None:
    """Put a link in the identity's place."""
    vault.identity_path.rename(vault.folder / "elsewhere")
    vault.identity_path.symlink_to("elsewhere")


def link_vault(vault: AgeStore) -> None:
    """Put a link in the vault's place: a write would replace the link by a file."""
    vault.path.rename(vault.folder / "elsewhere")
    vault.path.symlink_to("elsewhere")


def pipe(vault: AgeStore) -> None:
    """Put a pipe in the vault's place."""
    vault.path.unlink()
    os.mkfifo(vault.path)


def folder(vault: AgeStore) -> None:
    """Put a folder in the vault's place."""
    vault.path.unlink()
    vault.path.mkdir()


DAMAGED = "\n  next: bring it back from a backup, or begin anew: mv {vault} {vault}.damaged"
FAULTS = [
    (
        lose_identity,
        "the vault {vault} is here, but its identity {identity} is not: "
        "nothing else opens the vault: if that file is lost, so are the secrets in it\n"
        "  next: bring it back from a backup, or set VAULT_IDENTITY; to begin anew: mv {vault} {vault}.lost",
    ),
    (
        swap_identity,
        "{identity} does not open the vault {vault}: "
        "it was encrypted for another identity, or its first lines are damaged\n"
        "  next: bring the identity that belongs to it, or move the vault away to begin anew",
    ),
    (cut, "the vault {vault} is damaged: decryption error" + DAMAGED),
    (cut_head, "the vault {vault} is damaged: it ends too early" + DAMAGED),
    (empty, "the vault {vault} is damaged: it ends too early" + DAMAGED),
    (flip, "the vault {vault} is damaged: decryption error" + DAMAGED),
    (other_file, "the vault {vault} is damaged: header is invalid" + DAMAGED),
    (not_export, "{vault} does not hold Bitwarden's unencrypted export: it has no list of items"),
    (
        open_identity,
        "{identity} may be read by others: expected mode 0600, got 0640: it opens the vault\n"
        "  next: chmod 600 {identity}, and replace the secrets if others have been here",
    ),
    (link_identity, "cannot read {identity}: it is a symbolic link"),
    (link_vault, "cannot read {vault}: it is a symbolic link"),
    (pipe, "{vault} is not a file\n  next: move it away: mv {vault} {vault}.old"),
    (folder, "cannot read {vault}: is a directory"),
]


@pytest.mark.parametrize(("fault", "words"), [pytest.param(*each, id=each[0].__name__) for each in FAULTS])
def test_each_fault_has_its_words_and_nothing_is_touched(
    filled: AgeStore, fault: Callable[[AgeStore], None], words: str
) -> None:
    """For reading and for writing: the file is left as it was found, so that a backup or a repair can follow."""
    fault(filled)
    before = looks(filled.folder)
    for use in (filled.list, filled.status, filled.export, lambda: save_password(filled, "key", Secret("two"))):
        with pytest.raises(ConfigurationFailure) as failed:
            use()

        assert str(failed.value) == words.format(vault=filled.path, identity=filled.identity_path)
        assert failed.value.exit_status == 78
    assert looks(filled.folder) == before


@needs_root
@pytest.mark.parametrize("name", ["vault.age", "vault-identity.txt"])
def test_a_file_of_somebody_else_is_refused(filled: AgeStore, name: str) -> None:
    """They could have put it there for us to fill."""
    path = filled.folder / name
    os.chown(path, SOMEBODY, SOMEBODY)
    for use in (filled.list, lambda: save_password(filled, "key", Secret("two"))):
        with pytest.raises(ConfigurationFailure, match=f"^{path} belongs to user {SOMEBODY}, not to us"):
            use()


def test_a_full_disk_leaves_the_old_value(filled: AgeStore) -> None:
    """The file cannot grow over a limit, as on a full disk."""
    code = """
        import resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        save_password(vault, "key", Secret("x" * 100_000))
    """
    child = python(code, filled.folder)
    _, stderr = child.communicate(timeout=50)

    assert f"{NotSaved.__name__}: cannot write {filled.path}: file too large" in stderr
    assert filled.get("key").password == Secret("one")
    assert sorted(path.name for path in filled.folder.iterdir()) == ["vault-identity.txt", "vault.age", "vault.lock"]


AT_ONCE = """
    go, gate = os.pipe()
    for number in range(int(sys.argv[2])):
        if os.fork() == 0:
            os.close(gate)
            os.read(go, 1)
            write(f"value {number}")
            sys.stdout.flush()
            os._exit(0)
    os.close(gate)
    statuses = {os.wait()[1] for _ in range(int(sys.argv[2]))}
    assert statuses == {0}, statuses
"""


def at_once(vault: AgeStore, write: str) -> list[str]:
    """Run the function `write(value)` in twenty processes that start together; return the lines that they printed."""
    return output(python(textwrap.dedent(write) + textwrap.dedent(AT_ONCE), vault.folder, WRITERS)).splitlines()


def test_twenty_writers_at_once_lose_no_update(vault: AgeStore) -> None:
    """None of them finds a vault. Each replaced value is known by its follower: one unbroken chain, one item."""
    write = """
        def write(value):
            while True:
                try:
                    before = vault.get("key")
                except NoSuchItem:
                    before = Item("key")
                try:
                    vault.put(replace(before, password=Secret(value)), expect=before.revision or None)
                except Conflict:
                    continue
                print(f"{before.password.reveal() or 'nothing'}>{value}")
                return
    """
    followers = dict(line.split(">") for line in at_once(vault, write))
    chain = ["nothing"]
    while chain[-1] in followers:
        chain.append(followers[chain[-1]])
    item = vault.get("key")

    assert sorted(chain[1:]) == sorted(f"value {number}" for number in range(WRITERS))
    assert [ref.name for ref in vault.list()] == ["key"]
    assert [item.password, *item.history] == [Secret(value) for value in chain[::-1][:6]]


def test_twenty_saves_at_once_all_come_through(filled: AgeStore) -> None:
    """The save of the key loop: nobody is told "busy", the item is not doubled."""
    write = """
        def write(value):
            print(save_password(vault, "key", Secret(value)).kept)
    """
    kept = sorted(at_once(filled, write))
    item = filled.get("key")

    assert kept == ["1", "2", "3", "4", *["5"] * (WRITERS - 4)]
    assert len({item.password, *item.history}) == 6
    assert len(filled.list()) == 1


def test_writers_of_different_items_do_not_lose_each_others(vault: AgeStore) -> None:
    """The file is one, so the whole of it is read and written under the lock."""
    write = """
        def write(value):
            save_password(vault, value, Secret("x"))
    """
    at_once(vault, write)

    assert [ref.name for ref in vault.list()] == sorted(f"value {number}" for number in range(WRITERS))


KILLED = """
    import itertools, random, select, signal

    for round_ in range(int(sys.argv[2])):
        if round_ % 4 == 0:
            vault = AgeStore(Path(sys.argv[1]) / str(round_))
        before = vault.get("key").password.reveal() if vault.list() else None
        writer = os.fork()
        if writer == 0:
            for number in itertools.count():
                save_password(vault, "key", Secret(f"{round_}-{number}"))
        select.select([], [], [], random.uniform(0, 0.02))
        os.kill(writer, signal.SIGKILL)
        os.waitpid(writer, 0)
        if vault.list():
            item = vault.get("key")
            now = item.password.reveal()
            if now != before:
                of_round, number = map(int, now.split("-"))
                expected = f"{round_}-{number - 1}" if number else before
                assert of_round == round_
                assert [old.reveal() for old in item.history][:1] == [expected] * bool(expected)
        else:
            assert before is None
        save_password(vault, "key", Secret(f"{round_}-999999"))
        assert vault.get("key").password.reveal() == f"{round_}-999999"
        assert len(vault.list()) == 1
    print("whole")
"""


def test_a_writer_killed_at_any_moment_leaves_the_old_value_or_the_new(vault: AgeStore) -> None:
    """In a new vault too, where the identity is made; and the next write works at once, for no lock is left."""
    assert output(python(KILLED, vault.folder, KILLS)) == "whole\n"
