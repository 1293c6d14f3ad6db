"""The doctor finds what is wrong, says what mends it, and puts the verdict last."""

import json
import socket

from tests.conftest import Home, Inv

# Nothing is on PATH that the doctor would have to ask for its version.
NO_PROGRAMS = {"PROGRAMS_SOURCE": "download"}


def test_doctor_in_a_fresh_place_warns_but_does_not_fail(inv: Inv) -> None:
    """What comes by itself later is a warning with its command; the verdict is the last line."""
    ended = inv("doctor", environment={**NO_PROGRAMS, "TS_SOCKS5_SERVER": f"127.0.0.1:{_free_port()}"})

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
    ended = inv("doctor", environment={**NO_PROGRAMS, "TS_SOCKS5_SERVER": f"127.0.0.1:{_free_port()}"})

    assert ended.exit_status == 69
    assert "FAILURE  vault" in ended.stdout
    assert "OK       inventory" in ended.stdout
    assert "verdict: 1 failures" in ended.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
