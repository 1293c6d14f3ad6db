"""Owns the second step of a sign-in by password: what bw then asks on stderr, put to a person, and what it gets typed.

bw 2026.6.0 asks by inquirer 8.2.6, which draws each question anew with every character that is typed: a question is
answered once. Codes go to its stdin: as `--code` everybody could read them.
"""

import re
from collections.abc import Callable

from tasks.errors import Refused
from tasks.secret import Secret
from tasks.vault.complaints import plain

# One choice a line: authenticator app, YubiKey, e-mail, as far as the account has them; then a line and `Cancel`.
METHODS = re.compile(r"\? Two-step login method:[^\n]*\n(?P<choices>.*?)^\W*Cancel", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"\? Two-step login code:")
# Bitwarden's own server, where an account without two-step login comes from a place that is new to it.
NEW_DEVICE = re.compile(r"\? New device verification required\. Enter OTP sent to login email:")
STOPPED = "run it again, or sign in by the API key: set BW_CLIENTID and BW_CLIENTSECRET"


class SecondStep:
    """Answers what one run of bw asks; each call gets all that it has said so far."""

    def __init__(self, email: str, host: str, ask: Callable[[str], Secret]) -> None:
        self._who = f"{email} at {host}"
        self._ask = ask
        self._open = {METHODS: self._method, CODE: self._code, NEW_DEVICE: self._code_of_new_device}

    def __call__(self, said: str) -> str:
        """Return what to type now: nothing, unless there is a question that is not answered yet."""
        text = plain(said)
        for question, answer in [*self._open.items()]:
            if found := question.search(text):
                del self._open[question]
                return f"{answer(found)}\n"
        return ""

    def _method(self, found: re.Match[str]) -> str:
        # The one under the cursor has an arrow before it.
        methods = [re.sub(r"^\W+", "", line).strip() for line in found["choices"].splitlines()]
        shown = ", ".join(f"{number} = {method}" for number, method in enumerate(methods, 1))
        chosen = self._typed(f"two-step login method for {self._who}: {shown} (hidden): ").strip()
        if chosen not in {str(number) for number in range(1, len(methods) + 1)}:
            raise Refused(
                "that is no number of a two-step login method",
                why=f"expected one of {shown}",
                next_step=STOPPED,
                cause="two-step",
            )
        return chosen

    def _code(self, _found: re.Match[str]) -> str:
        return self._typed(f"two-step code for {self._who} (hidden): ")

    def _code_of_new_device(self, _found: re.Match[str]) -> str:
        return self._typed(f"code that was sent by e-mail, as this machine is new to {self._who} (hidden): ")

    def _typed(self, prompt: str) -> str:
        try:
            return self._ask(prompt).reveal()
        except EOFError:
            raise Refused("no two-step code was typed", next_step=STOPPED, cause="two-step") from None
