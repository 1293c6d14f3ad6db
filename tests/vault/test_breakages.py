"""What is known of bw's versions and their Node: each has its sentence and what to do, and a sound one has none."""

import pytest

from tasks.vault.breakages import of_node, of_version

SOUND = ("2026.6.0", "2026.5.1", "2026.4.2", "2025.11.9", "2026.9.1", "", "unknown")
BROKEN = [
    ("2025.12.0", "may print a session and leave the vault locked", False),
    ("2026.2.0", "may print a session and leave the vault locked", False),
    ("2026.3.0", "may print a session and leave the vault locked", False),
    ("2026.4.1", "may print a session and leave the vault locked", False),
    ("2026.4.0", "was malicious on npm for ninety minutes on 2026-04-22", True),
    ("2026.9.0", "ends its first login with KeyIdBackfillError on older servers", False),
]


@pytest.mark.parametrize("version", SOUND)
def test_a_sound_version_has_no_trouble(version: str) -> None:
    assert of_version(version) == []


@pytest.mark.parametrize(("version", "words", "grave"), BROKEN)
def test_a_broken_version_is_told_with_what_to_do(version: str, words: str, grave: bool) -> None:
    trouble = of_version(version)[0]

    assert trouble.what.startswith(f"bw {version} {words} (")
    assert trouble.grave is grave
    assert trouble.next_step.startswith(
        "`inv programs.install --name=bw` brings the pinned one; take this one off PATH"
    )


@pytest.mark.parametrize(
    ("wanted", "node", "told"),
    [
        (">=22", "20.20.2", ["bw 2026.9.0 wants Node >=22, the node on PATH is 20.20.2"]),
        ("~22", "20.20.2", ["bw 2026.9.0 wants Node ~22, the node on PATH is 20.20.2"]),
        (">=22", "22.1.0", []),
        ("~22", "24.0.0", []),
        ("", "20.20.2", []),
        (">=22", "", ["there is no node on PATH, and bw runs by it"]),
    ],
)
def test_a_node_that_is_too_old_is_told(wanted: str, node: str, told: list[str]) -> None:
    """One that is newer than wanted serves; npm itself only warns of it."""
    assert [trouble.what for trouble in of_node("2026.9.0", wanted, node)] == told
