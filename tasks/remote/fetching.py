"""Owns the copying of a file or a folder from a host: one stream, a temporary name here, the sums compared, a rename.

The names in a folder come from the host, which may lie: one that would leave the target is refused, and nothing but
plain files and folders is made, so that no link can lead another name out of it.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO

from tasks.console import visible
from tasks.errors import Failure, NotSaved, Refused, Unavailable, reason
from tasks.remote import sums
from tasks.remote.places import CHUNK, Copied, Place, Progress, Storage

# The sum is made meanwhile, and is all that stderr has when all is well. Of a file that cannot be read cat alone tells:
# the words of openssl are for those who know its source.
SEND_FILE = '{ digest <"$1"; } >&2 2>/dev/null & cat -- "$1" && wait'
SEND_FOLDER = 'cd -- "$1" && shift && exec tar -c -f - -- "$@"'
# sshd's shell gets one word, which Linux limits to 128 KiB; with more names than that all of the folder is sent.
LONGEST_NAMES = 65536
PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031  # linux/fcntl.h


def fetch(storage: Storage, source: str, target: Path, progress: Progress, expect: Progress | None = None) -> Copied:
    """Copy a file or a folder from there to here; `expect` hears how many bytes will come, where that is known.

    A file goes into a folder that is here; a folder's content becomes that of the target.
    """
    place = storage.describe(source, deep=True)
    if place.kind == "folder":
        return _fetch_folder(storage, place, target, progress)
    if place.kind != "file":
        raise Unavailable(
            f"cannot copy {visible(source)} from {storage.host}", why="there is no plain file or folder there"
        )
    path = target / PurePosixPath(source).name if target.is_dir() else target
    return _fetch_file(storage, place, path, progress, expect)


def _fetch_file(storage: Storage, place: Place, path: Path, progress: Progress, expect: Progress | None) -> Copied:
    if path.is_file() and path.stat().st_size == place.size and sums.digest_of(path) == storage.digest(place.path):
        return Copied(str(path), 0, 0, 1)
    if expect:
        expect(max(place.size, 0))  # of one that may not be read nobody knows
    temporary = path.with_name(f".{secrets.token_hex(6)}.part")
    with _written(path), _removed(temporary):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        receiver = _Receiver(path, descriptor, progress)
        try:
            expected = storage.do(place.path, SEND_FILE, [place.path], receiver.take)
        finally:
            os.close(descriptor)
        if receiver.digest != expected:
            raise storage.failure(place.path, "its SHA-256 is another one", damaged=True)
        if place.executable:
            temporary.chmod(temporary.stat().st_mode | 0o111)
        temporary.replace(path)
    return Copied(str(path), 1, receiver.size, 0)


class _Receiver:
    """Writes what comes, and sums it up."""

    def __init__(self, path: Path, descriptor: int, progress: Progress) -> None:
        self._path = path
        self._descriptor = descriptor
        self._progress = progress
        self._sum = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        """The SHA-256 of what has come."""
        return self._sum.hexdigest()

    def take(self, data: bytes) -> None:
        """Take the next bytes. An OSError would be taken for the connection's."""
        with _written(self._path):
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._sum.update(data)
        self.size += len(data)
        self._progress(len(data))


def _fetch_folder(storage: Storage, place: Place, target: Path, progress: Progress) -> Copied:
    wanted = {_safe(storage, name): digest for name, digest in place.sums.items()}
    folders = sorted(_safe(storage, name) for name in place.folders)
    changed = {name: digest for name, digest in wanted.items() if not _is_here(target / name, digest)}
    size = 0
    with _written(target):
        for name in ("", *folders):
            _inside(storage, target, name).mkdir(parents=not name, exist_ok=True)
        if changed:
            temporary = target / f".{secrets.token_hex(6)}.part"
            with _removed(temporary):
                temporary.mkdir(mode=0o700)
                size = _receive_folder(storage, place, changed, temporary, progress)
                for number, name in enumerate(changed):
                    path = _inside(storage, target, name)
                    with _written(path):
                        (temporary / str(number)).replace(path)
    return Copied(str(target), len(changed), size, len(wanted) - len(changed), place.others)


def _receive_folder(
    storage: Storage, place: Place, changed: Mapping[str, str], temporary: Path, progress: Progress
) -> int:
    names = [f"./{name}" for name in changed]
    if sum(len(name) + 4 for name in names) > LONGEST_NAMES:
        names = ["."]
    unpacker = _Unpacker(storage, changed, temporary, progress)
    with unpacker.running():
        storage.do(place.path, SEND_FOLDER, [place.path, *names], unpacker.take)
    unpacker.check()
    return unpacker.size


