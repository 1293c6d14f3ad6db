"""Our own `bw serve`: on a socket of ours alone, ended with us, and what it means when it does not answer."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from tasks import files
from tasks.errors import Failure, TimedOut
from tasks.vault.serve import Lost, Serve
from tests.conftest import ROOT
from tests.vault.conftest import FakePlace
from tests.waiting import until

KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.vault.bw import Account
from tasks.vault.serve import Serve
executable, folder, runtime = map(Path, sys.argv[1:])
account = Account(executable, folder, folder.with_name("account.lock"), runtime)
serve = Serve(account, None)
serve.ask("GET", "/status")
print(serve.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def signed_in_fake(fake: FakePlace) -> FakePlace:
    """Give a fake account that bw is signed in to."""
    fake.store().list()
    for session in fake.sessions:
        session.close()
    return fake


def test_it_answers_on_a_socket_of_ours_alone(signed_in_fake: FakePlace) -> None:
    serve = Serve(signed_in_fake.account, None)
    try:
        answer = serve.ask("GET", "/status")
        [socket] = signed_in_fake.account.runtime.glob("bw-*.sock")
        mode = socket.stat().st_mode & 0o777
    finally:
        serve.close()

    assert answer["template"]["status"] == "locked"
    assert mode == 0o600
    assert list(signed_in_fake.account.runtime.glob("bw-*")) == []


def test_it_ends_when_we_are_killed(signed_in_fake: FakePlace) -> None:
    account = signed_in_fake.account
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(account.executable), str(account.folder), str(account.runtime)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    pid = int(ended.stdout)

    assert until(lambda: not os.path.exists(f"/proc/{pid}"), what="end of bw serve")  # noqa: PTH110
    # The socket it left is swept away by the next one.
    Serve(account, None).close()
    assert list(account.runtime.glob("bw-*")) == []


def test_its_last_words_say_why_it_ended(fake: FakePlace) -> None:
    files.private_folder(fake.account.folder)
    serve = Serve(fake.account, None)
    with pytest.raises(Lost) as caught:
        serve.ask("GET", "/status")

    assert (caught.value.cause, caught.value.exit_status) == ("signed-out", 69)
    assert "bw serve said: You are not logged in" in str(caught.value)


def test_a_missing_node_is_told_as_such(fake: FakePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """To run it again helps nobody."""
    files.private_folder(fake.account.folder)
    program = fake.account.folder.with_name("bw")
    program.write_text("#!/usr/bin/env node\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    serve = Serve(replace(fake.account, executable=program), None)
    with pytest.raises(Lost) as caught:
        serve.ask("GET", "/status")

    assert (caught.value.what, caught.value.cause) == ("bw runs by Node, and there is no node on PATH", "no-node")
    assert caught.value.next_step == "put Node 20 or newer on PATH, then run it again"


def test_no_answer_within_the_deadline_ends_it(signed_in_fake: FakePlace) -> None:
    signed_in_fake.serve(faults=[{"on": "GET /status", "hang": True}])
    serve = Serve(signed_in_fake.account, None)
    with pytest.raises(TimedOut) as caught:
        serve.ask("GET", "/status", deadline=0.5)

    assert str(caught.value) == (
        "vault.example did not answer within 0.5 s: bw serve status went on waiting; it has no time limit of its own\n"
        "  next: look at the server, then run it again"
    )
    assert not serve.is_alive()


def test_a_complaint_is_a_failure_of_its_kind(signed_in_fake: FakePlace) -> None:
    serve = Serve(signed_in_fake.account, None)
    try:
        with pytest.raises(Failure) as caught:
            serve.ask("GET", "/list/object/items")
    finally:
        serve.close()

    assert (caught.value.what, caught.value.cause) == ("the vault is locked", "locked")
