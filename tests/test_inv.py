"""The wrapper `inv`: what it makes, when, with what, and what it never does.

Most tests give it a PATH of their own with fake programs: a `uv` whose environments hold a shell script for a Python.
The last ones run real Pythons, pip and uv, offline, on a wheel made from the Invoke that runs this test.
"""

import base64
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from tests.conftest import ROOT, Home, lacking
from tests.waiting import until

# Everything that `inv` may use of a machine, apart from Python and uv.
TOOLS = ("sh", "cksum", "flock", "find", "ls", "cat", "mkdir", "mv", "rm", "readlink", "sleep", "chmod")

FAKE_UV = """#!/bin/sh
echo "uv $*" >>"$CALLS"
if [ -n "${BLOCK-}" ] && [ "$1" = pip ]; then cat "$BLOCK" >/dev/null; fi
case $1 in
    venv)
        while [ $# -gt 1 ]; do shift; done
        mkdir -p "$1/bin"
        printf '#!/bin/sh\\nshift\\necho "$PWD: $*"\\n' >"$1/bin/python"
        chmod +x "$1/bin/python"
        ;;
    pip) [ -z "${BROKEN-}" ] || { echo 'no such package' >&2; exit 2; } ;;
esac
"""
FAKE_PYTHON = """#!/bin/sh
echo "%s"
"""


@dataclass(frozen=True)
class Checkout:
    """A copy of the wrapper and its locks in a folder of its own, and the one PATH it is run with."""

    root: Path
    bin: Path
    calls: Path
    environment: dict[str, str]

    @property
    def venv(self) -> Path:
        """Where the environment lies by default."""
        return self.root / ".venv"

    def start(self, *words: str, folder: Path | None = None, **variables: str) -> "subprocess.Popen[str]":
        """Start `./inv WORDS…`."""
        return subprocess.Popen(
            [str(self.root / "inv"), *words],
            cwd=folder or self.root,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, folder: Path | None = None, **variables: str) -> tuple[int, str, str]:
        """Run `./inv WORDS…` to its end: exit status, stdout, stderr."""
        return ended(self.start(*words, folder=folder, **variables))

    def program(self, name: str, text: str) -> None:
        """Put a fake program on PATH."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def python(
        self, name: str = "python3", *, enough: bool = True, complete: bool = True, version: str = "3.11"
    ) -> None:
        """Put a fake Python on PATH that answers as `inv` asks; it can make nothing."""
        self.program(name, FAKE_PYTHON % f"{enough} {complete} {version} /opt/{name}")

    def installs(self) -> list[str]:
        """Return the locks that were installed, in order."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [Path(line.rpartition(" ")[2]).name for line in lines if line.startswith("uv pip")]


