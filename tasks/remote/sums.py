"""Owns the SHA-256 sums of files: made here, and in the lines that sha256sum reads and writes."""

import hashlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tasks.errors import Failure, Unavailable, reason


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file here."""
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unavailable(f"cannot read {path}", why=reason(error)) from None


def digest_meanwhile(path: Path) -> Callable[[], str]:
    """Start to sum a file up in a thread of its own, and return what waits for the sum: connecting takes as long."""
    sums: list[str | Failure] = []

    def work() -> None:
        try:
            sums.append(digest_of(path))
        except Failure as failure:
            sums.append(failure)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def wait() -> str:
        thread.join()
        if isinstance(sums[0], Failure):
            raise sums[0]
        return sums[0]

    return wait


def as_text(sums: Mapping[str, str]) -> bytes:
    """Return what `sha256sum -c` reads."""
    return b"".join(_sum_line(name, digest) for name, digest in sums.items())


def parse(line: str) -> tuple[str, str]:
    """Return the name and the sum that a line of sha256sum's tells."""
    escaped = line.startswith("\\")
    digest, _, name = line.removeprefix("\\").partition(" ")
    name = name[1:]
    if escaped:
        name = name.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
    return plain(name), digest


def plain(name: str) -> str:
    """Return a name without the `./` that find and we put before it."""
    return name.removeprefix("./")


def _sum_line(name: str, digest: str) -> bytes:
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if escaped == name else "\\"
    return f"{mark}{digest}  {escaped}\n".encode(errors="surrogateescape")
