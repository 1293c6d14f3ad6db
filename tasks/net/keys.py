"""Owns the shape of an auth key: what copying puts around one, and what can be none, before any server is asked."""

import re

from tasks.secret import REDACTOR, Secret

LONGEST_KEY = 512  # characters; a terminal cuts a pasted line at 4095 without a word
# What wraps a key that was copied: bracketed paste marks, BOM, zero-width space, quotes, blanks.
WRAPPING = re.compile(r"\x1b\[20[01]~|[\ufeff\u200b\"'\s]")
WORD = re.compile(r"[!-~]+")
ASSIGNMENT = re.compile(r"^(?:export\s+)?[A-Z_]+=")


def key_in(typed: Secret) -> Secret:
    """Return the key in what a person gave; no text shows it from now on, as none shows what was given."""
    key = Secret(unwrapped(typed.reveal()))
    return key if key == typed else REDACTOR.learn(key)


def unwrapped(text: str) -> str:
    """Return a key without what copying puts around it: blanks, quotes, paste marks, `NAME=`."""
    text = ASSIGNMENT.sub("", text.strip())
    start, end = 0, len(text)
    while (match := WRAPPING.match(text, start, end)) is not None:
        start = match.end()
    while (match := re.search(f"(?:{WRAPPING.pattern})$", text[start:end])) is not None:
        end = start + match.start()
    return text[start:end]


def fault_of(key: Secret) -> str:
    """Return what is wrong with the shape of a key, or an empty text; never any part of the key."""
    text = key.reveal()
    if not text:
        return "it is empty"
    if len(text) > LONGEST_KEY:
        return f"it has {len(text)} characters, no key has more than {LONGEST_KEY}"
    if WORD.fullmatch(text) is None:
        return "it holds blanks or characters that no key has"
    return ""
