"""Owns the talk with a host about its files: what is at a path, the sums of what lies there, why a step failed.

POSIX sh and sha256sum are all that a host must have; openssl, where it is, is three times as fast on one large file.
"""

import hashlib
import posixpath
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from tasks.console import visible
from tasks.errors import Failure, NotSaved, Refused, Unavailable, UsageFailure
from tasks.remote import lines
from tasks.remote.feeding import Feed
from tasks.remote.following import Ended
from tasks.remote.output import Sink

DAMAGED = 65  # EX_DATAERR
MOST_COMPLAINTS = 65536  # bytes
CHUNK = 1024 * 1024
PRELUDE = """
export LC_ALL=C
digest() {
  if command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r; else sha256sum; fi |
    { read -r d rest; echo "$d"; }
}
absolute() { case $1 in /*) echo "$1" ;; *) echo "$PWD/$1" ;; esac; }
"""
# $1 the path, $2 the name of a file that shall go into a folder, $3 whether the folder's files are wanted.
DESCRIBE = """
t=$1
if [ -n "$2" ]; then case $t in */) t=$t$2 ;; *) if [ -d "$t" ]; then t=$t/$2; fi ;; esac; fi
echo "$t"
if [ -d "$t" ]; then
  echo folder
  if [ -n "$3" ]; then
    cd -- "$t" && find . -type f -exec sha256sum -- {} + && printf "\\0" && find . -type d -print0 && printf "\\0" &&
      find . ! -type d ! -type f -print0
  fi
elif [ -f "$t" ]; then if [ -x "$t" ]; then x=x; else x=-; fi; echo "file $x $(wc -c <"$t")"
elif [ -e "$t" ] || [ -L "$t" ]; then echo other
elif [ -d "$(dirname -- "$t")" ]; then echo nothing
else echo orphan
fi
"""

Progress = Callable[[int], None]
"""Hears how many bytes more are over."""


class Session(Protocol):
    """A connected host that runs commands."""

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run a shell line."""
        ...


@dataclass(frozen=True)
class Place:
    """What is at a path: `kind` is file, folder, other, nothing, or orphan (nothing, and no folder for it either).

    `sums` has the files below a folder with their SHA-256, `folders` those below it, `others` what is neither.
    """

    path: str
    kind: str
    size: int = 0
    executable: bool = False
    sums: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Copied:
    """What came of a copy: how much went over, what was there already, what was left out (links, devices)."""

    path: str
    files: int
    size: int
    unchanged: int
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Storage:
    """One host's files. A failure names the host and the path."""

    session: Session
    host: str

    def describe(self, path: str, *, name: str = "", deep: bool = False) -> Place:
        """Return what is at the path; with a `name`, at the path of that name when it is a folder."""
        answer = self.ask(path, DESCRIBE, [_checked(path), name, "deep" if deep else ""])
        found, _, rest = answer.decode(errors="surrogateescape").partition("\n")
        kind, _, listing = rest.partition("\n")
        if kind.startswith("file "):
            _, executable, size = kind.split()
            return Place(found, "file", int(size), executable == "x")
        return _listed(Place(found, kind), listing)

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file there."""
        return self.ask(path, 'digest <"$1"', [path]).decode().strip()

    def ask(self, path: str, text: str, words: list[str], feed: Feed | None = None) -> bytes:
        """Run a text in the POSIX shell and return what it says."""
        said = bytearray()
        self.do(path, text, words, said.extend, feed)
        return bytes(said)

    def do(self, path: str, text: str, words: list[str], out: Sink, feed: Feed | None = None) -> str:
        """Run a text in the POSIX shell; return its last line on stderr, or raise what that line means."""
        complaints = bytearray()

        def complain(data: bytes) -> None:
            complaints.extend(data)
            del complaints[:-MOST_COMPLAINTS]

        ended = self.session.run(lines.sh(PRELUDE + text, *words), out, complain, feed)
        last = (complaints.decode(errors="replace").strip().splitlines() or [""])[-1]
        if ended.exit_status:
            raise self.failure(path, last, damaged=ended.exit_status == DAMAGED)
        return last

    def failure(self, path: str, words: str, *, damaged: bool = False) -> Failure:
        """Return the failure that the other program's words mean."""
        what = f"cannot copy {visible(path)} on {self.host}"
        why = visible(words) or "the command ended without a word"
        if damaged:
            return Failure(f"{visible(path)} on {self.host} arrived damaged", why=why, cause="damaged")
        if "No space left" in words or "quota" in words:
            return NotSaved(what, why=why, cause="disk-full")
        if any(said in words for said in ("ermission denied", "Read-only", "not permitted")):
            return Refused(what, why=why)
        return Unavailable(what, why=why)

    def temporary(self, path: str) -> str:
        """Return a name beside the path that nobody else has."""
        return posixpath.join(posixpath.dirname(path.rstrip("/")), f".{secrets.token_hex(6)}.part")


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file here."""
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise Unavailable(f"cannot read {path}", why=error.strerror or str(error)) from None


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


def sums_text(sums: Mapping[str, str]) -> bytes:
    """Return what `sha256sum -c` reads."""
    return b"".join(_sum_line(name, digest) for name, digest in sums.items())


def _sum_line(name: str, digest: str) -> bytes:
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "" if escaped == name else "\\"
    return f"{mark}{digest}  {escaped}\n".encode(errors="surrogateescape")


def _listed(place: Place, text: str) -> Place:
    files, *rest = text.split("\0")
    split = rest.index("") if "" in rest else len(rest)
    return replace(
        place,
        sums=dict(_sum(line) for line in files.split("\n") if line),
        folders=frozenset(_plain(name) for name in rest[:split] if name not in {"", "."}),
        others=tuple(_plain(name) for name in rest[split:] if name),
    )


def _sum(line: str) -> tuple[str, str]:
    escaped = line.startswith("\\")
    digest, _, name = line.removeprefix("\\").partition(" ")
    name = name[1:]
    if escaped:
        name = name.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")
    return _plain(name), digest


def _plain(name: str) -> str:
    return name.removeprefix("./")


def _checked(path: str) -> str:
    if not path or "\n" in path or "\0" in path:
        raise UsageFailure(f"expected a path on the host, got {path!r}")
    # A quoted tilde is none, and a login starts at home.
    return path.removeprefix("~/") or "."
