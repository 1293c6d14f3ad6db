"""The commands programs.install and programs.list, run as a person runs them."""

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.conftest import INV, ROOT, Home, Inv
from tests.programs.conftest import put_program
from tests.waiting import until

BLOCKED_GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.26.6 linux/amd64"; exit; fi
echo $$ >"$HOME/go.pid"
exec sleep 60
"""


def test_list_shows_what_is_wanted_and_what_is_here(inv: Inv, bin_folder: Path) -> None:
    put_program(bin_folder, "headscale", "#!/bin/sh\necho headscale version v0.30.1\n")

    shown = inv("programs.list")

    assert shown.exit_status == 0
    assert [line.split() for line in shown.stdout.splitlines()] == [
        ["PROGRAM", "WANTED", "HERE", "FROM", "EXECUTABLES"],
        ["tailscale", "1.102.4", "-", "-", "-"],
        ["headscale", "0.29.3", "0.30.1", "path", str(bin_folder / "headscale")],
        ["bw", "2026.6.0", "-", "-", "-"],
    ]


def test_list_as_json(inv: Inv, bin_folder: Path) -> None:
    assert bin_folder.exists()

    assert json.loads(inv("programs.list", "--json").stdout) == [
        {"program": name, "wanted": version, "here": None, "from": None, "executables": None}
        for name, version in (("tailscale", "1.102.4"), ("headscale", "0.29.3"), ("bw", "2026.6.0"))
    ]


def test_install_uses_what_is_on_path(inv: Inv, bin_folder: Path) -> None:
    put_program(bin_folder, "headscale", "#!/bin/sh\necho headscale version v0.29.3\n")

    ended = inv("programs.install", "--name=headscale")

    assert (ended.exit_status, ended.stdout) == (0, f"headscale 0.29.3: {bin_folder / 'headscale'} (path)\n")


def test_install_fails_with_one_error(inv: Inv, bin_folder: Path) -> None:
    assert bin_folder.exists()

    ended = inv("programs.install", environment={"PROGRAMS_SOURCE": "go"})

    assert (ended.exit_status, ended.stdout) == (69, "")
    assert "error: cannot get tailscale 1.102.4: there is no go on PATH\n  next: one of three: " in ended.stderr


def test_unknown_name_and_unknown_source_have_their_own_exit_status(inv: Inv) -> None:
    assert inv("programs.install", "--name=wireguard").exit_status == 64
    assert inv("programs.list", environment={"PROGRAMS_SOURCE": "brew"}).exit_status == 78


def test_dry_run_installs_nothing(inv: Inv, bin_folder: Path, home: Home) -> None:
    assert bin_folder.exists()

    ended = inv("--dry", "programs.install", environment={"PROGRAMS_SOURCE": "go"})

    assert (ended.exit_status, ended.stdout.splitlines()) == (
        0,
        ["would install tailscale 1.102.4 (PROGRAMS_SOURCE=go)", "would install headscale 0.29.3 (PROGRAMS_SOURCE=go)"],
    )
    assert list(home.cache.iterdir()) == []


def test_interrupted_build_ends_go_and_leaves_nothing(bin_folder: Path, home: Home) -> None:
    put_program(bin_folder, "go", BLOCKED_GO)
    with subprocess.Popen(
        [INV, "programs.install", "--name=headscale"],
        env={**os.environ, "PROGRAMS_SOURCE": "go"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    ) as child:
        pid = home.home / "go.pid"
        until(lambda: pid.exists() and pid.read_text().strip(), what="go")
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=20)

    assert child.returncode == 130
    assert stderr.endswith(b"interrupted\n")
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
    folder = home.cache / "platform-manager" / "programs"
    assert [path.name for path in folder.iterdir()] == ["headscale-0.29.3.lock"]
