"""The doctor finds what is wrong, says what mends it, and puts the verdict last."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from tasks.loopback import free_port
from tests.conftest import ROOT, Home, Inv

# Nothing is on PATH that the doctor would have to ask for its version.
NO_PROGRAMS = {"PROGRAMS_SOURCE": "download"}


def test_doctor_in_a_fresh_place_warns_but_does_not_fail(inv: Inv) -> None:
    """What comes by itself later is a warning with its command; the verdict is the last line."""
    ended = inv("doctor", environment={**NO_PROGRAMS, "TS_SOCKS5_SERVER": f"127.0.0.1:{free_port()}"})

    assert ended.exit_status == 0, ended.stdout
    lines = ended.stdout.splitlines()
    assert lines[-1].startswith("verdict: 0 failures, ")
    assert any("tailscale is not here yet" in line and "mend: inv programs.install" in line for line in lines)
    assert any("the network 'default' is down  mend: inv net.up" in line for line in lines)


def test_doctor_names_the_stranger_on_the_port(inv: Inv) -> None:
    """A taken port is a failure that names pid and program, and the exit status says so."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        ended = inv("doctor", "--json", environment={**NO_PROGRAMS, "TS_SOCKS5_SERVER": f"127.0.0.1:{port}"})

    assert ended.exit_status == 69
    found = json.loads(ended.stdout)
    (failure,) = [finding for finding in found["findings"] if finding["verdict"] == "FAILURE"]
    assert failure["topic"] == "daemon"
    assert f"port {port} is taken by " in failure["text"]
    assert failure["mend"] == f"set TS_SOCKS5_SERVER=127.0.0.1:{port + 1}"


def test_doctor_goes_on_after_a_broken_part(inv: Inv, home: Home) -> None:
    """A vault that cannot be opened is one finding among the others."""
    state = home.state / "platform-manager" / "default"
    state.mkdir(parents=True)
    (state / "vault.age").write_text("no vault")
    ended = inv("doctor", environment={**NO_PROGRAMS, "TS_SOCKS5_SERVER": f"127.0.0.1:{free_port()}"})

    assert ended.exit_status == 69
    assert "FAILURE  vault" in ended.stdout
    assert "OK       inventory" in ended.stdout
    assert "verdict: 1 failures" in ended.stdout


@pytest.mark.parametrize(
    ("version", "verdict", "words"),
    [
        ("2026.1.0", "warning", "bw 2026.1.0 may print a session and leave the vault locked"),
        ("2026.4.0", "FAILURE", "bw 2026.4.0 was malicious on npm for ninety minutes on 2026-04-22"),
        ("2026.9.0", "warning", "bw 2026.9.0 ends its first login with KeyIdBackfillError on older servers"),
        ("2026.9.0", "warning", "bw 2026.9.0 wants Node >=22, the node on PATH is 20.20.2"),
    ],
)
def test_doctor_knows_the_bw_that_are_broken(inv: Inv, home: Home, version: str, verdict: str, words: str) -> None:
    """On PATH, where their owner types them, even while ours is another; with what mends it."""
    sound, theirs = home.cache / "platform-manager" / "programs" / "bw-2026.6.0-npm", home.home / "bin"
    _put_bw(sound, "2026.6.0", ">=20")
    _put_bw(theirs, version, ">=22")
    (theirs / "node").write_text("#!/bin/sh\necho v20.20.2\n")
    (theirs / "node").chmod(0o755)
    environment = {"VAULT": "bitwarden", "PATH": f"{theirs}{os.pathsep}{os.environ['PATH']}"}
    ended = inv("doctor", "--json", environment={**environment, "TS_SOCKS5_SERVER": f"127.0.0.1:{free_port()}"})
    findings = [each for each in json.loads(ended.stdout)["findings"] if each["topic"] == "vault"]

    found = [each for each in findings if each["text"].startswith(words)]
    assert [each["verdict"] for each in found] == [verdict], findings
    assert "`inv programs.install --name=bw` brings the pinned one" in found[0]["mend"]
    assert any("bitwarden: signed out (bitwarden.com" in each["text"] for each in findings)


def _put_bw(folder: Path, version: str, node: str) -> None:
    """Install the fake bw as npm would a version of the real one."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "tests" / "bin" / "bw", folder / "bw")
    (folder / "package.json").write_text(json.dumps({"version": version, "engines": {"node": node}}))
