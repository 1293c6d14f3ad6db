"""The ways into an account: which one is taken, what is asked for, and what is said when something is missing."""

import json
import shutil
import threading
from dataclasses import replace

import pytest

from tasks import files
from tasks.errors import Failure
from tasks.secret import Secret
from tasks.vault.signin import REWRITING, Person, is_new, parse_session, password_of, sign_in, sign_in_anew
from tests.vault.conftest import FakePlace, login


def test_an_api_key_signs_in_and_the_secret_is_in_no_argument(fake: FakePlace) -> None:
    assert is_new(fake.account)
    assert sign_in(fake.account, Person(None, fake.said.append)) is None

    assert not is_new(fake.account)
    assert fake.said == ["signing in to vault.example (once for this machine)"]
    assert fake.asked() == ["config server https://vault.example", "login --apikey"]


def test_what_an_earlier_sign_in_left_beside_the_account_is_not_taken_for_a_new_one(fake: FakePlace) -> None:
    """As after a kill: bw would say that it is signed in already, and its copy would be an old one."""
    fake.serve(login("one", "old"))
    person = Person(None, fake.said.append)
    sign_in(fake.account, person)
    shutil.copytree(fake.account.folder, fake.account.folder.with_name("data.new"))
    fake.serve(login("one", "new"))
    sign_in_anew(fake.account, person)

    data = json.loads((fake.account.folder / "data.json").read_text())
    assert [item["login"]["password"] for item in data["items"]] == ["new"]
    assert not fake.account.folder.with_name("data.new").exists()


def test_an_e_mail_address_and_the_password_sign_in_and_open(fake: FakePlace) -> None:
    account = replace(fake.account, client_id="", email="a@example.com")
    session = sign_in(account, Person(None, fake.said.append))

    assert session is not None
    assert len(session.reveal()) == 88
    assert fake.asked()[-1] == "login a@example.com --passwordenv BW_PASSWORD --raw"


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"client_id": ""}, "not signed in to vault.example"),
        ({"client_secret": None}, "BW_CLIENTID is set, but BW_CLIENTSECRET is not"),
    ],
)
def test_what_is_missing_is_named(fake: FakePlace, changes: dict[str, object], what: str) -> None:
    with pytest.raises(Failure) as caught:
        sign_in(replace(fake.account, **changes), Person(None, fake.said.append))  # type: ignore[arg-type]

    assert (caught.value.what, caught.value.exit_status, caught.value.cause) == (what, 78, "no-login")
    assert "BW_CLIENTSECRET" in caught.value.next_step


def test_a_person_is_asked_for_the_password_that_is_not_given(fake: FakePlace) -> None:
    asked: list[str] = []

    def ask(prompt: str) -> Secret:
        asked.append(prompt)
        return Secret("typed")

    assert password_of(replace(fake.account, password=None), Person(ask, print)) == Secret("typed")
    assert asked == ["master password of the account at vault.example (hidden): "]
    assert password_of(fake.account, Person(ask, print)) == Secret("the master password")


def test_nobody_to_ask_names_the_variables(fake: FakePlace) -> None:
    with pytest.raises(Failure) as caught:
        password_of(replace(fake.account, password=None), Person(None, print))

    assert str(caught.value) == (
        "the bitwarden vault is locked, and there is nobody to ask for the master password\n"
        '  next: set BW_PASSWORD (or file:PATH in it), or BW_SESSION: `eval "$(inv vault.unlock)"`'
    )


def test_anything_but_88_characters_is_no_session() -> None:
    assert parse_session("A" * 88) == Secret("A" * 88)
    with pytest.raises(Failure) as caught:
        parse_session("Your vault is now unlocked!")
    assert caught.value.why == "expected 88 characters, got 27"


def test_a_data_file_that_bw_is_writing_is_no_new_account(fake: FakePlace) -> None:
    """bw truncates it first; whoever looks in that moment looks again."""
    fake.store().list()
    data = fake.account.folder / "data.json"
    content = data.read_text()
    data.write_text("")
    writer = threading.Timer(REWRITING / 20, data.write_text, [content])
    writer.start()

    assert not is_new(fake.account)
    writer.join()


def test_a_data_file_that_stays_empty_or_has_no_account_is_new(fake: FakePlace) -> None:
    """bw empties a damaged one, and one whose writing was cut short stays so."""
    files.private_folder(fake.account.folder)
    data = fake.account.folder / "data.json"
    for content in ("", '{\n  "stateVersion": 70\n}'):
        data.write_text(content)
        assert is_new(fake.account)
    data.unlink()
    assert is_new(fake.account)
