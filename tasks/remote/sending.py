"""Owns the copying of a file or a folder to a host: one stream, a temporary name, the sums compared there, a rename.

What is there with the same content is left alone. A folder is brought up to date file by file; nothing is removed.
"""

import os
import posixpath
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.errors import Unavailable, UsageFailure, reason
from tasks.remote import sums
from tasks.remote.feeding import PIECE, Feed
from tasks.remote.output import Sink
from tasks.remote.places import EXECUTABLE, FOLDER, NOTHING, Copied, Listing, Progress, Storage

# $1 the temporary name, $2 the path, $3 the sum, $4 the mode. No tee for the sum: it reads 8 KiB at a time.
RECEIVE_FILE = """
trap "exit 1" HUP INT TERM
trap 'rm -f -- "$1"' EXIT
(umask 077; exec cat >"$1") || exit 1
[ "$(digest <"$1")" = "$3" ] || { echo "its SHA-256 is another one" >&2; exit 65; }
chmod "$4" "$1" && mv -f -- "$1" "$2"
"""
# $1 the temporary folder, $2 the path. The stream holds `sums`, and below `files` what shall be there.
RECEIVE_FOLDER = """
w=$(absolute "$1") t=$(absolute "$2")
trap "exit 1" HUP INT TERM
trap 'rm -rf -- "$w"' EXIT
mkdir -m 700 -- "$w" && cd -- "$w" && tar -x -o -f - || exit 1
cd files || exit 1
if [ -s ../sums ]; then sha256sum -c ../sums >/dev/null || exit 65; fi
if [ ! -e "$t" ]; then cd / && mv -- "$w/files" "$t"; exit; fi
find . -type d -exec sh -c 'for f; do [ -d "$0/$f" ] || mkdir -- "$0/$f" || exit 1; done' "$t" {} + &&
  find . -type f -exec sh -c 'for f; do mv -f -- "$f" "$0/$f" || exit 1; done' "$t" {} +
"""


@dataclass(frozen=True)
class Folder:
    """A folder here: its files and folders by their names in it, and the names of what is neither."""

    root: Path
    files: tuple[str, ...]
    folders: tuple[str, ...]
    others: tuple[str, ...]


def send(
    storage: Storage, source: Path, target: str, progress: Progress, digest: Callable[[], str] | None = None
) -> Copied:
    """Copy a file or a folder to a path there; `digest` waits for a file's sum where somebody has begun to make it.

    A file goes into a folder that is there or that ends in a slash; a folder's content becomes that of the path.
    """
    if source.is_dir():
        return _send_folder(storage, _folder(source), target, progress)
    if not source.is_file():
        raise UsageFailure(f"--file: expected a file or a folder, and there is none at {source}")
    return _send_file(storage, source, target, progress, digest or (lambda: sums.digest_of(source)))


def size_of(source: Path) -> int:
    """Return how many bytes a copy of it has at most."""
    if not source.is_dir():
        return source.stat().st_size if source.is_file() else 0
    folder = _folder(source)
    return sum((source / name).stat().st_size for name in folder.files)


def _send_file(storage: Storage, source: Path, target: str, progress: Progress, summed: Callable[[], str]) -> Copied:
    state = source.stat()
    place = storage.describe(target, name=source.name)
    if place.kind in {"folder", "other"}:
        raise Unavailable(f"cannot copy {source} to {place.path} on {storage.host}", why="there is no plain file there")
    if place.kind == "orphan":
        raise storage.failure(place.path, "its folder is not there")
    digest = summed()
    mode = state.st_mode & 0o777
    same = place.kind == "file" and place.size == state.st_size and place.executable == bool(mode & 0o100)
    if same and storage.digest(place.path) == digest:
        return Copied(place.path, 0, 0, 1)
    words = [storage.temporary(place.path), place.path, digest, f"{mode:o}"]
    storage.ask(place.path, RECEIVE_FILE, words, _file_feed(source, progress))
    return Copied(place.path, 1, state.st_size, 0)


def _file_feed(source: Path, progress: Progress) -> Feed:
    def feed(sink: Sink) -> None:
        try:
            with source.open("rb", buffering=0) as file:
                while piece := file.read(PIECE):
                    sink(piece)
                    progress(len(piece))
        except OSError as error:
            raise Unavailable(f"cannot read {source}", why=reason(error)) from None

    return feed


