"""What people see: redacted, aligned, harmless for their terminal, and asked only where somebody can answer."""

import json
import os
import pty
import subprocess
import sys

import pytest

from tasks import console
from tasks.console import table, visible
from tasks.secret import REDACTOR, Secret
from tests.conftest import ROOT


def python(
    code: str, *, environment: dict[str, str] | None = None, terminal: int = subprocess.DEVNULL
) -> tuple[str, str]:
    """Run a line of Python in a process of its own and return its stdout and its stderr, if that is no terminal."""
    ended = subprocess.run(
        [sys.executable, "-c", f"from tasks import console\n{code}"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if terminal == subprocess.DEVNULL else terminal,
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
        check=True,
        timeout=30,
    )
    return ended.stdout.decode(errors="replace"), (ended.stderr or b"").decode(errors="replace")


def on_a_terminal(code: str, *, environment: dict[str, str] | None = None, typed: str = "") -> tuple[str, str]:
    """Do the same with a pseudo-terminal on stdin and stderr; return stdout and what the terminal showed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, typed.encode())
        stdout, _ = python(code, environment=environment, terminal=theirs)
        os.write(theirs, b"\0")
        return stdout, os.read(ours, 65536).decode().rstrip("\0")
    finally:
        os.close(ours)
        os.close(theirs)


def test_results_go_to_stdout_and_steps_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """So that a pipe gets the results alone."""
    console.say("result")
    console.step("progress")

    assert capfd.readouterr() == ("result\n", "progress\n")


def test_everything_said_is_redacted(capfd: pytest.CaptureFixture[str]) -> None:
    """Results, steps and documents."""
    secret = REDACTOR.learn(Secret('sword"fish'))
    console.say(f"a {secret.reveal()}")
    console.step(f"b {secret.reveal()}")
    console.document({"c": secret.reveal()})

    assert capfd.readouterr() == ('a ****\n{\n  "c": "****"\n}\n', "b ****\n")


def test_a_secret_reaches_stdout_by_hand_over_alone(capfd: pytest.CaptureFixture[str]) -> None:
    """The one way, for `vault.get` and its like."""
    console.hand_over(REDACTOR.learn(Secret("swordfish")))

    assert capfd.readouterr() == ("swordfish\n", "")


def test_a_document_is_one_json_value_with_its_letters_as_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    """Not escaped: a person reads it too."""
    console.document({"name": "Zürich"})

    printed = capfd.readouterr().out
    assert json.loads(printed) == {"name": "Zürich"}
    assert "Zürich" in printed


def test_a_result_is_printed_in_any_locale() -> None:
    """A terminal that cannot show a letter gets a stand-in, never a crash."""
    stdout, _ = python("console.say('… Zürich \\udcff')", environment={"PYTHONIOENCODING": "ascii"})

    assert stdout == "\\u2026 Z\\xfcrich \\udcff\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_document_is_json_in_any_locale(encoding: str) -> None:
    """JSON has escapes of its own for letters that the locale lacks."""
    stdout, _ = python("console.document(['Zürich \\udcff'])", environment={"PYTHONIOENCODING": encoding})

    assert json.loads(stdout) == ["Zürich \udcff"]


@pytest.mark.parametrize(
    ("rows", "lines"),
    [
        pytest.param([("name", "state"), ("web1", "on")], ["name  state", "web1  on"], id="plain"),
        pytest.param([("name", "x"), ("東京", "x"), ("a", "x")], ["name  x", "東京  x", "a     x"], id="wide letters"),
        pytest.param([("name", "x"), ("Zu\u0308ri", "x")], ["name  x", "Zu\u0308ri  x"], id="combining letters"),
        pytest.param([("a", "b"), ("", "")], ["a  b", ""], id="nothing at the end of a line"),
        pytest.param([("only", "a", "head")], ["only  a  head"], id="head alone"),
    ],
)
def test_a_table_is_aligned_as_a_terminal_shows_it(rows: list[tuple[str, ...]], lines: list[str]) -> None:
    """Two blanks between columns, none at the end."""
    assert table(rows).split("\n") == lines


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        pytest.param("plain, Zürich 東京\n\tx", "plain, Zürich 東京\n\tx", id="text stays"),
        pytest.param("\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07", id="OSC 52 writes the clipboard"),
        pytest.param("\x1b[2Jgone", r"\x1b[2Jgone", id="CSI clears the screen"),
        pytest.param("\x9b31m", r"\x9b31m", id="CSI in one byte"),
        pytest.param("good\rbad", r"good\rbad", id="carriage return writes over"),
        pytest.param("a\bb\x7f", r"a\x08b\x7f", id="backspace and delete"),
        pytest.param("a\u202eb", r"a\u202eb", id="text direction"),
        pytest.param("a\udcffb", r"a\udcffb", id="a byte that is no UTF-8"),
    ],
)
def test_foreign_text_cannot_touch_the_terminal(foreign: str, shown: str) -> None:
    """Control characters are escaped, what can be read stays."""
    assert visible(foreign) == shown


@pytest.mark.parametrize(
    ("environment", "answer"),
    [
        ({}, "True\n"),
        ({"CI": "true"}, "False\n"),
        ({"CI": "1"}, "False\n"),
        ({"CI": "false"}, "True\n"),
        ({"CI": ""}, "True\n"),
    ],
)
def test_a_person_is_asked_on_a_terminal_but_not_in_ci(environment: dict[str, str], answer: str) -> None:
    """CI systems may give a terminal, yet nobody sits there."""
    assert on_a_terminal("print(console.may_ask())", environment=environment)[0] == answer


@pytest.mark.parametrize("close", ["", "import os; os.close(0)\n"])
def test_nobody_is_asked_without_a_terminal(close: str) -> None:
    """A pipe or a closed stdin cannot answer."""
    assert python(f"{close}print(console.may_ask())")[0] == "False\n"


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("yes\n", "True\n"),
        (" Y \n", "True\n"),
        ("no\n", "False\n"),
        ("\n", "False\n"),
        ("sure\n", "False\n"),
        ("\x04", "False\n"),
    ],
)
def test_only_a_yes_is_a_yes(typed: str, answer: str) -> None:
    """An empty line or the end of the input is a no."""
    stdout, shown = on_a_terminal("print(console.ask_yes('remove it?'))", typed=typed)

    assert stdout == answer
    assert "remove it? [yes/no] " in shown


def test_one_of_some_answers_is_returned_as_it_was_typed() -> None:
    stdout, shown = on_a_terminal("print(console.ask_which('now what?', ('yes', 'no', 'later')))", typed=" LATER\n")

    assert stdout == "later\n"
    assert "now what? [yes/no/later] " in shown


CTRL_C_ELSEWHERE = """
import os, signal, threading, time
from pathlib import Path
from tasks import console

def press():
    main = Path(f"/proc/self/task/{{os.getpid()}}/stat")
    while main.read_text().rpartition(")")[2].split()[0] != "S":
        time.sleep(0.01)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=press, daemon=True).start()
try:
    {question}
except KeyboardInterrupt:
    print("heard")
"""


@pytest.mark.parametrize("question", ["console.ask_hidden('key: ')", "console.ask_yes('sure?')"])
def test_ctrl_c_is_heard_though_it_does_not_end_the_wait_for_an_answer(question: str) -> None:
    """As one that comes just before that, or to another thread."""
    stdout, _ = on_a_terminal(CTRL_C_ELSEWHERE.format(question=question))

    assert stdout == "heard\n"


def test_a_hidden_answer_is_not_shown_and_is_learned() -> None:
    """The terminal shows the prompt, not what was typed; and no later message shows it."""
    ours, theirs = pty.openpty()
    code = "from tasks import console; secret = console.ask_hidden('key: '); console.say(secret.reveal())"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stderr=theirs,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    ) as child:
        shown = b""
        while b"key: " not in shown:
            shown += os.read(ours, 1024)
        os.write(ours, b"swordfish\n")
        stdout, _ = child.communicate(timeout=30)
    os.write(theirs, b"\0")
    shown += os.read(ours, 1024)
    os.close(ours)
    os.close(theirs)

    assert stdout == b"****\n"
    assert b"swordfish" not in shown
