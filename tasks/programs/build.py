"""Owns the build of a program from Go's modules, each pinned by the committed go.sum. The only file that knows `go`."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tasks import process, running
from tasks.errors import TimedOut, Unavailable
from tasks.programs.pins import Pin

LONGEST = 3600.0  # seconds for one program; 2 to 5 minutes are usual on two cores
SECONDS_BETWEEN_LINES = 15.0
LINES_OF_COMPLAINT = 8
# What go may see beside the plain variables: where its caches lie and how it reaches modules. GOFLAGS and GOTOOLCHAIN
# are ours: neither may change what is built or fetch another Go.
GO_VARIABLES = (
    *("GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GONOSUMDB", "GOPRIVATE", "GONOPROXY", "GOENV"),
    *(
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
    ),
)
OURS = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GO111MODULE": "on", "GOWORK": "off"}


def build(pin: Pin, folder: Path, say: Callable[[str], None], *, pace: float = SECONDS_BETWEEN_LINES) -> None:
    """Put the program's executables into the folder, built with the Go that is on PATH; else `Unavailable`.

    `pace` is the seconds between two lines that say that it still works.
    """
    found = shutil.which("go")
    if found is None:
        raise Unavailable("there is no go on PATH")
    # Go finds its own libraries by its real place.
    go = str(Path(found).resolve())
    version = _check_version(go, pin)
    say(f"building {pin} with Go {version} (some minutes)")
    log = folder / "go.log"
    child = process.detach(go_argv(go, pin, folder), environment=_environment(), log=log, folder=pin.recipe)
    status = _see_through(child, pin, say, pace)
    if status != 0:
        lines = log.read_text(errors="replace").splitlines()[-LINES_OF_COMPLAINT:]
        raise Unavailable(f"go could not build {pin}", why="\n    ".join(["it said", *lines]))
    log.unlink()


def go_argv(go: str, pin: Pin, folder: Path) -> tuple[str, ...]:
    """Return the words of `go build`: nothing is fetched that go.sum does not name, and the version is stamped."""
    stamps = [f"-X {variable}={pin.version}" for variable in pin.stamps]
    flags = ("-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags={' '.join(['-s', '-w', *stamps])}")
    return (go, "build", *flags, "-o", f"{folder}/", *pin.packages)


def _environment() -> dict[str, str]:
    return process.plain_environment(OURS, also=GO_VARIABLES)


def _check_version(go: str, pin: Pin) -> str:
    needed = _wanted_go(pin.recipe / "go.mod")
    answer = process.run(go, "version", deadline=30.0, environment=_environment())
    match = re.search(r"\bgo(\d+(?:\.\d+)*)", answer.text)
    if match is None:
        raise Unavailable(f"{go} does not tell its version", why=answer.complaint)
    if _numbers(match[1]) < _numbers(needed):
        raise Unavailable(f"Go {match[1]} at {go} is older than {needed}, which {pin} needs")
    return match[1]


def _wanted_go(module: Path) -> str:
    match = re.search(r"^go (\S+)$", module.read_text(), re.MULTILINE)
    return match[1] if match else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _see_through(child: process.Detached, pin: Pin, say: Callable[[str], None], pace: float) -> int:
    """Wait for go, saying now and then that it still works; end it when we are ended."""
    started = time.monotonic()
    try:
        while (status := child.wait(pace)) is None:
            elapsed = time.monotonic() - started
            say(f"  still building {pin.name}, {elapsed:.0f} s")
            if elapsed > LONGEST:
                raise TimedOut(f"go did not build {pin} within {LONGEST:g} s")
    finally:
        identity = running.identify(child.pid) if child.exit_status() is None else None
        if identity is not None:
            running.stop(identity, grace=5.0)
    return status
