"""The dev container's image: it builds, and its ordinary user brings the network up with no capability at all."""

import json

import pytest

from tests.containers.engine import Engine

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

UNPRIVILEGED = ("--init", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges")
LIFE = "./inv lab.up net.up remote.run --host=web1 --command='echo $((6*7))' net.down lab.down"


def test_image_runs_as_its_ordinary_user(engine: Engine, image: str) -> None:
    [inspected] = json.loads(engine.docker("image", "inspect", image))

    assert inspected["Config"]["User"] == "dev"


def test_network_comes_up_without_any_capability(engine: Engine, image: str) -> None:
    """The whole way: daemon, login, proxy, SSH to a host, and down again."""
    ended = engine.docker("run", "--rm", *UNPRIVILEGED, image, "sh", "-c", LIFE)

    assert "42" in ended.splitlines()


def test_container_has_no_capability_and_gains_none(engine: Engine, image: str) -> None:
    status = engine.docker("run", "--rm", *UNPRIVILEGED, image, "cat", "/proc/self/status")
    fields = dict(line.split(":", 1) for line in status.splitlines())

    assert {fields[name].strip() for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Uid"].split()[0] != "0"
