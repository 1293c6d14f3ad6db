"""The dev container's files: no privilege is asked for, versions stand once, no secret reaches the image."""

import json
import re
from typing import Any

import pytest

from tasks.programs.pins import pinned
from tests.conftest import ROOT

FOLDER = ROOT / ".devcontainer"


@pytest.fixture
def configuration() -> dict[str, Any]:
    """Return what devcontainer.json holds: plain JSON, so that every tool reads it."""
    read: dict[str, Any] = json.loads((FOLDER / "devcontainer.json").read_text())
    return read


@pytest.fixture
def dockerfile() -> str:
    """Return the Dockerfile without its comments."""
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    return "\n".join(line for line in lines if not line.startswith("#"))


def test_container_gives_up_every_privilege(configuration: dict[str, Any]) -> None:
    assert configuration["runArgs"] == ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
    assert configuration["init"] is True
    assert not {"privileged", "capAdd", "securityOpt", "features"} & configuration.keys()


def test_everything_runs_as_the_images_ordinary_user(configuration: dict[str, Any], dockerfile: str) -> None:
    users = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)

    assert users == [configuration["containerUser"]] == [configuration["remoteUser"]] == ["dev"]


def test_state_lies_in_a_volume_whose_folder_the_image_makes(configuration: dict[str, Any], dockerfile: str) -> None:
    """A volume on a folder that the image lacks would be root's."""
    [mount] = configuration["mounts"]

    assert mount["type"] == "volume"
    assert "--owner=dev" in dockerfile
    assert f"--mode=700 /home/dev/.local {mount['target']}\n" in dockerfile


def test_base_image_is_an_argument_with_one_default(configuration: dict[str, Any], dockerfile: str) -> None:
    [default] = re.findall(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)

    assert configuration["build"]["args"] == {"BASE_IMAGE": f"${{localEnv:BASE_IMAGE:{default}}}"}
    assert "FROM ${BASE_IMAGE}\n" in dockerfile


def test_versions_and_sums_stand_in_the_pins_alone(dockerfile: str) -> None:
    assert pinned("tailscale").version not in dockerfile
    assert re.search("[0-9a-f]{64}", dockerfile) is None
    assert "./inv programs.install --name=tailscale" in dockerfile


def test_it_builds_without_a_registry_or_buildkit(dockerfile: str) -> None:
    assert "# syntax=" not in (FOLDER / "Dockerfile").read_text()
    assert "--mount" not in dockerfile
    assert "COPY --from" not in dockerfile


def test_image_gets_only_what_it_names() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]

    assert lines[0] == "*"
    assert not [line for line in lines if ".env" in line or ".git" in line]
