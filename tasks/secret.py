"""Owns secrets in memory: `Secret` prints as ****, `Redactor` removes known secrets and key shapes from text.

And the memory file by which a child reads one.
"""

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

# Auth keys of Tailscale (tskey-auth-, tskey-client-, tskey-api-) and of headscale (hskey-auth-, hskey-api-).
# hskey-authreq- is no key: it ends the address at which a person signs in, and must be read.
KEY_SHAPE = re.compile(r"(?:tskey|hskey)-(?!authreq-)[A-Za-z0-9_-]+")
MASK = "****"
# A shorter value would blank ordinary words in every message.
SHORTEST_REDACTED = 6


class Secret:
    """A value that shows as **** in every text; `reveal()` is the one way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself. Call it only at the edge where the value leaves this process."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


class Redactor:
    """Removes the secrets it was told of, in clear, base64, URL and quoted form, and what looks like an auth key."""

    def __init__(self) -> None:
        self._forms: list[str] = []

    def learn(self, secret: Secret) -> Secret:
        """Remember a secret, so that no text shows it from now on, and hand it back."""
        forms = {form for form in _forms(secret.reveal()) if len(form) >= SHORTEST_REDACTED}
        self._forms = sorted(forms.union(self._forms), key=len, reverse=True)
        return secret

    def clean(self, text: str) -> str:
        """Return the text with every known secret and every key shape masked."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return KEY_SHAPE.sub(MASK, text)


def _forms(value: str) -> set[str]:
    # A variable that is no UTF-8 comes with lone surrogates (os.environ's escapes).
    raw = value.encode(errors="surrogatepass")
    encoded = base64.b64encode(raw).decode()
    urlsafe = base64.urlsafe_b64encode(raw).decode()
    encodings = {encoded, encoded.rstrip("="), urlsafe, urlsafe.rstrip("=")}
    urls = {quote(raw), quote(raw, safe=""), quote_plus(raw)}
    quoted = {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    return {value, *encodings, *urls, *quoted}


REDACTOR = Redactor()
"""The process's own: whoever takes a secret in teaches it, and `console` asks it about everything we say."""


@contextmanager
def secret_file(secret: Secret) -> Iterator[str]:
    """Give the path of a memory file that holds the secret: it is never on the disk, and gone with the context.

    A child of the same user opens it by our /proc entry, so nothing needs to be inherited through a pty.
    """
    descriptor = os.memfd_create("secret")
    try:
        os.write(descriptor, secret.reveal().encode())
        yield f"/proc/{os.getpid()}/fd/{descriptor}"
    finally:
        os.close(descriptor)
