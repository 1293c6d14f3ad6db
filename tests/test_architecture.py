"""Holds the shape: who may import whom, how long things get, what `inv --list` costs, and that tests mirror the tree.

The sources are read, not run; only the last part starts the real `inv`. The rules are the README's "Where is what?":
a folder of `tasks/` is a namespace, its `__init__.py` and the root-level command files are thin layers, a module beside
an `__init__.py` is a part, the rest are shared words. `benchmark/` is on top of it all.
"""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Inv

TASKS = ROOT / "tasks"
BENCHMARK = ROOT / "benchmark"
TESTS = ROOT / "tests"
# The files at the top of tasks/ that hold commands; every other file there is a shared word.
ROOT_COMMANDS = {
    *("demo", "development", "doctor"),
    *("connecting", "copying", "keeping", "reach", "tools"),
}
# Files that other programs start by themselves: thin layers too.
PROGRAMS = {"remote/ssh_proxy.py"}
# What parts may use; command, settings and console are for thin layers only.
SHARED_WORDS = {
    "environment",
    "errors",
    "secret",
    "tailnet",
    "options",
    "process",
    "conversing",
    "running",
    "files",
    "loopback",
    "interrupting",
}
# Of console a part may have the two functions that print nothing.
SILENT_IN_CONSOLE = {"table", "visible"}
# Each third-party library has one owner, which translates its exceptions too.
OWNERS = {
    "dotenv": {"envfile.py"},
    "fabric": {"remote/ssh.py"},
    "filelock": {"files.py"},
    "invoke": {"command.py"},
    "msgspec": {"net/netmap.py"},
    "paramiko": {"remote/transport.py"},
    "pexpect": {"net/terminal.py"},
    "platformdirs": {"settings.py"},
    "psutil": {"net/ports.py"},
    "pyrage": {"vault/age.py"},
    "socks": {"remote/proxy.py"},
    "subprocess": {"process.py"},
    "yaml": {"remote/document.py"},
}
FORBIDDEN_NAMES = {"utils", "helpers", "common", "lib", "core", "constants", "types", "base"}
HEAVY = {"fabric", "paramiko", "socks", "yaml", "psutil", "filelock", "pyrage", "msgspec", "pexpect"}
LONGEST_FUNCTION = 40
LONGEST_FILE = 300
MOST_MOCKS = 5
MOCK = re.compile(r"\bmock\b|\bpatch\(|\bpatch\.|\.setattr\(")
# Joined here, so that this file does not hold them either.
REGISTRIES = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("proxy", "golang", "org"))]

SOURCES = sorted(TASKS.rglob("*.py"))
# What is in benchmark/programs/ runs by itself: how its peers' libraries are used, and what measures.
EVERY_SOURCE = [*SOURCES, *sorted(BENCHMARK.glob("*.py"))]
NOT_PARTS = {TASKS / name for name in PROGRAMS}
PARTS = [path for path in SOURCES if path.parent != TASKS and path.name != "__init__.py" and path not in NOT_PARTS]
WORDS = [path for path in SOURCES if path.parent == TASKS and path.stem not in {*ROOT_COMMANDS, "__init__"}]


def name_of(path: Path) -> str:
    """Return a source as it is called here, from tasks/ on where it is there."""
    return str(path.relative_to(TASKS if path.is_relative_to(TASKS) else ROOT))


def tree(path: Path) -> ast.Module:
    """Return the parsed source."""
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> Iterator[str]:
    """Yield every name imported anywhere in a source: `a.b` for `import a.b`, `a.b.c` for `from a.b import c`."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                assert level == 0, f"{path}: a relative import does not say where from"
                yield from (f"{module}.{alias.name}" for alias in names)


def calls(path: Path) -> Iterator[str]:
    """Yield the dotted name of every call in a source."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def each(paths: list[Path]) -> pytest.MarkDecorator:
    """Run a test once for each source."""
    return pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in paths])


