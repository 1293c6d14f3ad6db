"""The pins: what the committed file says, and how a name is looked up."""

import re

import pytest

from tasks.errors import UsageFailure
from tasks.programs.pins import architecture, pinned, read_pins


@pytest.mark.parametrize("name", ["tailscale", "headscale"])
def test_each_program_has_a_file_and_a_sum_for_both_architectures(name: str) -> None:
    pin = pinned(name)

    assert set(pin.files) == {"amd64", "arm64"}
    for file in pin.files.values():
        assert file.url.startswith("https://")
        assert pin.version in file.url
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)


@pytest.mark.parametrize("name", ["tailscale", "headscale"])
def test_go_builds_the_very_version_that_is_pinned(name: str) -> None:
    """go.mod and pins.toml are changed together."""
    pin = pinned(name)
    module = pin.packages[0].partition("/cmd/")[0]
    required = (pin.recipe / "go.mod").read_text()

    assert f"\t{module} v{pin.version}" in required
    assert f"{module} v{pin.version} h1:" in (pin.recipe / "go.sum").read_text()


def test_executables_are_named_by_their_packages() -> None:
    assert pinned("tailscale").executables == ("tailscale", "tailscaled")
    assert pinned("headscale").executables == ("headscale",)


def test_unknown_name_is_a_usage_failure() -> None:
    with pytest.raises(UsageFailure) as caught:
        pinned("wireguard")
    assert str(caught.value) == "--name: expected one of tailscale, headscale, bw, got 'wireguard'"


def test_pin_reads_as_name_and_version() -> None:
    assert [str(pin) for pin in read_pins().values()] == ["tailscale 1.102.4", "headscale 0.29.3"]


def test_architecture_is_one_the_pins_know() -> None:
    assert architecture() in {"amd64", "arm64"}
