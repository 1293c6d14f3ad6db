"""Owns the `.env` files: read as written, a secret only from a private one. The only file that knows python-dotenv."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import ConfigurationFailure, reason

SECRET_VARIABLES = ("TS_AUTHKEY", "VAULT_IDENTITY", "BW_CLIENTSECRET", "BW_PASSWORD", "BW_SESSION")
FILE_REFERENCE = "file:"
VAULT_REFERENCE = "vault:"
LINE_END = re.compile(r"\r\n|\n|\r")


def read(path: Path) -> dict[str, str]:
    """Read a `.env` file as written: nothing is expanded, a line that is no setting is an error, not dropped."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationFailure(f"cannot read the settings file {path}", why=reason(error)) from None
    values: dict[str, str] = {}
    for line, key, value in _bindings(path, text):
        if key in SECRET_VARIABLES and value and not value.startswith((FILE_REFERENCE, VAULT_REFERENCE)):
            _check_private(path, line, key)
        values[key] = value
    return values


def _bindings(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    import io

    from dotenv.parser import parse_stream

    for binding in parse_stream(io.StringIO(text)):
        # A binding's text begins with the blank lines before it.
        blank = re.match(r"\s*", binding.original.string)
        line = binding.original.line + len(LINE_END.findall(blank[0] if blank else ""))
        if binding.error or (binding.key is not None and binding.value is None):
            raise ConfigurationFailure(f"{path}:{line}: expected NAME=value")
        if binding.key is not None and binding.value is not None:
            yield line, binding.key, binding.value


def _check_private(path: Path, line: int, key: str) -> None:
    state = path.lstat()
    if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
        raise ConfigurationFailure(
            f"{path}:{line}: {key} is a secret in a file that others may read",
            next_step=f"chmod 600 {path}, or better: {key}=file:PATH",
        )
