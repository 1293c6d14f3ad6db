"""Owns the pins: which version of each program is wanted, its official files and sums, and how Go builds it."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import UsageFailure

PINS_FILE = Path(__file__).parent / "pins.toml"
# What only some need, and nobody gets unasked: `programs.install` brings it by its name.
NPM_PINS = {"bw": ("@bitwarden/cli", Path(__file__).parent / "npm" / "bw")}
# The kernel's word for the machine (uname -m) and the one that Go and the official files use.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class OfficialFile:
    """A file that the program's makers publish, and its sha256 in hexadecimal digits."""

    url: str
    sha256: str


@dataclass(frozen=True)
class Pin:
    """One program at one version.

    `files` are the official files by architecture (amd64, arm64); `packages` are the Go packages whose last part is
    the executable's name, `stamps` the Go variables that hold the version, `recipe` the folder with go.mod and go.sum,
    or with package.json and package-lock.json. `ways` are how it can be installed, the first that works is taken.
    """

    name: str
    version: str
    files: Mapping[str, OfficialFile]
    packages: tuple[str, ...]
    stamps: tuple[str, ...]
    recipe: Path
    ways: tuple[str, ...] = ("download", "go")

    @property
    def executables(self) -> tuple[str, ...]:
        """The names of its executables."""
        return tuple(package.rpartition("/")[2] for package in self.packages)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def read_pins(path: Path = PINS_FILE) -> dict[str, Pin]:
    """Return every pin of the file by the program's name."""
    import tomllib

    content = tomllib.loads(path.read_text())
    return {name: _pin(name, values, path.parent / "go" / name) for name, values in content.items()}


def read_npm_pins() -> dict[str, Pin]:
    """Return the pins of the programs that come by npm; the version stands in the lock's package.json."""
    return {name: _npm_pin(name, package, recipe) for name, (package, recipe) in NPM_PINS.items()}


def pinned(name: str) -> Pin:
    """Return the pin of the program; an unknown name is a usage failure."""
    pins = {**read_pins(), **read_npm_pins()}
    if name not in pins:
        raise UsageFailure(f"--name: expected one of {', '.join(pins)}, got {name!r}")
    return pins[name]


def architecture() -> str:
    """Return this machine's architecture as the pins name it (amd64, arm64), else as the kernel does."""
    machine = os.uname().machine
    return ARCHITECTURES.get(machine, machine)


def _pin(name: str, values: dict[str, Any], recipe: Path) -> Pin:
    files = {arch: OfficialFile(file["url"], file["sha256"]) for arch, file in values["files"].items()}
    return Pin(name, values["version"], files, tuple(values["packages"]), tuple(values["stamps"]), recipe)


def _npm_pin(name: str, package: str, recipe: Path) -> Pin:
    version = json.loads((recipe / "package.json").read_text())["dependencies"][package]
    return Pin(name, version, {}, (f"{package}/{name}",), (), recipe, ways=("npm",))