def _send_folder(storage: Storage, folder: Folder, target: str, progress: Progress) -> Copied:
    place = storage.describe(target)
    if place.kind in {"file", "other"}:
        raise Unavailable(f"cannot copy {folder.root} to {place.path} on {storage.host}", why="it is no folder there")
    if place.kind == "orphan":
        raise storage.failure(place.path, "its folder is not there")
    digests = {name: sums.digest_of(folder.root / name) for name in folder.files}
    wanted = [*folder.folders, *folder.files]
    there = storage.compare(place.path, wanted) if place.kind == "folder" else Listing.empty(wanted)
    _check_kinds(storage, place.path, folder, there)
    changed = {name: digest for name, digest in digests.items() if _is_change(folder, there, name, digest)}
    missing = [name for name in folder.folders if there.kinds[name] == NOTHING]
    if changed or missing or place.kind == "nothing":
        # Of a folder that is there, the one around it may be somebody else's, or another file system.
        beside = storage.temporary(place.path) if place.kind == "nothing" else storage.temporary_in(place.path)
        words = [beside, place.path.rstrip("/") or "/"]
        storage.ask(place.path, RECEIVE_FOLDER, words, _folder_feed(folder, changed, progress))
    size = sum((folder.root / name).stat().st_size for name in changed)
    return Copied(place.path, len(changed), size, len(digests) - len(changed), folder.others)


def _check_kinds(storage: Storage, path: str, folder: Folder, there: Listing) -> None:
    """Refuse a file where a folder is, into which `mv` would put it, and a folder where a file is."""
    for name in folder.files:
        if there.kinds[name] == FOLDER:
            raise storage.failure(posixpath.join(path, name), "a folder is there, where a file shall be")
    for name in folder.folders:
        if there.kinds[name] not in {FOLDER, NOTHING}:
            raise storage.failure(posixpath.join(path, name), "a file is there, where a folder shall be")


def _is_change(folder: Folder, there: Listing, name: str, digest: str) -> bool:
    is_program = bool((folder.root / name).stat().st_mode & 0o100)
    return there.sums.get(name) != digest or (there.kinds[name] == EXECUTABLE) != is_program


def _folder_feed(folder: Folder, changed: Mapping[str, str], progress: Progress) -> Feed:
    def feed(sink: Sink) -> None:
        try:
            _write_archive(folder, changed, _Stream(sink, progress))
        except OSError as error:
            raise Unavailable(f"cannot read {folder.root}", why=reason(error)) from None

    return feed


class _Stream:
    """What tarfile writes to."""

    def __init__(self, sink: Sink, progress: Progress) -> None:
        self._sink = sink
        self._progress = progress

    def write(self, data: bytes) -> int:
        """Send a block on."""
        self._sink(bytes(data))
        self._progress(len(data))
        return len(data)


def _write_archive(folder: Folder, changed: Mapping[str, str], stream: _Stream) -> None:
    import io

    # GNU's format, which busybox reads too. The stubs want what can seek and be read.
    stream_out: IO[bytes] = stream  # type: ignore[assignment]
    with tarfile.open(None, "w|", stream_out, PIECE, format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        text = sums.as_text(changed)
        listed = tarfile.TarInfo("sums")
        listed.size = len(text)
        archive.addfile(listed, io.BytesIO(text))
        for name in (".", *folder.folders):
            archive.addfile(_entry(folder.root / name, f"files/{name}", tarfile.DIRTYPE))
        for name in changed:
            with (folder.root / name).open("rb") as file:
                archive.addfile(_entry(folder.root / name, f"files/{name}", tarfile.REGTYPE), file)


def _entry(path: Path, name: str, kind: bytes) -> tarfile.TarInfo:
    state = path.stat()
    entry = tarfile.TarInfo(name)
    # What is in a folder that its owner may not write could not be put in place there.
    mode = state.st_mode & 0o777 | (0o700 if kind == tarfile.DIRTYPE else 0)
    entry.type, entry.mode, entry.mtime = kind, mode, int(state.st_mtime)
    entry.size = state.st_size if kind == tarfile.REGTYPE else 0
    return entry


def _folder(root: Path) -> Folder:
    """Walk a folder; links are not followed and not copied, for what they mean there nobody here knows."""
    files: list[str] = []
    folders: list[str] = []
    others: list[str] = []
    for at, below, names in os.walk(root):
        here = Path(at).relative_to(root)
        for name in sorted(below + names):
            path, relative = Path(at, name), str(here / name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                others.append(relative)
            else:
                (folders if path.is_dir() else files).append(relative)
    return Folder(root, tuple(files), tuple(folders), tuple(others))