def ended(child: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for a started `inv`: exit status, stdout, stderr."""
    stdout, stderr = child.communicate(timeout=50)
    return child.returncode, stdout, stderr


@pytest.fixture
def checkout(home: Home) -> Checkout:
    """Give a checkout with blanks in its name and a PATH with a fake uv and a fake Python."""
    root, tools, calls = home.folder / "a check out", home.folder / "bin", home.folder / "calls"
    root.mkdir()
    tools.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (tools / tool).symlink_to(found)
    shutil.copy(ROOT / "inv", root / "inv")
    (root / "requirements.lock").write_text("first\n")
    (root / "requirements-dev.lock").write_text("first\nsecond\n")
    environment = {"PATH": str(tools), "HOME": str(home.home), "CALLS": str(calls)}
    made = Checkout(root, tools, calls, environment)
    made.program("uv", FAKE_UV)
    made.python()
    return made


def test_first_run_makes_the_environment_and_says_so_on_stderr_alone(checkout: Checkout) -> None:
    status, stdout, stderr = checkout.run("net.up", "--timeout=3 s")

    assert status == 0
    assert f"{checkout.root}: --search-root {checkout.root} net.up --timeout=3 s\n" == stdout
    assert f"inv: making the virtual environment {checkout.venv} with /opt/python3 and uv\n" == stderr


def test_second_run_is_silent_and_makes_nothing(checkout: Checkout) -> None:
    checkout.run()

    assert (0, f"{checkout.root}: --search-root {checkout.root} x\n", "") == checkout.run("x")
    assert checkout.installs() == ["requirements.lock"]


def test_it_keeps_the_callers_folder(checkout: Checkout, home: Home) -> None:
    checkout.run()

    assert (0, f"{home.home}: --search-root {checkout.root} x\n", "") == checkout.run("x", folder=home.home)


def test_a_link_to_it_works_from_anywhere(checkout: Checkout, home: Home) -> None:
    link = home.home / "pm"
    link.symlink_to(checkout.root / "inv")
    checkout.run()

    said = subprocess.check_output([link, "x"], env=checkout.environment, cwd=home.home, text=True)
    assert f"{home.home}: --search-root {checkout.root} x\n" == said


def test_changed_lock_makes_the_environment_again(checkout: Checkout) -> None:
    checkout.run()
    (checkout.venv / "leftover").touch()
    (checkout.root / "requirements.lock").write_text("other\n")

    status, _, stderr = checkout.run()

    assert status == 0
    assert "making the virtual environment" in stderr
    assert not (checkout.venv / "leftover").exists()
    assert checkout.installs() == ["requirements.lock", "requirements.lock"]


def test_copied_environment_is_made_again(checkout: Checkout, home: Home) -> None:
    checkout.run()
    other = home.folder / "other"
    shutil.copytree(checkout.root, other, symlinks=True)

    said = subprocess.run([other / "inv"], env=checkout.environment, capture_output=True, text=True, check=True)
    assert f"making the virtual environment {other}/.venv" in said.stderr


def test_environment_whose_python_is_gone_is_made_again(checkout: Checkout) -> None:
    checkout.run()
    (checkout.venv / "bin" / "python").unlink()
    (checkout.venv / "bin" / "python").symlink_to("/nowhere/python3.9")

    status, stdout, _ = checkout.run("x")

    assert (0, f"{checkout.root}: --search-root {checkout.root} x\n") == (status, stdout)


def test_failed_install_is_told_and_never_used(checkout: Checkout) -> None:
    status, stdout, stderr = checkout.run("x", BROKEN="1")

    assert (status, stdout) == (69, "")
    assert stderr.endswith(
        "no such package\n"
        "inv: error: cannot install what requirements.lock names\n"
        "inv:   next: read the lines above; a later ./inv starts over\n"
    )
    assert "making the virtual environment" in checkout.run("x")[2]


def test_killed_in_the_middle_leaves_nothing_that_is_used(checkout: Checkout, home: Home) -> None:
    gate = home.folder / "gate"
    os.mkfifo(gate)
    child = checkout.start("x", BLOCK=str(gate))
    until(checkout.installs, what="install")
    child.send_signal(signal.SIGKILL)
    gate.open("w").close()
    child.communicate(timeout=50)

    status, stdout, stderr = checkout.run("x")

    assert (0, f"{checkout.root}: --search-root {checkout.root} x\n") == (status, stdout)
    assert "making the virtual environment" in stderr


@pytest.mark.parametrize("with_flock", [True, False])
def test_many_at_once_make_it_once(checkout: Checkout, home: Home, with_flock: bool) -> None:
    if not with_flock:
        (checkout.bin / "flock").unlink()
    gate = home.folder / "gate"
    os.mkfifo(gate)
    children = [checkout.start("x", BLOCK=str(gate)) for _ in range(4)]
    until(checkout.installs, what="install")
    gate.open("w").close()
    ends = [ended(child) for child in children]

    assert {(0, f"{checkout.root}: --search-root {checkout.root} x\n")} == {end[:2] for end in ends}
    assert checkout.installs() == ["requirements.lock"]


def test_lock_of_a_dead_process_is_cleared_where_there_is_no_flock(checkout: Checkout) -> None:
    (checkout.bin / "flock").unlink()
    dead = subprocess.Popen(["true"])
    dead.wait()
    making = checkout.root / ".venv.making"
    making.mkdir()
    (making / "pid").write_text(str(dead.pid))

    assert checkout.run("x")[0] == 0
    assert not making.exists()


def test_development_programs_come_when_asked_for_and_once(checkout: Checkout) -> None:
    checkout.run()
    status, stdout, stderr = checkout.run("--with-development", "test")

    assert (0, f"{checkout.root}: --search-root {checkout.root} test\n") == (status, stdout)
    assert stderr == "inv: bringing in what tests and linters need\n"
    assert checkout.run("--with-development", "test")[::2] == (0, "")
    assert checkout.run("net.up")[::2] == (0, "")
    assert checkout.run("--with-development") == (0, "", "")
    assert checkout.installs() == ["requirements.lock", "requirements-dev.lock"]


def test_changed_development_lock_leaves_the_environment_alone(checkout: Checkout) -> None:
    checkout.run("--with-development")
    (checkout.root / "requirements-dev.lock").write_text("other\n")

    assert checkout.run("net.up")[::2] == (0, "")
    assert "bringing in" in checkout.run("--with-development")[2]


def test_place_of_the_environment_can_be_chosen(checkout: Checkout, home: Home) -> None:
    place = home.home / "deep" / "venv"

    assert f"making the virtual environment {place} " in checkout.run("x", PLATFORM_VENV=str(place))[2]
    assert checkout.run("x", PLATFORM_VENV="deep/venv", folder=home.home)[::2] == (0, "")
    assert not checkout.venv.exists()


def test_folder_that_is_something_else_is_never_emptied(checkout: Checkout, home: Home) -> None:
    (home.home / "letters").touch()

    status, _, stderr = checkout.run("x", PLATFORM_VENV=str(home.home))

    assert status == 69
    assert (
        f"inv: error: {home.home} is not empty and was not made by inv\n"
        "inv:   next: remove it, or PLATFORM_VENV=FOLDER ./inv …\n"
    ) == stderr
    assert (home.home / "letters").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_checkout_that_cannot_be_written_has_its_environment_in_the_cache(checkout: Checkout, home: Home) -> None:
    nobody = 65534
    for folder in (home.folder, home.home):
        folder.chmod(0o755)
    os.chown(home.home, nobody, nobody)
    checkout.calls.touch()
    checkout.calls.chmod(0o666)

    said = subprocess.run(
        [checkout.root / "inv", "x"],
        env=checkout.environment,
        cwd="/",
        user=nobody,
        group=nobody,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"/: --search-root {checkout.root} x\n" == said.stdout
    assert f"{home.home}/.cache/platform-manager/venv-" in said.stderr
    assert not checkout.venv.exists()


@pytest.mark.parametrize(
    ("name", "install"), [("python3", "apt install python3-venv"), ("python3.12", "apt install python3.12-venv")]
)
def test_missing_ensurepip_gets_the_exact_apt_line(checkout: Checkout, name: str, install: str) -> None:
    (checkout.bin / "uv").unlink()
    (checkout.bin / "python3").unlink()
    checkout.python(name, complete=False)

    assert (
        69,
        "",
        f"inv: error: {name} has no ensurepip, which makes virtual environments\ninv:   next: {install}\n",
    ) == checkout.run("x")


def test_uv_needs_no_ensurepip(checkout: Checkout) -> None:
    checkout.python(complete=False)

    assert checkout.run("x")[0] == 0


def test_complete_python_is_taken_before_an_incomplete_one(checkout: Checkout) -> None:
    (checkout.bin / "uv").unlink()
    checkout.python(complete=False)
    checkout.python("python3.12", version="3.12")

    assert f"making the virtual environment {checkout.venv} with /opt/python3.12\n" in checkout.run("x")[2]


def test_older_python_is_passed_over(checkout: Checkout) -> None:
    checkout.python(enough=False, version="3.9")
    checkout.python("python3.13", version="3.13")

    assert "with /opt/python3.13 and uv" in checkout.run("x")[2]


def test_without_a_python_it_says_what_to_install(checkout: Checkout) -> None:
    checkout.python(enough=False, version="3.9")

    assert checkout.run("x") == (
        69,
        "",
        "inv: error: no Python 3.11 or newer on PATH (older: python3)\ninv:   next: apt install python3 python3-venv\n",
    )


@dataclass(frozen=True)
class Real:
    """A checkout whose tasks are real, on a PATH with this test's own Python; pip and uv see one folder of wheels."""

    checkout: Checkout
    variables: dict[str, str]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        """Start `./inv WORDS…`."""
        return self.checkout.start(*words, folder=self.checkout.root, **self.variables)

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run `./inv WORDS…` to its end."""
        return ended(self.start(*words))


TASKS = """
import os
from invoke.exceptions import Exit
from invoke.tasks import task

@task
def who(c):
    print(os.getpid())

@task
def end(c):
    raise Exit(code=7)
"""


@pytest.fixture
def real(checkout: Checkout, home: Home) -> Real:
    """Give a checkout with real tasks, the real Python and a lock that names Invoke's wheel by its hash."""
    (checkout.bin / "uv").unlink()
    checkout.program("python3", f'#!/bin/sh\nexec "{Path(sys.executable).resolve()}" "$@"\n')
    wheels = home.folder / "wheels"
    wheels.mkdir()
    wheel = wheel_of("invoke", wheels)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = f"invoke=={metadata.version('invoke')} --hash=sha256:{digest}\n"
    (checkout.root / "requirements.lock").write_text(lock)
    (checkout.root / "tasks.py").write_text(TASKS)
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "UV_OFFLINE": "1", "UV_FIND_LINKS": str(wheels)}
    return Real(checkout, {**offline, "UV_NO_INDEX": "1", "UV_CACHE_DIR": str(home.cache / "uv")})


