"""Owns what people see: results on stdout, step lines on stderr, tables, JSON, all through the redactor."""

import json
import os
import select
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tasks.errors import NotSaved, reason
from tasks.interrupting import LONGEST_WAIT
from tasks.secret import REDACTOR, Secret

# The terminal hands over one line at a time, cut at 4095 characters (Linux N_TTY_BUF_SIZE).
LONGEST_LINE = 4096


def say(text: str = "") -> None:
    """Print a result, for people, on stdout; a letter that the locale does not have is escaped."""
    encoding = sys.stdout.encoding
    printable = REDACTOR.clean(text).encode(encoding, "backslashreplace").decode(encoding)
    with _results():
        print(printable, flush=True)  # noqa: T201


def step(text: str) -> None:
    """Print one line of progress on stderr. Its words may be foreign, so that none of them touches the terminal.

    Where stderr takes nothing, nobody can be told; the exit status still says how it ended.
    """
    try:
        print(visible(REDACTOR.clean(text)), file=sys.stderr, flush=True)  # noqa: T201
    except BrokenPipeError:
        raise
    except OSError:
        drop(2)


@contextmanager
def _results() -> Iterator[None]:
    """Let results that cannot be written be one failure; a reader that has gone stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        drop(1)
        raise NotSaved("cannot write the output", why=reason(error)) from None


def drop(descriptor: int) -> None:
    """Send what stdout or stderr still holds nowhere: without this Python complains once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def document(value: object) -> None:
    """Print one JSON document on stdout."""
    say(json.dumps(value, indent=2, ensure_ascii=sys.stdout.encoding.lower() != "utf-8"))


def hand_over(secret: Secret) -> None:
    """Print a secret that a command exists to print: the only way for one to reach stdout.

    In UTF-8 whatever the locale is, as it came in; a variable's bytes that are no UTF-8 leave as they were.
    """
    with _results():
        sys.stdout.flush()
        sys.stdout.buffer.write(secret.reveal().encode(errors="surrogateescape") + b"\n")
        sys.stdout.flush()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return the rows as aligned columns; the first row is the head. Plain text: a pipe gets the same."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def may_ask() -> bool:
    """Whether a person can be asked: a terminal on stdin and stderr, and no CI."""
    return not in_ci() and _is_terminal(0) and _is_terminal(2)


def in_ci() -> bool:
    """Whether this is a CI's run: every CI of note sets CI=true."""
    return os.environ.get("CI", "") not in {"", "0", "false"}


def ask_hidden(prompt: str) -> Secret:
    """Ask a person for a secret without showing it. Ctrl-D raises EOFError, Ctrl-C KeyboardInterrupt.

    Not getpass: it throws away what was typed before the prompt, and a key may be pasted during the sign-in.
    """
    with hidden_input():
        sys.stderr.write(REDACTOR.clean(prompt))
        sys.stderr.flush()
        _wait_for_a_line()
        line = os.read(0, LONGEST_LINE)
        sys.stderr.write("\n")
    if not line:
        raise EOFError
    return REDACTOR.learn(Secret(line.decode(errors="replace").rstrip("\r\n")))


@contextmanager
def hidden_input() -> Iterator[None]:
    """Do not show what is typed on the terminal."""
    import termios

    before = termios.tcgetattr(0)
    hidden = [*before]
    hidden[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSADRAIN, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def ask_yes(prompt: str) -> bool:
    """Ask a person a question whose answer is yes only when it is typed out."""
    return ask_which(prompt, ("yes", "no")) in {"y", "yes"}


def ask_which(prompt: str, answers: Sequence[str]) -> str:
    """Ask a person which of some answers it is, and return what was typed, in small letters; it may be none of them."""
    sys.stderr.write(f"{REDACTOR.clean(prompt)} [{'/'.join(answers)}] ")
    sys.stderr.flush()
    _wait_for_a_line()
    return sys.stdin.readline().strip().lower()


def _wait_for_a_line() -> None:
    """Wait until the person has typed one; a Ctrl-C that comes just before the wait is heard too."""
    while not select.select([0], [], [], LONGEST_WAIT)[0]:
        pass


def visible(text: str) -> str:
    """Return foreign text with control characters escaped, so that it cannot touch the terminal."""
    return text if text.isprintable() else text.translate(_VISIBLE)


class _Visible(dict[int, str]):
    """What each character is shown as, found out when it first comes: a gigabyte may pass through here."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        shown = letter if letter in "\n\t" or letter.isprintable() else letter.encode("unicode_escape").decode()
        self[code] = shown
        return shown


_VISIBLE = _Visible()


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
