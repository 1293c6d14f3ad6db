"""An environment beside our own is made once from its lock, and anew when the lock changes."""

from pathlib import Path

import pytest

from tasks import environment
from tasks.errors import Unavailable
from tests.conftest import Home


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Return a lock that names no package at all."""
    file = tmp_path / "requirements-nothing.lock"
    file.write_text("# nothing\n")
    return file


def quiet(_: str) -> None:
    """Say nothing."""


def test_it_is_made_once(home: Home, lock: Path) -> None:
    """The second time costs no installation, and says nothing."""
    said: list[str] = []
    programs = environment.ensure(lock, cache=home.cache, say=said.append)
    again = environment.ensure(lock, cache=home.cache, say=said.append)

    assert (programs / "python").exists()
    assert again == programs
    assert said == ["installing requirements-nothing.lock into an environment of its own, once"]


def test_a_changed_lock_makes_it_anew(home: Home, lock: Path) -> None:
    """What the old one had is gone."""
    programs = environment.ensure(lock, cache=home.cache, say=quiet)
    (programs / "old").touch()
    lock.write_text("# nothing else\n")

    assert not (environment.ensure(lock, cache=home.cache, say=quiet) / "old").exists()


def test_a_package_without_a_hash_is_not_installed(home: Home, lock: Path) -> None:
    """And the next time it is tried anew."""
    lock.write_text("invoke==2.2.1\n")

    for _ in range(2):
        with pytest.raises(Unavailable, match=r"the packages cannot be installed: .*(hash|Hash)"):
            environment.ensure(lock, cache=home.cache, say=quiet)
