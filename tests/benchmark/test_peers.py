"""What is compared over many hosts is what people would type, with nothing of theirs in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.peers import COMMAND, OURS, Ground, Tool, write_files
from tasks import settings
from tasks.lab.fleet import FleetHost

HOSTS = (FleetHost("host1", "node1", 21001), FleetHost("host2", "node2", 21002))


def ground(folder: Path, hosts: tuple[FleetHost, ...] = HOSTS) -> Ground:
    """Return a place for them in that folder, where their programs are too."""
    return Ground(folder, settings.load({}, root=folder), folder, 5, {"PATH": os.environ["PATH"]}, hosts)


def tools(place: Ground) -> dict[str, Tool]:
    """Return them by name."""
    return {tool.name: tool for tool in place.tools()}


def test_ours_is_the_command_for_many_or_for_one(tmp_path: Path) -> None:
    """As somebody would type it."""
    many, one = (tools(ground(tmp_path, hosts))[OURS].argv[2:] for hosts in (HOSTS, HOSTS[:1]))

    assert many == ("remote.run", "--hosts=fleet", "--forks=5", f"--command={COMMAND}")
    assert one == ("remote.run", "--host=host1", f"--command={COMMAND}")


def test_the_peers_have_a_home_of_their_own(tmp_path: Path) -> None:
    """Ours needs none: it reads no configuration of the person's."""
    homes = {tool.name: tool.environment.get("HOME") for tool in ground(tmp_path).tools()}

    assert homes.pop(OURS) is None
    assert set(homes.values()) == {str(tmp_path)}


@pytest.mark.parametrize("program", ["parallel-ssh", "pssh"])
def test_pssh_is_compared_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """By either of its names; it is no Python package any more."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "pssh" not in tools(ground(tmp_path))

    (tmp_path / program).symlink_to("/bin/true")
    assert tools(ground(tmp_path))["pssh"].argv[0] == str(tmp_path / program)


def test_ssh_runs_for_each_host_though_one_fails(tmp_path: Path) -> None:
    """The words of the command stay one word."""
    place = ground(tmp_path)
    write_files(place)
    (tmp_path / "ssh").write_text('#!/bin/sh\necho "$@"\nexit 255\n')
    (tmp_path / "ssh").chmod(0o755)
    tool = tools(place)["ssh, xargs -P"]
    environment = {**tool.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.run(tool.argv, env=environment, capture_output=True, text=True, timeout=20, check=False).stdout

    assert sorted(said.splitlines()) == [f"-F {tmp_path}/ssh_config {host.name} {COMMAND}" for host in HOSTS]


def test_the_files_name_every_host(tmp_path: Path) -> None:
    """In the format of each tool."""
    write_files(ground(tmp_path))

    assert (tmp_path / "names").read_text() == "host1\nhost2\n"
    assert (tmp_path / "addresses").read_text() == "node1.lab.test 21001\nnode2.lab.test 21002\n"
    assert "Host host2\n  HostName node2.lab.test\n  Port 21002\n" in (tmp_path / "ssh_config").read_text()
    loaded = [sys.executable, "-c", "from inventory import hosts; print([name for name, _ in hosts])"]
    shown = subprocess.run(loaded, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=True).stdout
    assert shown == "['host1', 'host2']\n"
