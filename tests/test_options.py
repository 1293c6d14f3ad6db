"""Texts of options become durations, counts, names and words, or a usage error in one sentence."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import options
from tasks.errors import UsageFailure

TAKERS = {"remote.run", "remote.script"}


@pytest.fixture
def line() -> Iterator[list[str]]:
    """Give the command line that `options` reads; it is the process's own, so it is put back."""
    saved = sys.argv[:]
    yield sys.argv
    sys.argv[:] = saved


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30.0),
        ("1.5s", 1.5),
        ("200ms", 0.2),
        ("5m", 300.0),
        ("2h", 7200.0),
        (" 7s ", 7.0),
        ("8760h", 31_536_000.0),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    """Seconds when no unit is given."""
    assert options.duration("timeout", text) == seconds


@pytest.mark.parametrize(
    "text", ["abc", "", " ", "-1", "+1", "1d", "1 s", "1s2s", "1e3", "inf", "nan", ".5", "5.", "1_0"]
)
def test_another_text_is_no_duration(text: str) -> None:
    """The sentence names the option, what it wants, and what it got."""
    with pytest.raises(UsageFailure) as caught:
        options.duration("timeout", text)

    assert str(caught.value) == f"--timeout: expected a time such as 30s, 5m or 2h, got {text!r}"


@pytest.mark.parametrize("text", ["0", "0.0s", "000ms", "8760.1h", "99999999h"])
def test_no_time_and_more_than_a_year_are_no_duration(text: str) -> None:
    """The one would fail before it began, the other is more than a clock takes."""
    with pytest.raises(UsageFailure) as caught:
        options.duration("timeout", text)

    assert str(caught.value) == f"--timeout: expected more than 0 and at most 8760h, got {text!r}"


@given(number=st.integers(1, 8760), unit=st.sampled_from(sorted(options.UNITS)))
def test_every_number_with_every_unit_is_a_duration(number: int, unit: str) -> None:
    """It is the number times the unit."""
    assert options.duration("timeout", f"{number}{unit}") == number * options.UNITS[unit]


@given(text=st.text())
def test_any_text_is_a_duration_or_a_usage_error(text: str) -> None:
    """Never another exception, and never no time."""
    try:
        assert options.duration("timeout", text) > 0
    except UsageFailure as failure:
        assert failure.exit_status == 64


@pytest.mark.parametrize("text", ["", "0", "-3", "1.5", "x", "1 2", "1000000000"])
def test_a_count_is_a_whole_number_from_one(text: str) -> None:
    """Anything else is named in the sentence."""
    with pytest.raises(UsageFailure) as caught:
        options.count("parallel", text)

    assert str(caught.value) == f"--parallel: expected a whole number from 1, got {text!r}"


@given(number=st.integers(1, 999_999_999))
def test_every_whole_number_from_one_is_a_count(number: int) -> None:
    """Blanks around it do not matter."""
    assert options.count("parallel", f" {number} ") == number


@given(text=st.text())
def test_any_text_is_a_count_or_a_usage_error(text: str) -> None:
    """Never another exception."""
    try:
        assert options.count("parallel", text) >= 1
    except UsageFailure as failure:
        assert failure.exit_status == 64


@pytest.mark.parametrize(
    ("text", "parts"), [("", ()), ("web1", ("web1",)), ("web1, web2,,db1 ,", ("web1", "web2", "db1"))]
)
def test_names_are_separated_by_commas(text: str, parts: tuple[str, ...]) -> None:
    """Blanks and empty ones fall away."""
    assert options.names(text) == parts


@given(parts=st.lists(st.text(st.characters(exclude_characters=",", exclude_categories=["Z", "C"]), min_size=1)))
def test_names_come_back_as_they_were_joined(parts: list[str]) -> None:
    """In their order, doubles too."""
    assert options.names(",".join(parts)) == tuple(parts)


@pytest.mark.parametrize(
    ("given_line", "words"),
    [
        (["remote.run"], ()),
        (["remote.run", "--"], ()),
        (["remote.run", "--", "uname", "-a"], ("uname", "-a")),
        (["remote.run", "--", "a", "--", "b"], ("a", "--", "b")),
    ],
)
def test_the_words_are_what_follows_the_first_pair_of_dashes(
    line: list[str], given_line: list[str], words: tuple[str, ...]
) -> None:
    """A later `--` is a word like any other."""
    line[1:] = given_line

    assert options.words() == words


@pytest.mark.parametrize(
    "given_line",
    [
        ["net.up"],
        ["net.up", "remote.run", "--host=a", "--", "uname"],
        ["remote.run", "--command=id", "remote.run", "--host=b", "--", "uname"],
        ["remote.run", "--command", "id", "remote.script", "--", "remote.run"],
    ],
)
def test_words_with_one_taker_are_fine(line: list[str], given_line: list[str]) -> None:
    """Another command of the chain has a `--command`, or takes no words."""
    line[1:] = given_line

    options.check_words(TAKERS)


@pytest.mark.parametrize(
    ("given_line", "who"),
    [
        (["net.up", "--", "uname"], "no command of this line takes them"),
        (["remote.run", "--command=id", "--", "uname"], "no command of this line takes them"),
        (["remote.run", "remote.run", "--", "uname"], "2 commands of this line would take them"),
        (["remote.run", "net.up", "remote.script", "--", "uname"], "2 commands of this line would take them"),
    ],
)
def test_words_with_no_taker_or_two_are_refused(line: list[str], given_line: list[str], who: str) -> None:
    """The sentence says which of the two it was, and how to mend it."""
    line[1:] = given_line

    with pytest.raises(UsageFailure) as caught:
        options.check_words(TAKERS)

    assert str(caught.value) == (
        f"words after `--`: {who}\n  next: give the words to one command, and --command=… to others"
    )


COMMANDS = {*TAKERS, "net.up", "net.down", "vault.run", "demo"}


@pytest.mark.parametrize("given_line", [["vault.run", "net.down"], ["net.up", "vault.run", "--only=A", "net.down"]])
def test_nothing_may_follow_a_command_that_becomes_its_program(line: list[str], given_line: list[str]) -> None:
    """It would be lost without a word."""
    line[1:] = [*given_line, "--", "true"]

    with pytest.raises(UsageFailure) as caught:
        options.check_last({"vault.run"}, COMMANDS)

    assert str(caught.value) == "`vault.run` becomes its program: net.down would never run\n  next: put it last"


@pytest.mark.parametrize(
    "given_line",
    [
        ["net.up", "vault.run", "--", "net.down"],
        ["vault.run", "--only", "demo", "--", "true"],
        ["net.up", "net.down"],
        [],
    ],
)
def test_what_does_not_follow_or_is_no_command_is_fine(line: list[str], given_line: list[str]) -> None:
    """A word after `--`, an option's value."""
    line[1:] = given_line

    options.check_last({"vault.run"}, COMMANDS)


@pytest.mark.parametrize(
    ("given_line", "last"),
    [
        (["vault.run", "--", "net.down"], True),
        (["net.up", "vault.run"], True),
        (["vault.run", "net.down"], False),
        (["vault.run", "vault.run"], False),
        (["vault.run", "--only", "demo"], False),
        (["something"], False),
    ],
)
def test_a_command_is_last_when_that_is_sure(line: list[str], given_line: list[str], last: bool) -> None:
    """Of two of the same name the first is not; a value may be a command's name."""
    line[1:] = given_line

    assert options.is_last("vault.run", COMMANDS) is last
