"""One run of bw: what its child sees, when it failed, and what its data folder is called."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.errors import Failure, TimedOut
from tasks.secret import Secret
from tasks.vault import bw
from tasks.vault.bw import Account, account_name, environment, run
from tests.vault.conftest import FakePlace


def test_a_child_sees_what_is_listed_and_nothing_else(fake: FakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BW_CLEANEXIT", "BITWARDENCLI_DEBUG", "BW_PASSWORD", "BW_SESSION", "TS_AUTHKEY", "NODE_PATH"):
        monkeypatch.setenv(name, "anything")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/ca.pem")
    seen = environment(fake.account, BW_SESSION=Secret("the session"))

    assert {name: value for name, value in seen.items() if name.startswith(("BW", "BITWARDEN", "NODE"))} == {
        "BITWARDENCLI_APPDATA_DIR": str(fake.account.folder),
        "BW_NOINTERACTION": "true",
        "BW_SESSION": "the session",
        "NODE_EXTRA_CA_CERTS": "/ca.pem",
        "NODE_OPTIONS": "--unhandled-rejections=warn",
    }
    assert "TS_AUTHKEY" not in seen


def test_a_run_returns_what_was_printed(fake: FakePlace) -> None:
    assert run(fake.account, "config", "server", "https://vault.example") == "Saved setting `config`."


def test_success_without_a_word_is_a_failure(fake: FakePlace, tmp_path: object) -> None:
    """bw ends so when it wanted to ask somebody."""
    silent = Account(**{**vars(fake.account), "executable": "/bin/true"})
    with pytest.raises(Failure) as caught:
        run(silent, "unlock")

    assert str(caught.value) == (
        "bw unlock failed on vault.example: it printed nothing\n  next: `inv vault.status` shows how the vault is"
    )


@pytest.mark.parametrize("asks", [False, True], ids=["run", "conversation"])
def test_a_server_that_hangs_is_told_with_the_step(
    fake: FakePlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    monkeypatch.setattr(bw, "DEADLINE", 0.3)
    hanging = tmp_path / "bw"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n")
    hanging.chmod(0o755)
    account = replace(fake.account, executable=hanging)
    with pytest.raises(TimedOut) as caught:
        if asks:
            bw.converse(account, "login", variables=environment(account), reply=lambda _said: "")
        else:
            run(account, "login")

    assert str(caught.value) == (
        "vault.example did not answer within 0.3 s: bw login went on waiting; it has no time limit of its own\n"
        "  next: look at the server, then run it again"
    )


def test_a_data_folder_belongs_to_one_server_and_one_account() -> None:
    names = {
        account_name(server, who)
        for server in ("", "https://vault.example", "https://vault.example:8443")
        for who in ("user.1", "someone@example.com")
    }

    assert len(names) == 6
    assert account_name("https://vault.example", "A@b.c") == account_name("https://vault.example", "a@B.c")
    assert account_name("https://vault.example:8443/x", "").startswith("vault.example_8443_x-")
