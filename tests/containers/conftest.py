"""Owns what the container tests share: the engine, an imported Debian as base image, and the image built on it."""

import os
import shutil
import subprocess
import tempfile
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.programs.pins import read_pins
from tasks.programs.provision import find
from tests.conftest import ROOT
from tests.containers.engine import Engine, engine_in, run

BASE = "platform-manager-test-base"
IMAGE = "platform-manager-test"
DEVCONTAINER = "@devcontainers/cli@0.89.0"
PACKAGES = "ca-certificates,openssh-client,openssh-server,procps,python3,python3-venv"
# The base image answers for the whole network: its apt has no source, its pip one folder.
PIP_CONFIGURATION = "[global]\nno-index = true\nfind-links = /wheels\n"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Return a container engine, or skip."""
    folder = Path(tempfile.mkdtemp(prefix="pm-engine-", dir="/tmp"))
    try:
        with engine_in(folder) as engine:
            yield engine
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def base_image(engine: Engine, programs_cache: Path) -> Iterator[str]:
    """Return the name of a small Debian that holds what a build would fetch: packages, wheels, programs."""
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        pytest.skip("no base image: making one needs root and `apt install debootstrap`")
    root = Path(tempfile.mkdtemp(prefix="pm-base-", dir="/tmp"))
    try:
        _make_debian(root)
        _put_wheels(root)
        _put_programs(root, programs_cache)
        _import(engine, root)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    yield BASE
    engine.docker("image", "rm", "--force", BASE)


@pytest.fixture(scope="session")
def image(engine: Engine, base_image: str) -> Iterator[str]:
    """Return the name of the dev container's image, built without any network."""
    file = str(ROOT / ".devcontainer" / "Dockerfile")
    words = ("--network=none", f"--build-arg=BASE_IMAGE={base_image}", f"--file={file}", f"--tag={IMAGE}")
    engine.docker("build", *words, str(ROOT), deadline=600.0)
    yield IMAGE
    engine.docker("image", "rm", "--force", IMAGE)


@pytest.fixture(scope="session")
def devcontainer(engine: Engine, base_image: str) -> Iterator[Callable[..., str]]:
    """Return the runner of the reference implementation's command, `devcontainer WORDS…`, or skip."""
    if shutil.which("npm") is None:
        pytest.skip("no devcontainer command: `apt install npm` lets this test fetch it")
    folder = Path(tempfile.mkdtemp(prefix="pm-cli-", dir="/tmp"))
    environment = {**engine.environment, "BASE_IMAGE": base_image, "HOME": str(folder), "TMPDIR": str(folder)}

    def command(*words: str) -> str:
        return run(str(folder / "node_modules/.bin/devcontainer"), *words, environment=environment)

    try:
        run("npm", "install", "--silent", "--prefix", str(folder), DEVCONTAINER, environment=environment)
        yield command
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_debian(root: Path) -> None:
    words = ("--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root))
    made = subprocess.run(["debootstrap", *words], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"no base image: debootstrap ended with {made.returncode} ({made.stdout.strip()[-200:]})")
    (root / "etc/apt/sources.list").write_text("")


def _put_wheels(root: Path) -> None:
    """Download the lock's files for that Debian's Python, with a pip of our own: uv's environments have none."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        words = ("--quiet", "--require-hashes", "--only-binary=:all:", "--python-version=3.11")
        pip = (str(Path(folder) / "bin" / "python"), "-m", "pip", "download", *words)
        run(*pip, f"--dest={root}/wheels", "-r", str(ROOT / "requirements.lock"), environment=os.environ)
    (root / "etc/pip.conf").write_text(PIP_CONFIGURATION)


def _put_programs(root: Path, cache: Path) -> None:
    for pin in read_pins().values():
        found = find(pin, source="auto", cache=cache)
        assert found is not None, "`inv test` installs the programs before it starts pytest"
        for name, path in found.executables:
            shutil.copy(path, root / "usr/local/bin" / name)
            (root / "usr/local/bin" / name).chmod(0o755)


def _import(engine: Engine, root: Path) -> None:
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        assert tar.stdout is not None
        engine.docker("import", "-", BASE, stdin=tar.stdout.fileno())
    assert tar.returncode == 0
