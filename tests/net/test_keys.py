"""The shape of an auth key: what copying puts around it is taken off, what can be none is told without showing it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.net.keys import fault_of, key_in, unwrapped
from tasks.secret import REDACTOR, Secret

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80).filter(
    lambda key: key[0] not in "\"'" and key[-1] not in "\"'" and "=" not in key
)
BEFORE = st.lists(st.sampled_from([" ", "\t", '"', "'", "\x1b[200~", "\ufeff", "\u200b", "\u00a0"]), max_size=5)
AFTER = st.lists(st.sampled_from([" ", "\r", "\n", '"', "'", "\x1b[201~", "\u200b"]), max_size=5)
NAMES = st.sampled_from(["", "TS_AUTHKEY=", "export TS_AUTHKEY=", "  KEY="])


@given(KEYS, NAMES, BEFORE, AFTER)
def test_what_copying_puts_around_a_key_is_taken_off(key: str, name: str, before: list[str], after: list[str]) -> None:
    assert unwrapped(name + "".join(before) + key + "".join(after)) == key


@given(st.text(max_size=100))
def test_unwrapping_takes_only_from_the_ends_and_once_is_enough(text: str) -> None:
    bare = unwrapped(text)

    assert bare in text
    assert unwrapped(f" {bare} ") in {bare, unwrapped(bare)}


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("", ""),
        ("  \r\n", ""),
        ("''", ""),
        ("a b", "a b"),
        ("tskey-auth-a=b", "tskey-auth-a=b"),
        ("\x1b[200~tskey-auth-a\x1b[201~\r", "tskey-auth-a"),
        ('export TS_AUTHKEY="tskey-auth-a"', "tskey-auth-a"),
    ],
)
def test_unwrapped(typed: str, key: str) -> None:
    assert unwrapped(typed) == key


def test_the_key_itself_is_no_more_shown_than_what_was_typed() -> None:
    """Though the redactor was told of another text."""
    assert key_in(Secret("  'a-key-of-no-known-shape' ")) == Secret("a-key-of-no-known-shape")
    assert REDACTOR.clean("it is a-key-of-no-known-shape") == "it is ****"


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("hskey-auth-a_b-c", ""),
        ("x" * 512, ""),
        ("x" * 513, "it has 513 characters, no key has more than 512"),
        ("two words", "it holds blanks or characters that no key has"),
        ("", "it is empty"),
    ],
)
def test_what_can_be_no_key_has_a_fault(key: str, fault: str) -> None:
    assert fault_of(Secret(key)) == fault