class _Unpacker:
    """Unpacks an archive as it comes, in a thread of its own: tarfile wants to read, and we are given.

    A wanted file becomes one named by its number, so that the host's names never are names here.
    """

    def __init__(self, storage: Storage, wanted: Mapping[str, str], folder: Path, progress: Progress) -> None:
        self._storage = storage
        self._numbers = {name: number for number, name in enumerate(wanted)}
        self._wanted = wanted
        self._folder = folder
        self._progress = progress
        self._reading, self._writing = os.pipe()
        self._failure: Failure | None = None
        self._sums: dict[str, str] = {}
        self.size = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Within, what is taken is unpacked; afterwards all of it is."""
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(self._writing, F_SETPIPE_SZ, PIPE_BYTES)
        thread = threading.Thread(target=self._unpack, daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(self._writing)
            thread.join()

    def take(self, data: bytes) -> None:
        """Take the next bytes of the archive."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._writing, rest) :]
            except BrokenPipeError:
                raise self._failure or self._storage.failure(".", "it sent no archive") from None

    def check(self) -> None:
        """Raise what failed, or that something is not as it shall be."""
        if self._failure:
            raise self._failure
        for name, digest in self._wanted.items():
            if self._sums.get(name) != digest:
                raise self._storage.failure(name, "its SHA-256 is another one", damaged=True)

    def _unpack(self) -> None:
        try:
            with os.fdopen(self._reading, "rb", buffering=0) as stream:
                with tarfile.open(mode="r|", fileobj=stream, bufsize=CHUNK, errors="surrogateescape") as archive:
                    for entry in archive:
                        self._take_entry(archive, entry)
                while stream.read(CHUNK):
                    pass  # tar fills its last block
        except Failure as failure:
            self._failure = failure
        except OSError as error:
            self._failure = NotSaved(f"cannot write {self._folder.parent}", why=reason(error))
        except tarfile.TarError as error:
            self._failure = self._storage.failure(".", f"it sent no archive: {error}")

    def _take_entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        name = sums.plain(entry.name)
        if name not in self._numbers:
            if entry.isreg():
                _safe(self._storage, name)
            return
        content = archive.extractfile(entry) if entry.isreg() else self._linked(entry)
        if content is None:
            return
        with content:
            self._write(name, content, entry.mode)

    def _linked(self, entry: tarfile.TarInfo) -> IO[bytes] | None:
        """Open what a hard link names: it came before, or it is here already and did not have to come."""
        if not entry.islnk():
            return None
        name = _safe(self._storage, sums.plain(entry.linkname))
        came = self._folder / str(self._numbers.get(name, ""))
        here = self._folder.parent / name
        return next((path.open("rb") for path in (came, here) if path.is_file()), None)

    def _write(self, name: str, content: IO[bytes], mode: int) -> None:
        digest = hashlib.sha256()
        with (self._folder / str(self._numbers[name])).open("xb") as file:
            while piece := content.read(CHUNK):
                file.write(piece)
                digest.update(piece)
                self._progress(len(piece))
                self.size += len(piece)
            os.fchmod(file.fileno(), file_mode(mode))
        self._sums[name] = digest.hexdigest()


def file_mode(mode: int) -> int:
    """Return the mode of a file that came from elsewhere: readable as there, writable by us alone, never set-uid."""
    return (mode & 0o755) | 0o600


def _is_here(path: Path, digest: str) -> bool:
    return path.is_file() and not path.is_symlink() and sums.digest_of(path) == digest


def _safe(storage: Storage, name: str) -> str:
    """Return a name that a host gave, or refuse it because it would lead out of the folder that it belongs in."""
    parts = name.split("/")
    if not name or any(part in {"", ".", ".."} for part in parts) or "\0" in name:
        raise Refused(f"{storage.host} names a file {name!a}", why="it would lie outside of the target folder")
    return name


def _inside(storage: Storage, target: Path, name: str) -> Path:
    """Return the path of a name in the target; refuse one that a link here would lead out of it."""
    path = target / name
    if not path.parent.resolve().is_relative_to(target.resolve()) and name:
        raise Refused(f"{path} of {storage.host} is not copied", why="a link here leads it out of the target folder")
    return path


@contextlib.contextmanager
def _written(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotSaved(f"cannot write {path}", why=reason(error)) from None


@contextlib.contextmanager
def _removed(path: Path) -> Iterator[None]:
    """Within, the temporary file or folder is used; afterwards it is gone, whatever happened."""
    try:
        yield
    finally:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
