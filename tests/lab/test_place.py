"""One lab as a whole, as far as no program is needed: what it takes for itself, and what it leaves alone."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tasks.errors import ConfigurationFailure, Failure, Unavailable, UsageFailure
from tasks.lab.place import KNOBS, Lab, Programs
from tests.conftest import Home
from tests.net.conftest import FAKES
from tests.waiting import until

NOWHERE = Programs(Path("/nowhere/headscale"), Path("/nowhere/tailscale"), Path("/nowhere/tailscaled"))


@pytest.fixture
def lab(home: Home) -> Lab:
    """Return a lab that is not up."""
    return Lab("lab", home.state / "lab", home.runtime / "lab")


def test_a_lab_that_never_was_is_down_and_stays_so(lab: Lab, home: Home) -> None:
    assert (lab.is_up(), lab.running_hosts(), lab.processes()) == (False, (), [])
    assert not lab.stop()
    assert [path.name for path in home.state.iterdir()] == []


def test_a_socket_file_alone_is_no_lab(lab: Lab) -> None:
    lab.runtime_folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(lab.runtime_folder / "headscale.sock"))

    assert not lab.is_up()


def test_names_are_checked_before_anything_is_made(lab: Lab, home: Home) -> None:
    with pytest.raises(UsageFailure):
        lab.with_programs(NOWHERE).start(["no/name"], proxy_port=1055, say=print)

    assert list(home.state.iterdir()) == []


def test_programs_that_are_missing_are_named(lab: Lab) -> None:
    with pytest.raises(Unavailable) as caught:
        lab.start(["web1"], proxy_port=1055, say=print)
    assert caught.value.what == "the programs of the lab 'lab' are not installed"

    with pytest.raises(Failure) as other:
        lab.with_programs(NOWHERE).start(["web1"], proxy_port=1055, say=lambda _text: None)
    assert other.value.what == "cannot start /nowhere/headscale"
    assert lab.stop()


def test_a_lab_that_was_killed_is_told_before_anything_starts(lab: Lab) -> None:
    """What is left of it (users, keys, nodes that know another port) cannot go on; what to run is said."""
    lab.folder.mkdir(parents=True)
    (lab.folder / "db.sqlite").touch()
    with pytest.raises(ConfigurationFailure) as caught:
        lab.with_programs(NOWHERE).start(["web1", "db1"], proxy_port=1055, say=print)

    assert str(caught.value) == (
        "an earlier lab was not taken down, and what is left of it cannot go on\n"
        "  next: `inv lab.down lab.up --hosts=web1,db1` makes it anew"
    )


def test_no_key_without_a_lab(lab: Lab) -> None:
    with pytest.raises(Unavailable) as caught:
        lab.make_key("good")

    assert str(caught.value) == "the lab is down\n  next: `inv lab.up`"


def test_whoever_only_names_its_folder_survives_its_end(lab: Lab) -> None:
    """An editor, a pager, or the shell that runs `inv lab.down` itself."""
    lab.folder.mkdir(parents=True)
    script = f"sleep 60; : {lab.folder}/headscale.yaml {lab.runtime_folder}/x"
    with subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True) as reader:
        until(lambda: Path(f"/proc/{reader.pid}/cmdline").read_bytes().startswith(b"/bin/sh"), what="start")
        assert lab.stop()
        assert reader.poll() is None
        os.killpg(reader.pid, 9)
    assert not lab.state_folder.exists()


def test_its_end_takes_the_suites_own_node_and_all_that_it_marked(lab: Lab) -> None:
    """With their children; other daemons stay."""
    for folder in (lab.folder, lab.runtime_folder, lab.runtime_folder.with_name("other")):
        folder.mkdir(parents=True)
    ours = daemon(lab.state_folder, lab.runtime_folder)
    other = daemon(lab.state_folder.with_name("other"), lab.runtime_folder.with_name("other"))
    marked = subprocess.Popen(["/bin/sleep", "60"], env={**os.environ, "PLATFORM_LAB": str(lab.folder)})
    until(lambda: len(list(lab.runtime_folder.parent.glob("*/tailscaled.sock"))) == 2, what="start of both daemons")
    assert lab.stop()

    assert (ours.wait(5), marked.wait(5), other.poll()) == (0, -15, None)
    other.kill()
    other.wait()


def daemon(state: Path, runtime: Path) -> "subprocess.Popen[bytes]":
    """Start a fake tailscaled there, without a proxy."""
    state.mkdir(exist_ok=True)
    words = (f"--state={state}/tailscaled.state", f"--socket={runtime}/tailscaled.sock", "--socks5-server=127.0.0.1:0")
    return subprocess.Popen([FAKES / "tailscaled", *words], stderr=subprocess.DEVNULL)


def test_what_keeps_it_on_this_machine() -> None:
    """Every daemon of the tailnet, the suite's own included, gets these."""
    assert set(KNOBS) == {
        "TS_DEBUG_USE_DERP_HTTP",
        "TS_DISABLE_PORTMAPPER",
        "TS_PANIC_IF_HIT_MAIN_CONTROL",
        "TS_DEBUG_OMIT_LOCAL_ADDRS",
        "TS_ASSUME_NETWORK_UP_FOR_TEST",
    }
