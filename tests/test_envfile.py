"""A `.env` file is read as written; what is no setting is an error with its line, and secrets need a private file."""

from pathlib import Path

import pytest

from tasks import envfile
from tasks.errors import ConfigurationFailure


def written(tmp_path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a settings file."""
    path = tmp_path / ".env"
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert envfile.read(tmp_path / ".env") == {}


def test_nothing_is_expanded(tmp_path: Path) -> None:
    """A secret may hold anything that looks like a variable."""
    assert envfile.read(written(tmp_path, "A='pa${HOME}ss'\r\nB=$A\n")) == {"A": "pa${HOME}ss", "B": "$A"}


def test_a_line_that_is_no_setting_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "A=1\n\nnonsense\n")

    with pytest.raises(ConfigurationFailure) as caught:
        envfile.read(path)

    assert str(caught.value) == f"{path}:3: expected NAME=value"


def test_a_secret_in_a_file_for_all_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, "TS_AUTHKEY=tskey-auth-canary\n", 0o644)

    with pytest.raises(ConfigurationFailure) as caught:
        envfile.read(path)

    assert str(caught.value) == (
        f"{path}:1: TS_AUTHKEY is a secret in a file that others may read"
        f"\n  next: chmod 600 {path}, or better: TS_AUTHKEY=file:PATH"
    )


def test_a_reference_to_a_secret_is_none(tmp_path: Path) -> None:
    path = written(tmp_path, "TS_AUTHKEY=file:/run/key\n", 0o644)

    assert envfile.read(path) == {"TS_AUTHKEY": "file:/run/key"}
