"""Commands for work on the suite itself: test, lint, relock, bench. `inv` runs them too: one tool to learn, no Nox."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, options, process
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import RemoteExit, Unavailable
from tasks.settings import ROOT, Settings

if TYPE_CHECKING:
    from tasks.programs.pins import Pin

PYTHON = sys.executable
# No address in a lock, and one that holds for every Python and system that the suite supports.
COMPILE = (
    *("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate"),
    *("--python-version", "3.11"),
)
LOCKS = (
    ("pyproject.toml", "--output-file", "requirements.lock"),
    (
        *("pyproject.toml", "--group", "dev", "--constraint", "requirements.lock"),
        *("--output-file", "requirements-dev.lock"),
    ),
    # pyinfra wants an older paramiko than we do.
    ("--group", "pyproject.toml:bench", "--output-file", "requirements-bench.lock"),
    ("--group", "pyproject.toml:ansible", "--output-file", "requirements-ansible.lock"),
)
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    # By itself: it is the module `tasks` as Invoke loads it, beside the package of that name.
    ("mypy", "tasks.py"),
    ("shellcheck", "inv", ".ci/run"),
    ("hadolint", ".devcontainer/Dockerfile"),
    ("check-jsonschema", "--schemafile", ".devcontainer/devcontainer.schema.json", ".devcontainer/devcontainer.json"),
)


@command(
    words=True, options_help={"containers": "the tests of the dev container's image: they need a container engine"}
)
def test(context: Context, containers: bool = False) -> None:
    """Run every test, the real programs included; words after `--` go to pytest and choose some of them.

    When all run, the branch coverage of tasks/ is measured, child processes counted, and must reach its bound.
    """
    chosen = options.words()
    # A comparison of speeds means nothing on a busy machine: `inv test -- -m speed` makes it on a quiet one.
    # What tries its luck a hundred times needs a quarter of an hour: `inv test -- -m long`.
    marker = "containers" if containers else "not containers and not speed and not long"
    pytest = ("-m", "pytest", "-m", marker, *chosen)
    if is_dry(context):
        console.say(f"would run python {' '.join(pytest)}")
        return
    _bring_in_programs()
    if chosen or containers:
        _run(PYTHON, *pytest)
    else:
        _run_measured(pytest)


@command()
def lint(context: Context) -> None:
    """Check style, types, shell scripts, the Dockerfile and the dev container's configuration."""
    if is_dry(context):
        console.say("\n".join(f"would run {' '.join(check)}" for check in CHECKS))
        return
    _bring_in_development()
    failed = [check for check in CHECKS if not _passes(check)]
    for check in failed:
        console.step(f"failed: {' '.join(check)}")
    if failed:
        raise RemoteExit(1)
    console.step(f"all {len(CHECKS)} checks pass")


@command(
    options_help={
        "runs": "counted runs of each side",
        "json": "one JSON document instead of the table",
        "hosts": "instead: one command on so many hosts, beside ssh, asyncssh, Ansible…; 1,30,200 makes three tables",
        "forks": "with --hosts: how many at once",
        "write": "with --hosts: put the tables into README.md",
    }
)
def bench(
    context: Context, runs: str = "7", json: bool = False, hosts: str = "", forks: str = "32", write: bool = False
) -> None:
    """Compare our commands with the same by hand, on a lab of its own, and say which bounds are kept."""
    from benchmark import by_hand

    numbers = [options.count("hosts", each) for each in options.names(hosts)]
    if is_dry(context):
        sizes = f" of {hosts} hosts" if numbers else ""
        console.say(f"would start a lab{sizes} and measure {options.count('runs', runs)} runs of each side there")
        return
    if numbers:
        _bench_many(numbers, options.count("runs", runs), options.count("forks", forks), json=json, write=write)
        return

    outcomes = by_hand.run(options.count("runs", runs))
    if json:
        console.document([vars(outcome) for outcome in outcomes])
    else:
        console.say(by_hand.as_table(outcomes))
    _end_with([outcome.name for outcome in outcomes if not outcome.kept])


def _bench_many(numbers: Sequence[int], runs: int, forks: int, *, json: bool, write: bool) -> None:
    from benchmark import fleet

    measured = [fleet.run(number, runs, forks) for number in numbers]
    tables = [fleet.as_markdown(outcomes) for outcomes in measured]
    if json:
        console.document([vars(outcome) for outcomes in measured for outcome in outcomes])
    else:
        console.say("\n\n".join(tables))
        console.say("\n" + "\n".join(map(fleet.as_sentence, measured)))
    if write:
        fleet.write_into(ROOT / "README.md", tables)
    _end_with([bound for outcomes in measured for bound in fleet.missed(outcomes)])


def _end_with(missed: Sequence[str]) -> None:
    if missed:
        console.step(f"bounds are not kept: {', '.join(missed)}")
        raise RemoteExit(1)


@command(options_help={"upgrade": "take the newest versions that pyproject.toml allows, not those already locked"})
def relock(context: Context, upgrade: bool = False) -> None:
    """Write every requirements*.lock anew from pyproject.toml."""
    for lock in LOCKS:
        words = (*COMPILE, *lock, *(("--upgrade",) if upgrade else ()))
        if is_dry(context):
            console.say(f"would run {' '.join(words)}")
            continue
        _bring_in_development()
        _run(*_tool(words))


def _bring_in_programs() -> None:
    """Bring in pytest and its kind, and the programs that the real tests find in the cache.

    Whoever has no Node goes without bw, and without its tests; CI has it.
    """
    from tasks.programs.pins import read_npm_pins, read_pins

    _bring_in_development()
    settings = load_settings()
    for pin in read_pins().values():
        _bring_in(pin, settings)
    for pin in read_npm_pins().values():
        try:
            _bring_in(pin, settings)
        except Unavailable as failure:
            if console.in_ci():
                raise
            console.step(f"{failure.what}, the tests that run it are skipped: {failure.why}")


def _bring_in(pin: "Pin", settings: Settings) -> None:
    from tasks.programs.provision import ensure

    ensure(pin, source=settings.programs_source, cache=settings.cache_folder, say=console.step)


def _bring_in_development() -> None:
    """Have `inv` add what requirements-dev.lock names to this very environment, if it made it."""
    if (Path(sys.prefix) / "requirements.stamp").exists():
        _run(str(ROOT / "inv"), "--with-development", PLATFORM_VENV=sys.prefix)


def _run_measured(pytest: Sequence[str]) -> None:
    """Run pytest under coverage; its failure outweighs a bound that was missed."""
    # An absolute place: the children of tests run in other folders.
    environment = {**os.environ, "COVERAGE_FILE": str(ROOT / ".coverage")}
    coverage = (PYTHON, "-m", "coverage")
    process.attach(*coverage, "erase", environment=environment, folder=ROOT)
    tested = process.attach(*coverage, "run", *pytest, environment=environment, folder=ROOT)
    process.attach(*coverage, "combine", "--quiet", environment=environment, folder=ROOT)
    covered = process.attach(*coverage, "report", environment=environment, folder=ROOT)
    if tested or covered:
        raise RemoteExit(tested or covered)


def _passes(check: tuple[str, ...]) -> bool:
    console.step(f"$ {' '.join(check)}")
    return process.attach(*_tool(check), environment=os.environ, folder=ROOT) == 0


def _run(*argv: str, **variables: str) -> None:
    status = process.attach(*argv, environment={**os.environ, **variables}, folder=ROOT)
    if status != 0:
        raise RemoteExit(status)


def _tool(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words with the program's own place in this environment, whatever else is on PATH."""
    return (str(Path(PYTHON).with_name(words[0])), *words[1:])
