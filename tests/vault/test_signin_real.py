"""Signing in by password with the real bw: second steps, of which kind they may be, and codes that serve once."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tasks.errors import Failure
from tasks.secret import Secret
from tasks.vault.bitwarden import BitwardenStore
from tasks.vault.session import Session
from tasks.vault.signin import Person
from tests.conftest import Home
from tests.vault.conftest import account_of
from tests.vault.server import AUTHENTICATOR, BY_MAIL, TWO_STEP_CODE, Account, Server, serving
from tests.vault.server_crypto import LIGHT_ARGON2ID, Authority, Kdf

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

KEY = "Tailscale auth key"
Answer = Callable[[Server], str]
Become = Callable[[Account, Answer | None], "AbstractContextManager[Newcomer]"]


@dataclass
class Newcomer:
    """A place that has yet to sign in to its server by password: the vault as it finds it, and what is asked."""

    server: Server
    store: BitwardenStore
    host: str
    asked: list[str]


@pytest.fixture
def newcomer(authority: Authority, real_bw: Path, home: Home, monkeypatch: pytest.MonkeyPatch) -> Become:
    """Return a way to be one, with a person who answers, or nobody."""
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(authority.ca))

    @contextmanager
    def become(account: Account, answer: Answer | None) -> Iterator[Newcomer]:
        asked: list[str] = []
        with serving(authority, account) as server:
            server.put(KEY, "one")

            def ask(prompt: str) -> Secret:
                asked.append(prompt)
                return Secret(answer(server) if answer else "")

            own = account_of(server, real_bw, home.state / "data", home.runtime)
            own = replace(own, client_id="", client_secret=None, email=account.email)
            session = Session(own, Person(ask if answer else None, print))
            try:
                yield Newcomer(server, BitwardenStore(session), own.host, asked)
            finally:
                session.close()

    return become


def newest_mail(server: Server) -> str:
    """Return the code that a person finds in the newest mail."""
    return server.mailed[-1]


def of_the_app(_server: Server) -> str:
    """Return the code that the authenticator shows."""
    return TWO_STEP_CODE


@pytest.mark.parametrize("kdf", [Kdf(), LIGHT_ARGON2ID], ids=["PBKDF2", "Argon2id"])
def test_a_password_and_a_code_of_the_authenticator_sign_in(newcomer: Become, kdf: Kdf) -> None:
    account = Account(kdf=kdf, two_step=(AUTHENTICATOR,))
    with newcomer(account, of_the_app) as place:
        assert place.store.get(KEY).password == Secret("one")
        assert place.asked == [f"two-step code for {account.email} at {place.host} (hidden): "]


def test_an_account_without_a_second_step_is_asked_for_none(newcomer: Become) -> None:
    with newcomer(Account(), of_the_app) as place:
        assert place.store.get(KEY).password == Secret("one")
        assert place.asked == []


def test_a_code_by_e_mail_is_sent_once_and_serves(newcomer: Become) -> None:
    """A second request for one would send a new code, and the person's would be void."""
    with newcomer(Account(two_step=(BY_MAIL,)), newest_mail) as place:
        assert place.store.get(KEY).password == Secret("one")
        assert len(place.server.mailed) == 1


@pytest.mark.parametrize(("choice", "mails"), [("1", 0), ("2", 1)], ids=["the authenticator", "e-mail"])
def test_of_several_second_steps_a_person_chooses_one(newcomer: Become, choice: str, mails: int) -> None:
    """No mail goes out before it is chosen."""
    account = Account(two_step=(AUTHENTICATOR, BY_MAIL))

    def answer(server: Server) -> str:
        return choice if len(place.asked) == 1 else newest_mail(server) if mails else TWO_STEP_CODE

    with newcomer(account, answer) as place:
        assert place.store.get(KEY).password == Secret("one")
        assert len(place.server.mailed) == mails
        assert place.asked == [
            f"two-step login method for {account.email} at {place.host}: 1 = Authenticator App, 2 = Email (hidden): ",
            f"two-step code for {account.email} at {place.host} (hidden): ",
        ]


def test_a_wrong_code_is_told_and_nothing_of_what_was_typed(newcomer: Become) -> None:
    """bw draws its question anew with each character that it is given."""
    with newcomer(Account(two_step=(AUTHENTICATOR,)), lambda _server: "987012") as place:
        with pytest.raises(Failure) as caught:
            place.store.list()

        assert str(caught.value) == (
            f"{place.host} refuses the two-step code: bw login said: Two-step token is invalid. Try again\n"
            "  next: run it again and type the newest code, "
            "or sign in by the API key: set BW_CLIENTID and BW_CLIENTSECRET"
        )


@pytest.mark.parametrize(
    ("providers", "what"),
    [
        ((AUTHENTICATOR,), "asks for a two-step code"),
        ((AUTHENTICATOR, BY_MAIL), "asks for a two-step code, and the account has several ways to get one"),
        (("7",), "asks for a second step that bw has not, such as a passkey or Duo"),
    ],
    ids=["one", "several", "a passkey"],
)
def test_a_second_step_with_nobody_to_ask_is_told_with_a_way_out(
    newcomer: Become, providers: tuple[str, ...], what: str
) -> None:
    with newcomer(Account(two_step=providers), None) as place:
        with pytest.raises(Failure) as caught:
            place.store.list()

        assert caught.value.what == f"{place.host} {what}"
        assert (caught.value.exit_status, caught.value.cause) == (77, "two-step")
        assert "sign in by the API key: set BW_CLIENTID and BW_CLIENTSECRET" in caught.value.next_step
