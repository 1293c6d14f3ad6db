"""The second step of a sign-in: which of bw's questions are put to a person, when, and what bw gets typed."""

import pytest

from tasks.errors import Refused
from tasks.secret import Secret
from tasks.vault.twostep import SecondStep

# As bw 2026.6.0 writes them to a pipe.
CHOICE = "? Two-step login method: (Use arrow keys)\n\u276f Authenticator App \n  Email \n"
END_OF_CHOICE = "  ──────────────\n  Cancel \x1b[9D\x1b[9C"
CODE = "? Two-step login code: \x1b[23D\x1b[23C"
NEW_DEVICE = "? New device verification required. Enter OTP sent to login email: \x1b[69D"
WHO = "a@example.com at vault.example"


def asked_of(*typed: str) -> tuple[SecondStep, list[str]]:
    """Return the second step of somebody who types these, and the list of what was asked."""
    asked: list[str] = []

    def ask(prompt: str) -> Secret:
        asked.append(prompt)
        return Secret(typed[len(asked) - 1])

    return SecondStep("a@example.com", "vault.example", ask), asked


def test_a_question_is_answered_once_though_it_is_drawn_with_each_character() -> None:
    step, asked = asked_of("0473")
    said = CODE
    assert step("") == ""
    assert step(said) == "0473\n"
    for character in "0473":
        said += f"\x1b[2K\x1b[G? Two-step login code: {character}"
        assert step(said) == ""

    assert asked == [f"two-step code for {WHO} (hidden): "]


def test_a_choice_is_put_once_it_is_whole_and_the_code_after_it() -> None:
    step, asked = asked_of(" 2 ", "0473")
    assert step(CHOICE) == ""
    assert step(CHOICE + END_OF_CHOICE) == "2\n"
    assert step(CHOICE + END_OF_CHOICE + "\n" + CODE) == "0473\n"

    assert asked == [
        f"two-step login method for {WHO}: 1 = Authenticator App, 2 = Email (hidden): ",
        f"two-step code for {WHO} (hidden): ",
    ]


@pytest.mark.parametrize("typed", ["", "0", "3", "047386"])
def test_a_number_that_is_none_of_the_choice_is_refused_and_not_shown(typed: str) -> None:
    step, _ = asked_of(typed)
    with pytest.raises(Refused) as caught:
        step(CHOICE + END_OF_CHOICE)

    assert str(caught.value) == (
        "that is no number of a two-step login method: expected one of 1 = Authenticator App, 2 = Email\n"
        "  next: run it again, or sign in by the API key: set BW_CLIENTID and BW_CLIENTSECRET"
    )


def test_a_place_that_is_new_to_bitwardens_server_asks_for_the_code_in_the_mail() -> None:
    step, asked = asked_of("883311")

    assert step(NEW_DEVICE) == "883311\n"
    assert asked == [f"code that was sent by e-mail, as this machine is new to {WHO} (hidden): "]


def test_whoever_types_nothing_is_told_the_other_way() -> None:
    def ask(_prompt: str) -> Secret:
        raise EOFError

    with pytest.raises(Refused) as caught:
        SecondStep("a@example.com", "vault.example", ask)(CODE)
    assert (caught.value.what, caught.value.cause) == ("no two-step code was typed", "two-step")
