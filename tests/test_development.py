"""The commands for who works on the suite: what they run, whose exit status they end with, and what the locks hold."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT, Home, Inv, path_without

LOCKS = ["requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-ansible.lock"]


@pytest.fixture
def programs(home: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put programs newer than the pinned ones on PATH, so that `test` has none to install."""
    folder = home.folder / "bin"
    folder.mkdir()
    for name in ("tailscale", "tailscaled", "headscale", "bw"):
        (folder / name).write_text("#!/bin/sh\necho 9999.0.0\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


def test_chosen_tests_run_and_their_status_is_ours(inv: Inv, programs: Path) -> None:
    assert (programs / "tailscale").exists()

    passed = inv("test", "--", "tests/programs/test_pins.py", "-k", "architecture")
    missing = inv("test", "--", "tests/nowhere.py")

    assert (passed.exit_status, missing.exit_status) == (0, 4)
    assert re.search(r"=+ \d+ passed, \d+ deselected in .*s =+$", passed.stdout.rstrip())


def test_tests_are_chosen_from_any_folder(inv: Inv, programs: Path, home: Home) -> None:
    assert (programs / "tailscale").exists()

    passed = inv(f"--search-root={ROOT}", "test", "--", "tests/programs/test_pins.py", folder=home.home)

    assert passed.exit_status == 0


def test_without_node_the_tests_of_bw_are_skipped_and_in_ci_nothing_is(inv: Inv, programs: Path, home: Home) -> None:
    others = Path(path_without("node", home.folder / "others"))
    for folder in (programs, others):
        (folder / "bw").unlink(missing_ok=True)
    chosen = ("test", "--", "tests/programs/test_pins.py", "-k", "architecture")

    own, in_ci = (inv(*chosen, environment={"PATH": f"{programs}:{others}", "CI": ci}) for ci in ("", "true"))

    assert own.exit_status == 0
    assert "cannot get bw 2026.6.0, the tests that run it are skipped: there is no node and npm on PATH" in own.stderr
    assert (in_ci.exit_status, in_ci.stdout) == (69, "")
    assert "error: cannot get bw 2026.6.0: there is no node and npm on PATH" in in_ci.stderr


def test_a_dry_benchmark_starts_no_lab(inv: Inv, home: Home) -> None:
    assert inv("--dry", "bench").stdout == "would start a lab and measure 7 runs of each side there\n"
    assert inv("--dry", "bench", "--hosts=1,30", "--runs=3").stdout == (
        "would start a lab of 1,30 hosts and measure 3 runs of each side there\n"
    )
    assert inv("--dry", "bench", "--hosts=x").exit_status == 64
    assert list(home.temporary.iterdir()) == []


def test_dry_run_tells_what_it_would_run(inv: Inv) -> None:
    assert inv("--dry", "test").stdout == "would run python -m pytest -m not containers and not speed and not long\n"
    assert inv("--dry", "test", "--containers").stdout == "would run python -m pytest -m containers\n"
    assert inv("--dry", "lint").stdout.splitlines() == [
        "would run ruff check .",
        "would run ruff format --check .",
        "would run mypy",
        "would run mypy tasks.py",
        "would run shellcheck inv .ci/run",
        "would run hadolint .devcontainer/Dockerfile",
        "would run check-jsonschema --schemafile .devcontainer/devcontainer.schema.json "
        ".devcontainer/devcontainer.json",
    ]


def test_relock_keeps_what_is_locked_unless_told_to_upgrade(inv: Inv) -> None:
    compiling = (
        "would run uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate "
        "--python-version 3.11 "
    )
    lines = [
        f"{compiling}pyproject.toml --output-file requirements.lock",
        f"{compiling}pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock",
        f"{compiling}--group pyproject.toml:bench --output-file requirements-bench.lock",
        f"{compiling}--group pyproject.toml:ansible --output-file requirements-ansible.lock",
    ]

    assert inv("--dry", "relock").stdout.splitlines() == lines
    assert inv("--dry", "relock", "--upgrade").stdout.splitlines() == [f"{line} --upgrade" for line in lines]


@pytest.mark.parametrize("name", LOCKS)
def test_lock_holds_hashes_and_no_address(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    pins = [position for position, line in enumerate(lines) if not line.startswith(" ")]

    assert [line for line in lines if "://" in line or line.startswith(("-", "#"))] == []
    for pin in pins:
        assert lines[pin + 1].startswith("    --hash=sha256:"), lines[pin]


def test_development_lock_only_adds_to_the_other() -> None:
    running, development = (_pins(name) for name in ("requirements.lock", "requirements-dev.lock"))

    assert running < development


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = {pin.partition("==")[0] for pin in _pins("requirements-dev.lock")}
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]

    assert {re.split(r"[<>=]", word)[0].lower() for word in wanted} <= locked


def _pins(name: str) -> set[str]:
    lines = (ROOT / name).read_text().splitlines()
    return {line.split(";")[0].split("\\")[0].strip() for line in lines if line and not line.startswith(" ")}