def wheel_of(name: str, folder: Path) -> Path:
    """Pack the installed distribution into a wheel again."""
    installed = metadata.distribution(name)
    path = folder / f"{name}-{installed.version}-py3-none-any.whl"
    records = []
    with zipfile.ZipFile(path, "w") as wheel:
        for file in installed.files or ():
            inside = file.parts[0] != ".." and file.suffix != ".pyc" and file.name not in {"RECORD", "INSTALLER"}
            if inside:
                content = file.read_binary()
                digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
                wheel.writestr(str(file), content)
                records.append(f"{file},sha256={digest},{len(content)}")
        record = f"{name}-{installed.version}.dist-info/RECORD"
        wheel.writestr(record, "\n".join([*records, f"{record},,", ""]))
    return path


def test_real_pip_runs_tasks_with_their_own_exit_status_and_process(real: Real) -> None:
    assert real.run("who")[0] == 0
    child = real.start("who")
    assert (0, f"{child.pid}\n", "") == ended(child)
    assert real.run("end") == (7, "", "")


def test_real_uv_does_the_same(real: Real) -> None:
    use_uv(real)

    assert real.run("end")[:2] == (7, "")
    assert real.run("end") == (7, "", "")


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_file_with_another_hash_is_not_installed(real: Real, installer: str) -> None:
    if installer == "uv":
        use_uv(real)
    lock = real.checkout.root / "requirements.lock"
    lock.write_text(f"invoke=={metadata.version('invoke')} --hash=sha256:{'0' * 64}\n")

    status, stdout, stderr = real.run("who")

    assert (status, stdout) == (69, "")
    assert stderr.endswith(
        "inv: error: cannot install what requirements.lock names\n"
        "inv:   next: read the lines above; a later ./inv starts over\n"
    )


@pytest.mark.speed
def test_warm_it_costs_less_than_60_ms(real: Real) -> None:
    use_uv(real)
    real.run("--version")
    direct = [str(real.checkout.venv / "bin" / "inv"), "--search-root", str(real.checkout.root), "--version"]

    pairs = [(seconds([str(real.checkout.root / "inv"), "--version"], real), seconds(direct, real)) for _ in range(5)]

    assert min(pair[0] for pair in pairs) - min(pair[1] for pair in pairs) < 0.060


def seconds(argv: list[str], real: Real) -> float:
    """Return how long the program took."""
    started = time.monotonic()
    subprocess.run(argv, env=real.checkout.environment, check=True, capture_output=True)
    return time.monotonic() - started


def use_uv(real: Real) -> None:
    """Put the uv of this virtual environment on PATH."""
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        lacking("uv is not in this virtual environment: `./inv --with-development --list` brings it in")
    (real.checkout.bin / "uv").symlink_to(uv)
