"""The lab's commands as far as no lab is needed; tests/real has the rest."""

import json

import pytest

from tests.conftest import Home, Inv


def test_a_lab_that_is_down_says_so(inv: Inv) -> None:
    shown, document, key = inv("lab.status"), inv("lab.status", "--json"), inv("lab.down")

    assert (shown.exit_status, shown.stderr) == (69, "error: the lab is down\n  next: `inv lab.up`\n")
    assert json.loads(document.stdout)["cause"] == "down"
    assert (key.exit_status, key.stdout) == (0, "lab was down already\n")


def test_dry_starts_and_removes_nothing(inv: Inv, home: Home) -> None:
    ended = inv("--dry", "lab.up", "--hosts=web1", "lab.key", "--used", "lab.down")

    assert (ended.exit_status, ended.stdout) == (0, "")
    made = "would start headscale and 1 hosts: web1\nwould make and print an auth key of the lab: used\n"
    assert ended.stderr.startswith(f"{made}would end 0 processes and remove ")
    assert list(home.state.iterdir()) == []


@pytest.mark.parametrize("kinds", [("--expired", "--used"), ("--used", "--revoked"), ("--expired", "--revoked")])
def test_a_key_is_of_one_kind(inv: Inv, kinds: tuple[str, str]) -> None:
    ended = inv("lab.key", *kinds)

    assert (ended.exit_status, ended.stdout) == (64, "")
    assert ended.stderr == "error: expected one of --expired, --used, --revoked\n"


def test_a_host_name_that_is_none_is_refused(inv: Inv, home: Home, real_programs: dict[str, str]) -> None:
    ended = inv("lab.up", "--hosts=Web_1", environment=real_programs)

    assert ended.exit_status == 64
    assert "error: --hosts: expected small letters, digits and dashes, got 'Web_1'\n" in ended.stderr
    assert [path for path in home.state.rglob("*") if path.is_file()] == []
