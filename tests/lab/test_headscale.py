"""The lab's control server: a configuration that asks the internet for nothing, and failures in its own words."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.errors import Failure, Unavailable
from tasks.lab.headscale import CONFIGURATION, Headscale
from tests.conftest import Home

KEY = "hskey-auth-abcdefghijkl-secret"


def headscale(home: Home, script: str) -> Headscale:
    """Return one whose program is this shell script; `serve` and calls both run it."""
    program = home.folder / "headscale"
    program.write_text(f'#!/bin/sh\necho "$@" >>"$HOME/calls"\n{script}\n')
    program.chmod(0o755)
    return Headscale(program, home.state / "lab", home.runtime / "headscale.sock", dict(os.environ))


def calls(home: Home) -> list[str]:
    """Return what its program was called with, after its configuration."""
    lines = (home.home / "calls").read_text().splitlines()
    prefix = f"--config {home.state}/lab/headscale.yaml "
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def configuration() -> dict[str, Any]:
    """Return the configuration as headscale reads it."""
    text = CONFIGURATION.format(port=1, stun_port=2, folder="/f", socket="/s", domain="lab.test")
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded


def test_everything_listens_on_loopback() -> None:
    loaded = configuration()
    derp = loaded["derp"]["server"]

    assert (loaded["server_url"], loaded["listen_addr"]) == ("http://127.0.0.1:1", "127.0.0.1:1")
    assert (loaded["grpc_listen_addr"], loaded["metrics_listen_addr"]) == ("127.0.0.1:0", "")
    assert (derp["stun_listen_addr"], derp["ipv4"], derp["enabled"]) == ("127.0.0.1:2", "127.0.0.1", True)


def test_nobody_on_the_internet_is_asked() -> None:
    loaded = configuration()

    assert loaded["disable_check_updates"] is True
    assert (loaded["derp"]["urls"], loaded["derp"]["auto_update_enabled"]) == ([], False)
    assert loaded["logtail"] == {"enabled": False}
    assert loaded["dns"]["nameservers"] == {"global": [], "split": {}}


def test_keys_are_made_by_its_command_line(home: Home) -> None:
    server = headscale(home, f"""echo '{{"id": "7", "key": "{KEY}"}}'""")
    single = server.create_key(3, reusable=False, tags=("tag:web",))
    server.create_key(3, reusable=True)
    server.expire_key(7)
    server.delete_key(7)

    assert (single.number, single.key.reveal()) == (7, KEY)
    assert KEY not in repr(single)
    assert calls(home) == [
        "preauthkeys create --user 3 --expiration 365d --tags tag:web --output json",
        "preauthkeys create --user 3 --expiration 365d --reusable --output json",
        "preauthkeys expire --id 7 --output json",
        "preauthkeys delete --id 7 --output json",
    ]


def test_users_are_made_and_found(home: Home) -> None:
    assert headscale(home, """echo '{"id": "1"}'""").create_user() == 1
    assert headscale(home, """echo '[{"id": "2"}]'""").user() == 2
    assert calls(home) == ["users create lab --output json", "users list --output json"]


def test_a_call_that_fails_says_which_and_why_without_a_key(home: Home) -> None:
    server = headscale(home, f"echo 'rpc error: {KEY} is taken' >&2; exit 1")
    with pytest.raises(Unavailable) as caught:
        server.create_user()

    assert str(caught.value) == "headscale users create failed: rpc error: **** is taken"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ('{\n\t"error": "creating user: UNIQUE constraint failed"\n}', "creating user: UNIQUE constraint failed"),
        ('WRN it is old\n{\n\t"error": "context deadline exceeded"\n}', "context deadline exceeded"),
        ("FTL a file {\nis missing", "is missing"),
        ('{"other": 1}', '{"other": 1}'),
        ('{"error": ""}', '{"error": ""}'),
        ("[1]", "[1]"),
    ],
)
def test_its_error_is_found_in_the_document_that_it_writes(home: Home, said: str, why: str) -> None:
    """Whose last line is a brace; what is no such document is told by its last line."""
    with pytest.raises(Unavailable) as caught:
        headscale(home, f"cat >&2 <<'END'\n{said}\nEND\nexit 1").create_user()

    assert caught.value.why == why


def test_one_that_ends_at_once_is_reported_with_the_end_of_its_log(home: Home) -> None:
    server = headscale(home, "echo cannot bind >&2; exit 1")
    with pytest.raises(Failure) as caught:
        server.start(("tag:web",))

    assert str(caught.value) == "headscale ended at once: its log ends with\n  cannot bind"
    assert "serve" in calls(home)
    assert all(path.stat().st_mode & 0o077 == 0 for path in (home.state / "lab").iterdir())


def test_a_configuration_names_its_process(home: Home) -> None:
    """By it, one lab's is told from another's."""
    assert headscale(home, "").configuration == Path(home.state / "lab" / "headscale.yaml")