@each(PARTS)
def test_a_part_imports_shared_words_and_its_siblings(path: Path) -> None:
    """Never a thin layer, never another namespace: what it needs from there comes as a value or a callable."""
    own = f"tasks.{path.parent.relative_to(TASKS).parts[0]}"
    wrong = []
    for name in imports(path):
        if name.split(".")[0] != "tasks" or name.startswith(f"{own}."):
            continue
        silent = name.startswith("tasks.console.") and name.rpartition(".")[2] in SILENT_IN_CONSOLE
        if not silent and name.split(".")[1] not in SHARED_WORDS:
            wrong.append(name)

    assert wrong == []


@each(PARTS)
def test_a_part_asks_neither_invoke_nor_the_environment_and_prints_nothing(path: Path) -> None:
    """Plain values in, records out."""
    names = set(imports(path))
    uses = {ast.unparse(node) for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}

    assert {name for name in names if name.split(".")[0] == "invoke"} == set()
    assert uses & {"os.environ", "os.getenv", "sys.argv", "sys.stdout", "sys.stderr", "sys.stdin"} == set()
    assert {"print", "input"} & set(calls(path)) == set()


@each(WORDS)
def test_a_shared_word_knows_no_namespace(path: Path) -> None:
    """It imports shared words only, and `errors` nothing at all."""
    words = {word.stem for word in WORDS}
    ours = {name.split(".")[1] for name in imports(path) if name.split(".")[0] == "tasks"}

    assert ours - words == set()
    if path.stem == "errors":
        assert list(imports(path)) == []
    if path.stem in SHARED_WORDS:
        assert ours - SHARED_WORDS == set()


@pytest.mark.parametrize("library", sorted(OWNERS))
def test_a_library_has_one_owner(library: str) -> None:
    """Whoever else needs it asks the owner."""
    users = {name_of(path) for path in EVERY_SOURCE if library in {name.split(".")[0] for name in imports(path)}}

    assert users == OWNERS[library]


def test_every_library_in_use_has_an_owner() -> None:
    """A new one gets its line in the table."""
    used = {name.split(".")[0] for path in EVERY_SOURCE for name in imports(path)}

    assert used - set(sys.stdlib_module_names) - {"tasks", "benchmark"} - set(OWNERS) == set()


def test_nothing_needs_the_benchmark_but_its_command() -> None:
    """It measures the suite; the suite works without it."""
    users = {name_of(path) for path in SOURCES if "benchmark" in {name.split(".")[0] for name in imports(path)}}

    assert users == {"development.py"}


@each(EVERY_SOURCE)
def test_nothing_exits_or_calls_a_shell(path: Path) -> None:
    """Exit statuses are of errors.py, programs get their words one by one, an exception has a name."""
    nodes = list(ast.walk(tree(path)))
    shells = [node.lineno for node in nodes if isinstance(node, ast.keyword) and node.arg == "shell"]
    bare = [node.lineno for node in nodes if isinstance(node, ast.ExceptHandler) and node.type is None]

    assert (shells, bare) == ([], [])
    assert {"sys.exit", "os._exit", "exit", "quit", "os.system", "os.popen", "SystemExit"} & set(calls(path)) == set()


def test_a_failure_says_of_which_kind_it_is() -> None:
    """A bare one is a bug of ours; only those that catch everything make one."""
    assert {name_of(path) for path in EVERY_SOURCE if "Failure" in calls(path)} == {"command.py", "remote/fanout.py"}


@each(EVERY_SOURCE)
def test_functions_and_files_stay_short(path: Path) -> None:
    """What grows longer has two things in it."""
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}

    assert {name: length for name, length in lengths.items() if length > LONGEST_FUNCTION} == {}
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@each(EVERY_SOURCE)
def test_a_source_is_named_for_what_it_owns_and_says_it(path: Path) -> None:
    """No drawer for anything; the first line of the docstring is a sentence."""
    said = ast.get_docstring(tree(path)) or ""

    assert {path.stem, path.parent.name} & FORBIDDEN_NAMES == set()
    assert said != "", "there is no docstring"
    assert re.fullmatch(r"[A-Z`].{20,}[.:]", said.splitlines()[0])


