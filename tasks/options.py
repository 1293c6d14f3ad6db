"""Owns the reading of option texts: a duration, a count, the words after `--`; a bad one is a usage error.

Invoke turns an `int` default into a raw ValueError traceback for `--timeout=abc`, so every option is a text and comes
through here.
"""

import itertools
import re
import sys

from tasks.errors import UsageFailure

LONGEST_HOURS = 8760  # a year; threading's waits overflow at 292
UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)?")
COUNT = re.compile(r"\d{1,9}")


def duration(name: str, text: str) -> float:
    """Return the seconds meant by `30`, `1.5s`, `200ms`, `5m` or `2h`: more than none, at most a year."""
    match = DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageFailure(f"--{name}: expected a time such as 30s, 5m or 2h, got {text!r}")
    seconds = float(match[1]) * UNITS[match[2] or ""]
    if not 0 < seconds <= LONGEST_HOURS * UNITS["h"]:
        raise UsageFailure(f"--{name}: expected more than 0 and at most {LONGEST_HOURS}h, got {text!r}")
    return seconds


def count(name: str, text: str) -> int:
    """Return the whole number, 1 or more, that the text of an option means."""
    if COUNT.fullmatch(text.strip()) is None or int(text) < 1:
        raise UsageFailure(f"--{name}: expected a whole number from 1, got {text!r}")
    return int(text)


def names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated option, without empty ones."""
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def words() -> tuple[str, ...]:
    """Return the words after the first `--` of the command line; a chain has one such list."""
    arguments = sys.argv[1:]
    return tuple(arguments[arguments.index("--") + 1 :]) if "--" in arguments else ()


def check_words(takers: set[str]) -> None:
    """Refuse words after `--` that no command of this chain takes, or that two would take.

    `takers` are the names of the commands that take words; one with a `--command` of its own does not.
    """
    if "--" not in sys.argv:
        return
    before = _before_words()
    taking = 0
    for position, word in enumerate(before):
        if word in takers:
            taking += not _has_command(before[position + 1 :], takers)
    if taking != 1:
        who = "no command of this line takes them" if taking == 0 else f"{taking} commands of this line would take them"
        raise UsageFailure(
            f"words after `--`: {who}", next_step="give the words to one command, and --command=… to others"
        )


def check_last(becoming: set[str], commands: set[str]) -> None:
    """Refuse a chain in which another command follows one that becomes its program: it would never run.

    The word after an option without `=` is taken for its value, whatever it is.
    """
    before = _before_words()
    values = {position for position, word in enumerate(before, 1) if word.startswith("--") and "=" not in word}
    chain = [word for position, word in enumerate(before) if word in commands and position not in values]
    for first, second in itertools.pairwise(chain):
        if first in becoming:
            raise UsageFailure(f"`{first}` becomes its program: {second} would never run", next_step="put it last")


def is_last(command: str, commands: set[str]) -> bool:
    """Whether surely no other command of the chain follows this one: an option's value may look like a command."""
    chain = [word for word in _before_words() if word in commands]
    return chain[-1:] == [command] and chain.count(command) == 1


def _before_words() -> list[str]:
    arguments = sys.argv[1:]
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _has_command(rest: list[str], takers: set[str]) -> bool:
    for word in rest:
        if word in takers:
            return False
        if word == "--command" or word.startswith("--command="):
            return True
    return False
