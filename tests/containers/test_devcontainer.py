"""The dev container as an editor opens it: by the reference implementation, from devcontainer.json."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import ROOT
from tests.containers.engine import Engine

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

LABEL = "platform-manager.test=true"
WHERE = ("--workspace-folder", str(ROOT), "--id-label", LABEL)


@pytest.fixture
def container(engine: Engine, devcontainer: Callable[..., str]) -> Iterator[str]:
    """Open the dev container and return its id; it and its volume are removed afterwards."""
    try:
        opened = json.loads(devcontainer("up", *WHERE).splitlines()[-1])
        yield str(opened["containerId"])
    finally:
        for name in engine.docker("ps", "--all", "--quiet", f"--filter=label={LABEL}").split():
            _remove(engine, name)


def _remove(engine: Engine, container: str) -> None:
    """Remove the container, its volumes and the image that was made for it, and nothing else of a shared engine."""
    [inspected] = json.loads(engine.docker("inspect", container))
    engine.docker("rm", "--force", container)
    for mount in inspected["Mounts"]:
        if mount["Type"] == "volume":
            engine.docker("volume", "rm", mount["Name"])
    engine.docker("image", "rm", "--force", inspected["Config"]["Image"])


def test_merged_configuration_asks_for_no_privilege(devcontainer: Callable[..., str]) -> None:
    """What base image and features would add is merged in: the file alone would not tell."""
    read = json.loads(devcontainer("read-configuration", "--include-merged-configuration", *WHERE).splitlines()[-1])
    merged = read["mergedConfiguration"]

    assert not merged.get("privileged")
    assert not merged.get("capAdd")
    assert not merged.get("securityOpt")
    assert merged["runArgs"] == ["--cap-drop=ALL", "--security-opt=no-new-privileges"]


def test_opened_container_has_no_privilege(engine: Engine, container: str) -> None:
    [inspected] = json.loads(engine.docker("inspect", container))
    host = inspected["HostConfig"]

    assert (host["Privileged"], host["CapAdd"], host["CapDrop"]) == (False, None, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["Devices"] in (None, [])


def test_commands_run_in_it_as_the_user_whose_state_it_is(devcontainer: Callable[..., str], container: str) -> None:
    assert container
    script = "id -un; stat -c '%U %a' ~/.local/state; ./inv programs.list --json >/dev/null && echo works"

    assert devcontainer("exec", *WHERE, "sh", "-c", script).splitlines() == ["dev", "dev 700", "works"]
