"""Owns the way from an official file on the network to executables in a folder. The only file that knows urllib.

Nothing is unpacked before its sha256 is the pinned one.
"""

import hashlib
import http.client
import tarfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tasks.errors import Refused, Unavailable, reason
from tasks.programs.pins import OfficialFile, Pin, architecture

STALL = 15.0  # seconds without a connection, or without a byte
LONGEST = 900.0  # seconds for a whole file
CHUNK = 1 << 18
SECONDS_BETWEEN_LINES = 5.0
MEGABYTE = 1e6


def download(pin: Pin, folder: Path, say: Callable[[str], None], *, stall: float = STALL) -> None:
    """Put the program's executables into the folder, from the official file for this machine.

    `stall` is how many seconds may pass without a connection or a byte. `Unavailable` when the file cannot be had,
    `Refused` when it is not the file that the pin names.
    """
    arch = architecture()
    file = pin.files.get(arch)
    if file is None:
        raise Unavailable(f"there is no official file of {pin} for {arch}")
    say(f"downloading {pin} from {urlsplit(file.url).hostname}")
    fetched = folder / "download"
    _check(file, _fetch(_chunks(file.url, stall, say), fetched))
    if file.url.endswith(".tgz"):
        _unpack(fetched, folder, pin.executables)
        fetched.unlink()
    else:
        fetched.replace(folder / pin.name)
        (folder / pin.name).chmod(0o755)


def _fetch(chunks: Iterator[bytes], path: Path) -> str:
    """Write what comes in into the file and return its sha256."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _chunks(url: str, stall: float, say: Callable[[str], None]) -> Iterator[bytes]:
    progress = _Progress(say)
    try:
        with urllib.request.urlopen(url, timeout=stall) as answer:
            expected = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read1(CHUNK):
                progress.add(len(chunk), expected)
                yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"cannot download {url}", why=_reason(error)) from None
    if progress.received < expected:
        raise Unavailable(
            f"cannot download {url}", why=f"the connection was cut after {progress.received} of {expected} bytes"
        )


class _Progress:
    """Counts what came in, says so every few seconds, and ends what takes too long."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._started = time.monotonic()
        self._next_line = SECONDS_BETWEEN_LINES
        self.received = 0

    def add(self, count: int, expected: int) -> None:
        self.received += count
        elapsed = time.monotonic() - self._started
        if elapsed > LONGEST:
            raise TimeoutError(f"not finished within {LONGEST:g} s")
        if elapsed > self._next_line:
            whole = f" of {expected / MEGABYTE:.1f}" if expected else ""
            self._say(f"  {self.received / MEGABYTE:.1f}{whole} MB, {elapsed:.0f} s")
            self._next_line = elapsed + SECONDS_BETWEEN_LINES


def _reason(error: Exception) -> str:
    # urllib wraps the system's own error in `reason`; an HTTP status says itself.
    inner = getattr(error, "reason", None)
    return reason(inner if isinstance(inner, OSError) else error)


def _check(file: OfficialFile, sha256: str) -> None:
    if sha256 != file.sha256:
        raise Refused(
            f"{file.url} is not the file that is pinned",
            why=f"expected sha256 {file.sha256}, got {sha256}",
            next_step="nothing of it was kept; find out who changed the file before you trust it",
        )


def _unpack(archive: Path, folder: Path, executables: tuple[str, ...]) -> None:
    """Take the executables alone out of the archive, whatever else it holds."""
    with tarfile.open(archive) as content:
        for member in content:
            name = member.name.rpartition("/")[2]
            stream = content.extractfile(member) if name in executables else None
            if stream is not None:
                (folder / name).write_bytes(stream.read())
                (folder / name).chmod(0o755)
