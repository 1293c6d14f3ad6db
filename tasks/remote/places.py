"""Owns the talk with a host about its files: what is at a path, the sums of what lies there, why a step failed.

POSIX sh and sha256sum are all that a host must have; openssl, where it is, is three times as fast on one large file.
"""

import posixpath
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from tasks.console import visible
from tasks.errors import Failure, NotSaved, Refused, Unavailable, UsageFailure
from tasks.remote import lines, sums
from tasks.remote.feeding import Feed
from tasks.remote.following import Ended
from tasks.remote.output import Sink

DAMAGED = 65  # EX_DATAERR
MOST_COMPLAINTS = 65536  # bytes
CHUNK = 1024 * 1024
NO_ANSWER = "it does not answer as a POSIX shell does"
DISK_FULL = re.compile(r"No space left|quota")
REFUSED = re.compile(r"ermission denied|Read-only|not permitted")
TELLING = re.compile(f"{DISK_FULL.pattern}|{REFUSED.pattern}|Input/output error")
PRELUDE = """
export LC_ALL=C
digest() {
  if command -v openssl >/dev/null 2>&1; then openssl dgst -sha256 -r; else sha256sum; fi |
    { read -r d rest; echo "$d"; }
}
absolute() { case $1 in /*) printf "%s\\n" "$1" ;; *) printf "%s\\n" "$PWD/$1" ;; esac; }
"""
# $1 the path, $2 the name of a file that shall go into a folder, $3 whether the folder's files are wanted.
DESCRIBE = """
t=$1 into=-
if [ -n "$2" ] && { case $t in */) : ;; *) [ -d "$t" ] ;; esac; }; then t=$t/$2 into=into; fi
echo $into
if [ -d "$t" ]; then
  echo folder
  if [ -n "$3" ]; then
    cd -- "$t" && find . -type f -exec sha256sum -- {} + && printf "\\0" && find . -type d -print0 && printf "\\0" &&
      find . ! -type d ! -type f -print0
  fi
elif [ -f "$t" ]; then
  if [ -x "$t" ]; then x=x; else x=-; fi
  s=$({ wc -c <"$t"; } 2>/dev/null) || s=-1
  echo "file $x" $s
elif [ -e "$t" ] || [ -L "$t" ]; then echo other
elif [ -d "$(dirname -- "$t")" ]; then echo nothing
else echo orphan
fi
"""
# $1 a folder. For the names on stdin: a letter for what each is, then the sums of those that can be read.
COMPARE = """
cd -- "$1" && xargs -0 -n 200 sh -c '
  for f; do if [ -d "$f" ]; then k=d; elif [ ! -f "$f" ]; then k=n; elif [ -x "$f" ]; then k=x; else k=-; fi
    printf %s $k; done
  echo; sha256sum -- "$@" 2>/dev/null; printf "\\0"' sh
"""
KIND = re.compile(r"(?P<into>into|-)\n(?P<kind>folder|other|nothing|orphan|file (?P<x>[x-]) +(?P<size>-?\d+))\n")
NOTHING = "n"
FOLDER = "d"
EXECUTABLE = "x"

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

    `size` is -1 for a file that may not be read. `sums` has the files below a folder with their SHA-256, `folders`
    those below it, `others` what is neither.
    """

    path: str
    kind: str
    size: int = 0
    executable: bool = False
    sums: Mapping[str, str] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """What is at some names of a folder: the kind of each (`n` nothing, `d` a folder, `x` a program, `-`), the sums."""

    kinds: Mapping[str, str]
    sums: Mapping[str, str]

    @classmethod
    def empty(cls, names: Sequence[str]) -> "Listing":
        """Return that nothing is at any of these names."""
        return cls(dict.fromkeys(names, NOTHING), {})


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
        checked = _checked(path)
        answer = self.ask(path, DESCRIBE, [checked, name, "deep" if deep else ""])
        said = answer.decode(errors="surrogateescape")
        match = KIND.match(said)
        if match is None:
            raise self.failure(path, NO_ANSWER)
        place = posixpath.join(checked, name) if name and match["into"] == "into" else checked
        if match["size"]:
            return Place(place, "file", int(match["size"]), match["x"] == EXECUTABLE)
        return _listed(Place(place, match["kind"]), said[match.end() :])

    def compare(self, path: str, names: Sequence[str]) -> "Listing":
        """Return what these names are in a folder there; nothing else in it is looked at."""

        def feed(sink: Sink) -> None:
            sink(b"".join(f"./{name}\0".encode(errors="surrogateescape") for name in names))

        answer = self.ask(path, COMPARE, [_checked(path)], feed).decode(errors="surrogateescape") if names else ""
        kinds = ""
        found: dict[str, str] = {}
        for batch in answer.split("\0")[:-1]:
            letters, _, listed = batch.partition("\n")
            kinds += letters
            found.update(sums.parse(line) for line in listed.split("\n") if line)
        if len(kinds) != len(names):
            raise self.failure(path, NO_ANSWER)
        return Listing(dict(zip(names, kinds, strict=True)), found)

    def digest(self, path: str) -> str:
        """Return the SHA-256 of a file there."""
        return self.ask(path, 'digest <"$1"', [path]).decode().strip()

    def ask(self, path: str, text: str, words: list[str], feed: Feed | None = None) -> bytes:
        """Run a text in the POSIX shell and return what it says."""
        said = bytearray()
        self.do(path, text, words, said.extend, feed)
        return bytes(said)

    def do(self, path: str, text: str, words: list[str], out: Sink, feed: Feed | None = None) -> str:
        """Run a text in the POSIX shell; return its last line on stderr, or raise what its lines mean."""
        answer, complaints = _Answer(out), bytearray()

        def complain(data: bytes) -> None:
            complaints.extend(data)
            del complaints[:-MOST_COMPLAINTS]

        ended = self.session.run(lines.sh(PRELUDE + answer.begin + text, *words), answer.take, complain, feed)
        said = complaints.decode(errors="replace").strip()
        if ended.exit_status:
            raise self.failure(path, said, damaged=ended.exit_status == DAMAGED)
        if not answer.has_begun:
            raise self.failure(path, NO_ANSWER)
        return said.rpartition("\n")[2]

    def failure(self, path: str, words: str, *, damaged: bool = False) -> Failure:
        """Return the failure that the other program's lines mean."""
        what = f"cannot copy {visible(path)} on {self.host}"
        line = _telling(words)
        why = visible(line) or "the command ended without a word"
        if damaged:
            return NotSaved(f"{visible(path)} on {self.host} arrived damaged", why=why, cause="damaged")
        if DISK_FULL.search(line):
            return NotSaved(what, why=why, cause="disk-full")
        if REFUSED.search(line):
            return Refused(what, why=why)
        return Unavailable(what, why=why)

    def temporary(self, path: str) -> str:
        """Return a name beside the path that nobody else has."""
        return self.temporary_in(posixpath.dirname(path.rstrip("/")))

    def temporary_in(self, folder: str) -> str:
        """Return a name in the folder that nobody else has."""
        return posixpath.join(folder, f".{secrets.token_hex(6)}.part")


