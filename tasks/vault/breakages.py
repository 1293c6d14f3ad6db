"""Owns what is known of bw's versions before any of them is asked: which break what, and which Node each wants.

What a server says to a bw that does not suit it is recognised when it is said, in complaints.py.
"""

import re
from dataclasses import dataclass

from tasks.vault.store import Trouble

Version = tuple[int, ...]
PINNED = "`inv programs.install --name=bw` brings the pinned one; take this one off PATH"


@dataclass(frozen=True)
class Breakage:
    """Versions of bw from `first` to `last`, both included, and what is wrong with them (source: its issue threads)."""

    first: Version
    last: Version
    what: str
    next_step: str = PINNED
    grave: bool = False


KNOWN = (
    Breakage(
        *((2026, 4, 0), (2026, 4, 0), "was malicious on npm for ninety minutes on 2026-04-22 (clients#20353)"),
        f"{PINNED}; if it came from npm that day, change all that it has seen: master password, API key, items",
        grave=True,
    ),
    Breakage((2025, 12, 0), (2026, 2, 99), "may print a session and leave the vault locked (clients#18455, #19649)"),
    Breakage((2026, 3, 0), (2026, 4, 1), "may print a session and leave the vault locked (clients#20703, #20705)"),
    Breakage(
        *(
            (2026, 9, 0),
            (2026, 9, 0),
            "ends its first login with KeyIdBackfillError on older servers (vaultwarden#7750)",
        ),
        f"{PINNED}, or update the server; a second try within a day passes",
    ),
)


def of_version(version: str) -> list[Trouble]:
    """Return what is known to be wrong with that version of bw, such as 2026.6.0; nothing of one that is no version."""
    number = _numbers(version)
    return [
        Trouble(f"bw {version} {each.what}", each.next_step, each.grave)
        for each in KNOWN
        if each.first <= number <= each.last
    ]


def of_node(version: str, wanted: str, node: str) -> list[Trouble]:
    """Return the trouble of a bw that wants another Node (`>=22`, `~22`) than the one here; empty means none here."""
    least = _numbers(wanted)[:1]
    if not node:
        return [
            Trouble("there is no node on PATH, and bw runs by it", f"install Node {least[0] if least else 20} or newer")
        ]
    if _numbers(node)[:1] < least:
        what = f"bw {version} wants Node {wanted}, the node on PATH is {node}"
        return [Trouble(what, f"install Node {least[0]}; or {PINNED}")]
    return []


def _numbers(text: str) -> Version:
    match = re.search(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else ()
