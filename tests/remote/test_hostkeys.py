"""Host keys: what is known, who says so, and that no two commands lose each other's first contact."""

import base64
import hashlib
import hmac
import multiprocessing
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import Refused
from tasks.remote import hostkeys
from tasks.remote.hostkeys import HostKey, Known, Store, Verifier


def key(seed: str, kind: str = "ssh-ed25519") -> HostKey:
    """Return a key whose blob is well formed; nobody signs with it."""
    body = len(kind).to_bytes(4) + kind.encode() + hashlib.sha256(seed.encode()).digest()
    return HostKey(kind, base64.b64encode(body).decode())


def line(who: str, of: HostKey) -> str:
    """Return a line of known_hosts."""
    return f"{who} {of.kind} {of.blob}\n"


A, B, C = key("a"), key("b"), key("c", "ssh-rsa")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a project's known_hosts, not yet there."""
    return Store(tmp_path / "state" / "known_hosts")


def written(store: Store, text: str) -> Store:
    """Write known_hosts."""
    store.file.parent.mkdir(exist_ok=True)
    store.file.write_text(text)
    return store


def test_a_fingerprint_is_that_of_ssh_keygen(tmp_path: Path) -> None:
    """So that a person can compare them."""
    path = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    listed = subprocess.run(["ssh-keygen", "-lf", path], capture_output=True, text=True, check=True)
    read = hostkeys.parse_key(path.with_suffix(".pub").read_text())

    assert read is not None
    assert read.fingerprint == listed.stdout.split()[1]


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 !", "ssh-rsa " + A.blob, "ssh-ed25519 " + A.blob[:13], "x y z"]
)
def test_what_is_no_key_is_none(text: str) -> None:
    """A torn line does not repeat its type."""
    assert hostkeys.parse_key(text) is None


def test_one_bad_line_harms_nothing(store: Store) -> None:
    """paramiko's reader gives the whole file up."""
    written(
        store,
        f"# comment\n\nweb ssh-ed25519 AAAA\n@cert-authority * {A.kind} {A.blob}\n\x00\xff\nweb\n" + line("web", B),
    )

    assert store.known("web", 22) == Known((B,))


@pytest.mark.parametrize(
    ("who", "name", "port", "about"),
    [
        *[("web,db", "db", 22, True), ("WEB", "web", 22, True), ("web", "Web", 22, True), ("web", "web2", 22, False)],
        *[("*.test", "web.test", 22, True), ("w?b", "web", 22, True), ("*.test,!web.test", "web.test", 22, False)],
        *[("[web]:2222", "web", 2222, True), ("web", "web", 2222, False), ("[web]:2222", "web", 22, False)],
        *[("[*.test]:2222", "web.test", 2222, True), ("[we]b", "web", 22, False)],
    ],
)
def test_a_line_names_hosts_as_openssh_reads_it(store: Store, who: str, name: str, port: int, about: bool) -> None:
    """Lists, wildcards, negation, ports."""
    written(store, line(who, A))

    assert store.known(name, port) == Known((A,) if about else ())


def test_hashed_names_are_read(store: Store) -> None:
    """As `HashKnownHosts yes` writes them; a broken hash names nobody."""
    salt = b"salt" * 5
    digest = hmac.new(salt, b"[web]:2222", hashlib.sha1).digest()
    who = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    written(store, line(who, A) + line("|1|x", B) + line("|1|!|!", B))

    assert store.known("web", 2222) == Known((A,))
    assert store.known("other", 2222) == Known(())


def test_what_the_tailnet_publishes_is_all_that_counts_on_port_22(store: Store) -> None:
    """Tailscale SSH answers there; another port is another server."""
    written(store, line("web", B) + line("[web]:2222", B))

    assert store.known("web", 22, [f"{A.kind} {A.blob}", "nonsense"]) == Known((A,), published=True)
    assert store.known("web", 2222, [f"{A.kind} {A.blob}"]) == Known((B,))


def test_the_names_in_the_file_are_told(store: Store) -> None:
    """For the doctor."""
    assert store.names() == set()
    assert written(store, line("web", A) + line("@revoked db", B) + line("db", B)).names() == {"web", "db"}


def test_a_first_key_is_appended_once_and_a_torn_line_before_it_is_closed(store: Store) -> None:
    """Nothing that stands there is rewritten."""
    written(store, "# mine\ndb ssh-ed25519 torn")
    for _ in range(2):
        store.add("Web.Test", 22, A)
    store.add("web.test", 2222, B)

    assert store.file.read_text() == f"# mine\ndb ssh-ed25519 torn\n{line('web.test', A)}{line('[web.test]:2222', B)}"


def test_the_file_is_private(store: Store) -> None:
    """Its folder too."""
    store.add("web", 22, A)

    assert store.file.stat().st_mode & 0o777 == 0o600
    assert store.file.parent.stat().st_mode & 0o777 == 0o700


def test_replacing_forgets_the_hosts_keys_and_nobody_elses(store: Store) -> None:
    """Comments, other hosts, revocations and wildcards stay."""
    salt = b"s" * 20
    digest = hmac.new(salt, b"web", hashlib.sha1).digest()
    hashed = f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
    kept = "# mine\n" + line("@revoked web", C)
    written(store, kept + line("web", A) + line("db,web", A) + line(hashed, A) + line("*eb", C))

    store.replace("web", 22, B)

    assert store.file.read_text() == kept + line("db", A) + line("*eb", C) + line("web", B)


