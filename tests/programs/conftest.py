"""Owns what the tests of the programs share: the download address on loopback, and a PATH of their own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Home
from tests.programs.servers import Site, serving


@pytest.fixture
def site() -> Iterator[Site]:
    """Return a web server on loopback."""
    with serving() as site:
        yield site


@pytest.fixture
def bin_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put an empty folder first on a PATH that has neither Go nor any of the programs."""
    folder = home.folder / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(folder), "/usr/bin", "/bin"]))
    return folder


@pytest.fixture
def said() -> list[str]:
    """Return the list that collects the lines of progress: pass its `append` as `say`."""
    return []


def put_program(folder: Path, name: str, text: str) -> Path:
    """Write an executable script."""
    path = folder / name
    path.write_text(text)
    path.chmod(0o755)
    return path
