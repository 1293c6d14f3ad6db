"""Owns the outputs of many hosts that are kept until the end: in memory while small, else on the disk; or as files.

What is kept of a thousand hosts is a thousand small buffers; a large output goes into an unnamed temporary file.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tasks.errors import NotSaved, reason

KEPT_IN_MEMORY = 32 * 1024  # bytes of one output
PIECE = 1024 * 1024
FAILED_FILE = "failed.txt"


class Kept:
    """One output of one host, kept whole; `digest` tells equal ones."""

    def __init__(self) -> None:
        self._spool = tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY)  # noqa: SIM115 - it ends with us
        self._digest = hashlib.sha256()
        self.size = 0

    def __call__(self, data: bytes) -> None:
        """Take bytes."""
        try:
            self._spool.write(data)
        except OSError as error:
            raise NotSaved("the output cannot be kept", why=reason(error)) from None
        self._digest.update(data)
        self.size += len(data)

    def close(self) -> None:
        """Nothing follows: what was taken stays readable."""

    @property
    def digest(self) -> str:
        """What equal outputs have in common."""
        return self._digest.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """Yield what was taken."""
        self._spool.seek(0)
        while piece := self._spool.read(PIECE):
            yield piece


@dataclass(frozen=True)
class Pair:
    """What one host wrote: its stdout and its stderr."""

    out: Kept
    err: Kept

    @property
    def digest(self) -> tuple[str, str]:
        """What hosts with equal output have in common."""
        return self.out.digest, self.err.digest


def folded(pairs: dict[str, Pair]) -> list[tuple[tuple[str, ...], Pair]]:
    """Return the hosts that wrote the same, and what they wrote: the largest group first; silent hosts are left out."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, pair in pairs.items():
        if pair.out.size or pair.err.size:
            groups.setdefault(pair.digest, []).append(name)
    ordered = sorted(groups.values(), key=len, reverse=True)
    return [(tuple(group), pairs[group[0]]) for group in ordered]


class OutputFolder:
    """A folder with a file for each output of each host, `HOST.out` and `HOST.err`, and the list of those that failed.

    A file is there from the host's first byte on; those of an earlier run are removed first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(folder, error) from None

    def sink(self, name: str, stream: str) -> "FileSink":
        """Return what takes the bytes of a host's output."""
        # The inventory's names are its author's: quoted, none of them is a path or hides a file.
        path = self._folder / f"{quote(name, safe='')}.{stream}"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(path, error) from None
        return FileSink(path)

    def write_failed(self, failed: Sequence[str]) -> Path:
        """Write the hosts that failed, for `--hosts=@FILE`; an empty file when none did."""
        path = self._folder / FAILED_FILE
        try:
            path.write_text("".join(f"{name}\n" for name in failed))
        except OSError as error:
            raise _cannot_write(path, error) from None
        return path


class FileSink:
    """Writes bytes into a file, as they are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __call__(self, data: bytes) -> None:
        """Take bytes."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise _cannot_write(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _cannot_write(path: Path, error: OSError) -> NotSaved:
    return NotSaved(f"{path} cannot be written", why=reason(error))