def contact(file: Path, number: int) -> None:
    """Meet one host for the first time."""
    Store(file).add(f"host{number}", 22, key(str(number)))


def test_twenty_first_contacts_at_once_lose_none(store: Store) -> None:
    """Twenty processes, twenty lines."""
    processes = [
        multiprocessing.get_context("fork").Process(target=contact, args=(store.file, number)) for number in range(20)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert sorted(store.file.read_text().splitlines()) == sorted(
        line(f"host{number}", key(str(number))).strip() for number in range(20)
    )


def verifier(store: Store, *published: str, ask: Callable[[str], bool] | None = None, port: int = 22) -> Verifier:
    """Return what decides about web's key."""
    return Verifier(store, "shop", "web.test", port, published, ask)


def refusal(verifier: Verifier, shown: HostKey) -> str:
    """Return why the key is refused."""
    with pytest.raises(Refused) as caught:
        verifier.check(shown)
    return str(caught.value)


def test_a_known_key_is_accepted(store: Store) -> None:
    """From the file, or from the tailnet."""
    verifier(written(store, line("web.test", A))).check(A)
    verifier(store, f"{B.kind} {B.blob}").check(B)


def test_a_changed_key_is_refused_with_both_fingerprints_and_the_way_out(store: Store) -> None:
    """Nobody is asked."""
    changed = verifier(written(store, line("web.test", A)), ask=lambda _: True)

    assert refusal(changed, B) == (
        f"the host key of shop has changed: expected {A}, got {B}\n"
        "  next: if you know why: `inv remote.trust --host=shop --replace`"
    )


def test_a_key_of_another_kind_is_a_changed_key(store: Store) -> None:
    """A known host does not become unknown by showing its other key."""
    assert refusal(verifier(written(store, line("web.test", A))), C).startswith("the host key of shop has changed: ")


def test_a_key_that_the_tailnet_does_not_publish_is_refused(store: Store) -> None:
    """Even if the file knows it."""
    wrong = verifier(written(store, line("web.test", B)), f"{A.kind} {A.blob}")

    assert refusal(wrong, B) == (
        f"the host key of shop is not the one that the tailnet publishes: expected {A}, got {B}\n"
        "  next: ask who runs the host; the tailnet learns a new key within a minute"
    )


def test_a_revoked_key_is_refused_though_it_is_known(store: Store) -> None:
    """`@revoked *` too, and though the tailnet publishes it."""
    written(store, line("@revoked *", A) + line("web.test", A))

    assert refusal(verifier(store), A) == f"the host key of shop is revoked: {store.file} revokes {A}"
    assert refusal(verifier(store, f"{A.kind} {A.blob}"), A).startswith("the host key of shop is revoked")


def test_an_unknown_key_is_refused_where_nobody_can_be_asked(store: Store) -> None:
    """With the fingerprint and the command; nothing is written."""
    assert refusal(verifier(store), A) == (
        f"the host key of shop is unknown: it showed {A}, and nobody is there to be asked\n"
        "  next: compare the fingerprint, then `inv remote.trust --host=shop`"
    )
    assert not store.file.exists()


def test_a_certificate_authority_is_said_not_to_count(store: Store) -> None:
    """The line is there, and the host is unknown all the same."""
    written(store, line("@cert-authority *.test", A))

    assert f"{store.file} names a certificate authority for it, which is not supported" in refusal(verifier(store), B)


def test_a_person_decides_about_a_first_contact(store: Store) -> None:
    """Yes is kept, no is a refusal."""
    asked: list[str] = []

    def answer(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    assert refusal(verifier(store, ask=answer), A) == f"the host key of shop was not accepted: it showed {A}"
    verifier(store, ask=answer).check(A)
    verifier(store, ask=answer).check(A)

    assert asked == [f"shop (web.test) is new; its key is {A}. Trust it from now on?"] * 2
    assert store.file.read_text() == line("web.test", A)


def test_trust_keeps_a_new_key_and_says_when_it_was_known(store: Store) -> None:
    """Whoever calls it has decided."""
    assert verifier(store).trust(A, replace=False)
    assert not verifier(store).trust(A, replace=False)
    assert not verifier(store, f"{B.kind} {B.blob}").trust(B, replace=False)
    assert store.file.read_text() == line("web.test", A)


def test_trust_takes_a_changed_key_only_when_told_to(store: Store) -> None:
    """And then forgets the old one."""
    written(store, line("web.test", A))
    with pytest.raises(Refused, match=r"^the host key of shop has changed"):
        verifier(store).trust(B, replace=False)

    assert verifier(store).trust(B, replace=True)
    assert store.file.read_text() == line("web.test", B)


def test_trust_takes_neither_a_revoked_key_nor_one_against_the_tailnet(store: Store) -> None:
    """--replace is no way around either."""
    written(store, line("@revoked *", A))
    with pytest.raises(Refused, match="is revoked"):
        verifier(store).trust(A, replace=True)
    with pytest.raises(Refused, match="not the one that the tailnet publishes"):
        verifier(store, f"{B.kind} {B.blob}").trust(C, replace=True)


@given(st.text(max_size=200))
def test_no_text_stops_the_reader(text: str) -> None:
    """Whatever stands in the file."""
    for found in hostkeys.parse(text):
        assert found.key.fingerprint.startswith("SHA256:")
        found.is_about("web")