def test_no_command_has_the_name_of_a_part_beside_it() -> None:
    """Importing the part would replace the command."""
    double = []
    for path in (path for path in SOURCES if path.name == "__init__.py" and path.parent != TASKS):
        commands = {node.name for node in tree(path).body if isinstance(node, ast.FunctionDef) and node.decorator_list}
        double += [f"{path.parent.name}.{name}" for name in commands if (path.parent / f"{name}.py").exists()]

    assert double == []


def test_tests_mirror_the_tree() -> None:
    """Each source has its twin; that of a namespace's commands is test_commands.py."""
    missing = []
    for path in EVERY_SOURCE:
        if path not in {TASKS / "__init__.py", BENCHMARK / "__init__.py"}:
            name = "commands" if path.name == "__init__.py" else path.stem
            twin = TESTS / Path(name_of(path)).with_name(f"test_{name}.py")
            missing += [] if twin.exists() else [str(twin.relative_to(ROOT))]

    assert missing == []


def test_hardly_anything_is_mocked() -> None:
    """Fakes are programs and servers."""
    uses = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sorted(TESTS.rglob("*.py"))
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MOCK.search(line)
    ]

    assert len(uses) <= MOST_MOCKS, "\n".join(uses)


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="the files are not in git")
def test_no_file_knows_this_machine_or_a_registry() -> None:
    """Whoever clones this has other folders, and other ways to packages."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30)
    places = [place.encode() for place in (str(ROOT), sys.prefix, *REGISTRIES)]
    found = []
    for path in (ROOT / name.decode() for name in listed.stdout.split(b"\0")[:-1]):
        content = path.read_bytes() if path.is_file() else b""
        found += [f"{path.relative_to(ROOT)}: {place.decode()}" for place in places if place in content]

    assert found == []


def test_inv_lists_every_namespace_and_each_command_says_what_it_does(inv: Inv) -> None:
    """In one line. Only the real `inv` shows that the file tasks.py does not hide the folder tasks/."""
    ended = inv("--list", "--list-format=json")
    assert (ended.exit_status, ended.stderr) == (0, "")
    root = json.loads(ended.stdout)
    commands = {
        f"{part['name']}.{task['name']}": task["help"] for part in root["collections"] for task in part["tasks"]
    }
    commands |= {task["name"]: task["help"] for task in root["tasks"]}
    folders = {path.parent.name for path in SOURCES if path.name == "__init__.py" and path.parent != TASKS}

    assert {part["name"] for part in root["collections"]} == folders
    assert {name: said for name, said in commands.items() if not re.fullmatch(r"[A-Z].{8,118}\.", said or "")} == {}


def test_inv_finds_the_tasks_from_any_folder_of_the_checkout(inv: Inv) -> None:
    """Invoke searches upwards, and finds tasks.py, not the folder, in tasks/ too."""
    listed = inv("--list", folder=TASKS / "net")

    assert listed.exit_status == 0
    assert listed.stdout == inv("--list").stdout


def test_listing_imports_no_heavy_library() -> None:
    """They are imported by the command that needs them, so that a list takes no longer than Invoke itself."""
    ours = imported_by("--list")

    assert "tasks.command" in ours
    # Invoke's own yaml takes PyYAML's C part where that is installed.
    assert (ours - imported_by("--version")) & HEAVY == set()


def imported_by(*words: str) -> set[str]:
    """Return the modules, and the libraries they belong to, that an `inv` of these words imports."""
    ended = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "invoke", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    names = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")}
    return names | {name.split(".")[0] for name in names}
