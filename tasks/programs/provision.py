"""Owns how a program gets here: from PATH, from the cache, by download or by a build, and that no half of one is used.

An installed program is a folder of the cache named by program, version and way, which appears by one rename.
"""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tasks import files, process
from tasks.errors import Busy, ConfigurationFailure, Unavailable, reason
from tasks.programs.node import OLDEST_NODE, install, version_beside
from tasks.programs.pins import NPM_PINS, Pin

SOURCES = ("auto", "path", "download", "go")
LONGEST_WAIT = 3600.0  # seconds for another command's install of the same program
VERSION = re.compile(r"(?<![\d.])(\d+)\.(\d+)\.(\d+)\b")
# How each executable is asked for its version; headscale knows no flag for it, tailscaled no command.
VERSION_WORD = {"headscale": "version"}


@dataclass(frozen=True)
class Program:
    """A program that is here: its version, the way it came (path, download, go) and its executables by name."""

    name: str
    version: str
    source: str
    executables: tuple[tuple[str, Path], ...]

    def executable(self, name: str) -> Path:
        """Return where that executable of it lies."""
        return dict(self.executables)[name]


def ensure(pin: Pin, *, source: str, cache: Path, say: Callable[[str], None]) -> Program:
    """Return the program, installing it first where it is not here.

    `source` picks one way (path, download, go) or takes the first that is open (auto). `say` gets lines of progress.
    """
    found = find(pin, source=source, cache=cache)
    if found is not None:
        return found
    if source == "path":
        raise Unavailable(f"there is no {pin} or newer on PATH", why=_why_not_on_path(pin), next_step=_three_ways(pin))
    folder = _programs(cache)
    with _locked(folder / f"{pin.name}-{pin.version}.lock", pin, say):
        return find(pin, source=source, cache=cache) or _install(pin, source, folder, say)


def find(pin: Pin, *, source: str, cache: Path) -> Program | None:
    """Return the program if it is here already, or None."""
    if source not in SOURCES:
        raise ConfigurationFailure(f"PROGRAMS_SOURCE: expected one of {', '.join(SOURCES)}, got {source!r}")
    on_path = _on_path(pin) if source in {"auto", "path"} else None
    return on_path or _cached(pin, source, cache / "programs")


def _on_path(pin: Pin) -> Program | None:
    found = [(name, shutil.which(name)) for name in pin.executables]
    executables = tuple((name, Path(path)) for name, path in found if path is not None)
    if len(executables) < len(pin.executables):
        return None
    version = min(_version_of(name, path) for name, path in executables)
    if version < _numbers(pin.version):
        return None
    return Program(pin.name, ".".join(map(str, version)), "path", executables)


def _version_of(name: str, path: Path) -> tuple[int, ...]:
    """Return what the executable says of its version; one that does not run is older than anything."""
    written = version_beside(path) if name in NPM_PINS else ""
    if written:
        return _numbers(written)
    try:
        answer = process.run(str(path), VERSION_WORD.get(name, "--version"), deadline=10.0)
    except Unavailable:
        return ()
    return _numbers(answer.text) if answer.exit_status == 0 else ()


def _numbers(text: str) -> tuple[int, ...]:
    match = VERSION.search(text)
    return tuple(map(int, match.groups())) if match else ()


def _cached(pin: Pin, source: str, folder: Path) -> Program | None:
    for way in _ways(pin, source):
        place = _place(pin, way, folder)
        if place.is_dir():
            return Program(pin.name, pin.version, way, tuple((name, place / name) for name in pin.executables))
    return None


def _ways(pin: Pin, source: str) -> tuple[str, ...]:
    if source == "path":
        return ()
    # A program of npm's has no other way, whatever tailscale's is to be.
    return (source,) if source in pin.ways else pin.ways


def _place(pin: Pin, way: str, folder: Path) -> Path:
    return folder / f"{pin.name}-{pin.version}-{way}"


def _programs(cache: Path) -> Path:
    files.private_folder(cache)
    return files.private_folder(cache / "programs")


@contextmanager
def _locked(path: Path, pin: Pin, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the program's lock; who has to wait for another command's install is told so."""
    with ExitStack() as held:
        try:
            held.enter_context(files.lock(path, deadline=0.0))
        except Busy as busy:
            say(f"waiting for another install of {pin}: {busy.what}")
            held.enter_context(files.lock(path, deadline=LONGEST_WAIT))
        yield


def _install(pin: Pin, source: str, folder: Path, say: Callable[[str], None]) -> Program:
    """Try the ways in turn. A file that is not the pinned one ends it: that is no closed way but a wrong one."""
    closed = []
    for way in _ways(pin, source):
        try:
            return _install_by(way, pin, folder, say)
        except Unavailable as error:
            say(f"  not by {way}: {error.sentence}")
            closed.append(error.sentence)
        except OSError as error:
            raise ConfigurationFailure(f"cannot write {pin} into {folder}", why=reason(error)) from None
    raise Unavailable(f"cannot get {pin}", why="; ".join(closed), next_step=_three_ways(pin))


def _install_by(way: str, pin: Pin, folder: Path, say: Callable[[str], None]) -> Program:
    from tasks.programs.build import build
    from tasks.programs.download import download

    started = time.monotonic()
    ways = {"download": download, "go": build, "npm": install}
    place = _place(pin, way, folder)
    with _work_folder(place) as work:
        ways[way](pin, work, say)
        _check_runs(pin, work)
        _put_on_disk(pin, work)
        work.rename(place)
    say(f"  {pin} is in {place} ({time.monotonic() - started:.0f} s)")
    return Program(pin.name, pin.version, way, tuple((name, place / name) for name in pin.executables))


@contextmanager
def _work_folder(place: Path) -> Iterator[Path]:
    """Give a folder to work in, gone at the end unless renamed; sweep what a killed install left (its lock is ours)."""
    for leftover in place.parent.glob(f".{place.name}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    work = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_runs(pin: Pin, folder: Path) -> None:
    for name in pin.executables:
        version = _version_of(name, folder / name)
        if version != _numbers(pin.version):
            said = ".".join(map(str, version)) or "nothing"
            raise Unavailable(
                f"the new {name} does not run as {pin.version}", why=f"asked for its version it said {said}"
            )


def _put_on_disk(pin: Pin, folder: Path) -> None:
    # The rename may reach the disk before the content does, and a crash between the two would leave an empty program.
    for name in pin.executables:
        with (folder / name).open("rb") as file:
            os.fsync(file.fileno())


def _why_not_on_path(pin: Pin) -> str:
    for name in pin.executables:
        path = shutil.which(name)
        if path is None:
            return f"there is no {name}"
        version = _version_of(name, Path(path))
        if version < _numbers(pin.version):
            return f"{path} is {'.'.join(map(str, version)) or 'not telling its version'}"
    return ""


def _three_ways(pin: Pin) -> str:
    if pin.ways == ("npm",):
        return (
            f"one of two: put {pin} or newer on PATH; "
            f"install Node {OLDEST_NODE} or newer with npm and let it reach its registry"
        )
    hosts = " or ".join(sorted({urlsplit(file.url).netloc for file in pin.files.values()}))
    return (
        f"one of three: put {' and '.join(pin.executables)} {pin.version} or newer on PATH; "
        f"let this machine reach {hosts} (PROGRAMS_SOURCE=download); "
        "install Go 1.26.6 or newer and let it reach its module proxy (PROGRAMS_SOURCE=go)"
    )