class _Answer:
    """Passes on what a text says, and not what the login's start files may have said before it."""

    def __init__(self, out: Sink) -> None:
        self._mark = secrets.token_hex(8)
        self._out = out
        self._before = bytearray()
        self.has_begun = False

    @property
    def begin(self) -> str:
        """What the text must begin with."""
        return f"echo {self._mark}\n"

    def take(self, data: bytes) -> None:
        """Take what comes."""
        if self.has_begun:
            self._out(data)
            return
        self._before += data
        _, mark, rest = self._before.partition(f"{self._mark}\n".encode())
        self.has_begun = bool(mark)
        if rest:
            self._out(bytes(rest))
        del self._before[: -len(self._mark) - 1]


def _listed(place: Place, text: str) -> Place:
    files, *rest = text.split("\0")
    split = rest.index("") if "" in rest else len(rest)
    return replace(
        place,
        sums=dict(sums.parse(line) for line in files.split("\n") if line),
        folders=frozenset(sums.plain(name) for name in rest[:split] if name not in {"", "."}),
        others=tuple(sums.plain(name) for name in rest[split:] if name),
    )


def _telling(words: str) -> str:
    """Return the line that tells most: that of a failure we know, else the last but tar's farewell."""
    said = [line for line in words.strip().splitlines() if "Exiting with failure status" not in line]
    known = [line for line in said if TELLING.search(line)]
    return (known or said[-1:] or [""])[0]


def _checked(path: str) -> str:
    if not path or "\n" in path or "\0" in path:
        raise UsageFailure(f"expected a path on the host, got {path!r}")
    # A quoted tilde is none, and a login starts at home.
    return path.removeprefix("~").removeprefix("/") or "." if path == "~" or path.startswith("~/") else path
