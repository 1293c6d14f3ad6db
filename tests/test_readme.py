"""What the README says is so: commands and options, exit codes, the login's states, settings, files, figures."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from benchmark.fleet import BEGIN, END
from tasks.errors import Failure
from tasks.net.login import State
from tasks.remote.summary import WORST_FIRST
from tests.conftest import ROOT, Inv
from tests.test_errors import KINDS

TEXT = (ROOT / "README.md").read_text()
COMMAND = r"[a-z]+(?:\.[a-z][a-z-]*)?"
# Invoke's own, which stand before a command or in no command, and those of other programs.
NOT_OF_COMMANDS = {"--dry", "--help", "--list", "--cap-drop", "--delete", "--init", "--privileged", "--reset"}
Options = Mapping[str, set[str]]
# Prints what `inv --help COMMAND` lists for each, without the names of what is given by its place.
ASK_INVOKE = """
import json
from invoke.collection import Collection
from invoke.loader import FilesystemLoader

module, _ = FilesystemLoader(start=".").load("tasks")
contexts = Collection.from_module(module).to_contexts()
print(json.dumps({each.name: [flag for flag, its in each.flags.items() if not its.positional] for each in contexts}))
"""


def section(title: str) -> str:
    """Return the text under a heading."""
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match is not None, f"the README has no section {title}"
    return match[1]


@pytest.fixture
def commands(inv: Inv) -> set[str]:
    """Return the commands that there are."""
    root = json.loads(inv("--list", "--list-format=json").stdout)
    dotted = {f"{part['name']}.{task['name']}" for part in root["collections"] for task in part["tasks"]}
    return dotted | {task["name"] for task in root["tasks"]}


@pytest.fixture(scope="module")
def options() -> Options:
    """Return the options of each command."""
    said = subprocess.run([sys.executable, "-c", ASK_INVOKE], cwd=ROOT, capture_output=True, text=True, check=True)
    return {command: set(flags) for command, flags in json.loads(said.stdout).items()}


def rows() -> Iterator[list[str]]:
    """Yield what stands in backticks in the first cell of each row of the table of commands."""
    for line in section("Commands").replace(r"\|", " or ").splitlines():
        if line.startswith("| `"):
            yield re.findall("`([^`]+)`", line.split("|")[1])


def spans() -> Iterator[str]:
    """Yield all code: each line of the blocks without its comment, and what stands in backticks elsewhere."""
    prose, *others = re.split(r"^```(?:sh)?\n", TEXT, flags=re.MULTILINE)
    for block, after in zip(others[::2], others[1::2], strict=True):
        yield from (line.partition("  #")[0] for line in block.splitlines())
        prose += after
    yield from re.findall("`([^`]+)`", prose)


def calls(span: str, options: Options) -> Iterator[tuple[str, str]]:
    """Yield each option of a piece of code, behind the command that it follows; words after `--` are others'."""
    command = ""
    for word in re.findall(r"(?<![\w-])--[a-z-]*|[a-z][\w.-]*", span):
        if word == "--":
            return
        if word.startswith("--"):
            yield command, word
        elif word in options:
            command = word


def test_the_table_of_commands_is_what_inv_lists(commands: set[str]) -> None:
    """Each command that there is, and no other."""
    named = {words.split()[0] for row in rows() for words in row}

    assert {name for name in named if not re.match(r"\W", name)} == commands


def test_the_table_of_commands_has_every_option(options: Options) -> None:
    """In a row of the command; one that stands by itself there is an option of each command of the row."""
    missing = {(command, option) for command, flags in options.items() for option in flags}
    for row in rows():
        row_commands = [words.split()[0] for words in row if words.split()[0] in options]
        for command, option in (call for words in row for call in calls(words, options)):
            missing -= {(each, option) for each in ([command] if command else row_commands)}

    assert missing == set()


def test_the_options_it_names_are_those_of_their_commands(options: Options) -> None:
    """One without a command before it is an option of some command, or of another program."""
    anywhere = {option for flags in options.values() for option in flags} | NOT_OF_COMMANDS
    named = {call for span in spans() for call in calls(span, options)}

    assert {call for call in named if call[1] not in (options[call[0]] if call[0] else anywhere)} == set()
    assert len({option for command, option in named if command}) > 30


def test_the_examples_call_commands_that_there_are(commands: set[str]) -> None:
    """Every word before an option that looks like a command."""
    called: set[str] = set()
    for line in re.findall(r"\./inv ([^#;\n`)]*)", TEXT):
        words = re.sub("'[^']*'", "", line).split(" -- ")[0].split()
        called |= {word for word in words if re.fullmatch(COMMAND, word)}

    assert called - commands == set()


def test_the_table_of_exit_codes_is_that_of_the_failures() -> None:
    """Ours, beside Invoke's 1, Ctrl-C's 130, and those of remote commands."""
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}

    assert codes == {status for status, _ in KINDS.values()} | {0, 1, 130}
    assert Failure.exit_status in codes


def test_the_worst_exit_code_of_many_hosts_is_chosen_as_it_says() -> None:
    """In the very order."""
    said = re.search(r"The worst decides the exit code: ([\d,\s]+), then", TEXT)

    assert said is not None
    assert tuple(map(int, said[1].split(","))) == WORST_FIRST


def test_the_picture_of_the_login_has_every_state() -> None:
    """And no other word in capitals but for the setting."""
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", section("The login").split("```")[1]))

    assert named - {"TS_AUTHKEY"} == {state.name for state in State}


def test_the_files_it_names_are_there() -> None:
    """In `tasks/`, `tests/` and beside the README."""
    named = set(re.findall(r"`((?:tasks|tests|inventory)/[\w./]*|\.env\.example)`", TEXT))

    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert len(named) > 10


def test_the_settings_it_names_are_there() -> None:
    """In `.env.example`; but for the variable of an item."""
    named = set(re.findall(r"\b(?:(?:TS|BW|VAULT)_[A-Z0-9_]+|TAILNET|VAULT(?==))", TEXT))
    known = set(re.findall(r"^#([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert named - known == {"VAULT_TAILSCALE_AUTH_KEY"}
    assert len(named) > 10


def test_the_benchmark_finds_its_place_and_its_figures_are_those_of_the_tables() -> None:
    """`inv bench --write` writes the tables; the sentence is by hand."""
    tables, end, _ = TEXT.partition(BEGIN)[2].partition(END)
    said = re.search(r"One command on ([\w, ]+) hosts takes ([\w., ]+);", TEXT)

    assert end
    assert said is not None
    hosts = ["one host" if number == "1" else f"{number} hosts" for number in re.findall(r"\d+", said[1])]
    assert hosts == re.findall(r"^\| (one host|\d+ hosts),", tables, re.MULTILINE)
    assert re.findall(r"[\d.]+ s", said[2]) == re.findall(r"\| \*\*ours\*\* \| ([\d.]+ s)", tables)
