"""Owns the search for secrets where none may be: argv and environments of all processes at any time, and files."""

import base64
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

PAUSE = 0.003  # seconds between two looks at all processes


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
def watched_processes(secrets: Sequence[str]) -> Iterator[list[str]]:
    """Look into argv and environment of every process all the time; the list gets who showed a secret, and `looks`."""
    wanted = [form for secret in secrets for form in forms(secret)]
    found: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(PAUSE):
            found.extend(_showing(wanted))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _showing(wanted: Sequence[bytes]) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            for what in ("cmdline", "environ"):
                content = _read(entry / what)
                if any(form in content for form in wanted):
                    yield f"{entry / what} of {_read(entry / 'cmdline')[:80]!r}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended
