"""Both sides of a comparison are typed as a person would, on one lab."""

import os
import sys
from pathlib import Path

from benchmark.place import HOST, Place
from tasks import settings


def place(folder: Path) -> Place:
    """Return one whose lab is not up."""
    environment = {"PATH": os.environ["PATH"], "TS_STATE_DIR": "/state", "TS_SOCKS5_SERVER": "127.0.0.1:4321"}
    return Place(folder, environment, settings.load(environment, root=folder), Path("tailscale"), Path("tailscaled"))


def test_theirs_goes_through_the_same_proxy_to_the_same_host(tmp_path: Path) -> None:
    """With the host's key checked, and nothing of the person's configuration."""
    ssh, scp = place(tmp_path).ssh("uname -a").argv, place(tmp_path).scp("here", f"{HOST}:there").argv

    assert (ssh[0], ssh[-2:], scp[0], scp[-2:]) == ("ssh", (HOST, "uname -a"), "scp", ("here", f"{HOST}:there"))
    for argv in (ssh, scp):
        assert {"none", "StrictHostKeyChecking=yes", "UserKnownHostsFile=/state/known_hosts"} <= set(argv)
        assert "ProxyCommand=nc -X 5 -x 127.0.0.1:4321 %h %p" in argv


def test_ours_is_the_real_inv(tmp_path: Path) -> None:
    """Of the environment that runs the benchmark."""
    assert place(tmp_path).inv("net.status").argv == (
        sys.executable,
        str(Path(sys.executable).with_name("inv")),
        "net.status",
    )


def test_the_shell_steps_are_a_cold_start_with_the_key_in_a_file(tmp_path: Path) -> None:
    """Never in an argument."""
    (tmp_path / "by-hand").mkdir()
    side = place(tmp_path).shell_steps(tmp_path / "key")
    side.before()

    assert f"--auth-key=file:{tmp_path}/key" in (tmp_path / "up.sh").read_text()
    assert not (tmp_path / "by-hand").exists()
