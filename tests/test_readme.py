"""What the README says is so: commands, exit codes, the login's states, files."""

import json
import re

import pytest

from tasks.errors import Failure
from tasks.net.login import State
from tests.conftest import ROOT, Inv
from tests.test_errors import KINDS

TEXT = (ROOT / "README.md").read_text()
COMMAND = r"[a-z]+(?:\.[a-z][a-z-]*)?"


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


def test_the_table_of_commands_is_what_inv_lists(commands: set[str]) -> None:
    """Each command that there is, and no other."""
    cells = [line.split("|")[1] for line in section("Commands").replace(r"\|", " or ").splitlines() if "| `" in line]
    named = {words.split()[0] for cell in cells for words in re.findall("`([^`]+)`", cell)}

    assert named == commands


def test_the_examples_call_commands_that_there_are(commands: set[str]) -> None:
    """Every word before an option that looks like a command."""
    called: set[str] = set()
    for line in re.findall(r"\./inv ([^#;\n`)]*)", TEXT):
        words = line.split(" -- ")[0].split()
        called |= {word for word in words if re.fullmatch(COMMAND, word)}

    assert called - commands == set()


def test_the_table_of_exit_codes_is_that_of_the_failures() -> None:
    """Ours, beside Invoke's 1, Ctrl-C's 130, and those of remote commands."""
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}

    assert codes == {status for status, _ in KINDS.values()} | {0, 1, 130}
    assert Failure.exit_status in codes


def test_the_picture_of_the_login_has_every_state() -> None:
    """And no other word in capitals but for the setting."""
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", section("The login").split("```")[1]))

    assert named - {"TS_AUTHKEY"} == {state.name for state in State}


def test_the_files_it_names_are_there() -> None:
    """In `tasks/`, `tests/` and beside the README."""
    named = set(re.findall(r"`((?:tasks|tests|inventory)/[\w./]*|\.env\.example)`", TEXT))

    assert {name for name in named if not (ROOT / name).exists()} == set()
    assert len(named) > 10
