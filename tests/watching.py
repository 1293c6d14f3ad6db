"""Owns the search for secrets where none may be: argv and environments of all processes at any time, and files."""

import base64
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_plus

PAUSE = 0.003  # seconds between two looks at all processes


class Sighting(NamedTuple):
    """A process that showed a secret: in its `cmdline` or in its `environ`, and what it was running."""

    where: str
    argv: tuple[str, ...]


def forms(secret: str) -> set[bytes]:
    """Return the secret in clear, URL form, and what base64 makes of its inside wherever it begins in a text."""
    clear = secret.encode()
    inside = {base64.b64encode(b"x" * shift + clear)[shift and 4 : -4].rstrip(b"=") for shift in range(3)}
    urlsafe = {part.replace(b"+", b"-").replace(b"/", b"_") for part in inside}
    return {clear, quote(secret, safe="").encode(), quote_plus(secret).encode(), *inside, *urlsafe}


def holds_any(content: bytes, secrets: Sequence[str]) -> bool:
    """Whether one of the secrets is in the content, in any form."""
    return any(form in content for secret in secrets for form in forms(secret))


def files_with(folder: Path, secrets: Sequence[str]) -> list[Path]:
    """Return the files below the folder that hold one of the secrets."""
    return [path for path in folder.rglob("*") if path.is_file() and holds_any(path.read_bytes(), secrets)]


@contextmanager
def watched_processes(secrets: Sequence[str]) -> Iterator[list[Sighting]]:
    """Look into argv and environment of every process all the time; the list gets each that showed a secret."""
    wanted = [form for secret in secrets for form in forms(secret)]
    found: list[Sighting] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(PAUSE):
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal():
                    found.extend(_sightings(entry, wanted))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _sightings(process: Path, wanted: Sequence[bytes]) -> Iterator[Sighting]:
    argv, environ = _argv_and_environ(process)
    for where, content in (("cmdline", argv), ("environ", environ)):
        if any(form in content for form in wanted):
            yield Sighting(
                where, tuple(word.decode(errors="replace") for word in argv.removesuffix(b"\0").split(b"\0"))
            )


def _argv_and_environ(process: Path) -> tuple[bytes, bytes]:
    """Read both of one program: a process may become another program between two readings, or end.

    A child that was just forked has its parent's environment. While it becomes its own program, and once it has ended,
    its argv reads as empty.
    """
    while True:
        before, environ, after = (_read(process / what) for what in ("cmdline", "environ", "cmdline"))
        if before == after or not (before and after):
            return before or after, environ


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended
