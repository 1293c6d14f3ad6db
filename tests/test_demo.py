"""The demo shows what it promises, needs no terminal, and leaves nothing behind."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import INV, ROOT, Home, Inv
from tests.waiting import until

KEY = "hskey-auth-"


@pytest.mark.real
def test_demo_shows_a_refused_key_an_accepted_one_the_vault_and_three_hosts(
    inv: Inv, home: Home, real_programs: dict[str, str]
) -> None:
    """The whole story is on stdout, no key is in it, and the demo's folders are gone afterwards."""
    ended = inv("demo", environment={**real_programs, "TS_AUTHKEY": "another-place", "VAULT": "nonsense"}, deadline=60)

    assert ended.exit_status == 0, ended.stderr
    story = ended.stdout
    assert "the key you typed was refused: authkey expired" in story
    assert "the accepted key is saved: the item 'Tailscale auth key' of the age vault is new" in story
    assert "item 'Tailscale auth key', saved 20" in story
    assert story.count("six times seven is 42") == 3
    assert "it ends with 7, and so would inv" in story
    assert KEY not in ended.stdout + ended.stderr
    assert not (home.state / "platform-manager" / "demo").exists()


def test_demo_with_dry_starts_nothing(inv: Inv, home: Home) -> None:
    """`--dry` says what would be done."""
    ended = inv("--dry", "demo")

    assert (ended.exit_status, ended.stdout) == (0, "")
    assert "would start a tailnet of 3 hosts" in ended.stderr
    assert list(Path(home.state).iterdir()) == []


@pytest.mark.real
def test_a_demo_whose_reader_has_gone_leaves_nothing(home: Home, real_programs: dict[str, str]) -> None:
    """`inv demo | head -1`: the fixture finds any process that is left."""
    script = ("sh", "-c", f"{INV} demo 2>/dev/null | head -1")
    environment = {**os.environ, **real_programs}
    ended = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, timeout=60, check=False)

    assert ended.stdout.startswith(b"1. A private tailnet")
    until(lambda: not (home.state / "platform-manager" / "demo").exists(), what="end of the demo")
