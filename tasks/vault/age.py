"""Owns the embedded vault: one age-encrypted file and the identity that opens it. The only file that knows pyrage.

`age --decrypt --identity vault-identity.txt vault.age` opens it as well; inside is Bitwarden's unencrypted export.
"""

import json
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import files
from tasks.errors import ConfigurationFailure, reason
from tasks.secret import REDACTOR, Secret
from tasks.vault.layout import (
    Document,
    document_of,
    empty_export,
    item_of,
    parse_export,
    predecessor,
    ref_of,
    successor,
)
from tasks.vault.store import Conflict, Item, Ref, State, Status, pick

if TYPE_CHECKING:
    from pyrage.x25519 import Identity

    Identities = list[Identity]

# The stores have a method `list`, which hides the type inside their classes.
Documents = list[Document]
LOCK_DEADLINE = 20.0  # seconds; a write takes milliseconds
IDENTITY_PREFIX = "AGE-SECRET-KEY-1"
# What pyrage 1.4 (the age crate 0.11) says, and what it means.
ANOTHER_IDENTITY = "No matching keys found"
CUT_SHORT = "failed to fill whole buffer"


@dataclass(frozen=True)
class AgeStore:
    """The vault in `folder`; `identity` (lines of AGE-SECRET-KEY-1…) opens it instead of the file there.

    Without one, the first write makes an identity file of 0600. Reading makes nothing.
    """

    folder: Path
    identity: Secret | None = None
    name: str = "age"
    writable: bool = True

    @property
    def path(self) -> Path:
        """The encrypted file."""
        return self.folder / "vault.age"

    @property
    def identity_path(self) -> Path:
        """The file with the identity, used when none is given."""
        return self.folder / "vault-identity.txt"

    def status(self) -> Status:
        """Open the vault and count."""
        export = self._read()
        if export is None:
            return Status(State.MISSING, str(self.path), 0)
        return Status(State.OPEN, str(self.path), len(export["items"]))

    def list(self) -> Sequence[Ref]:
        """Return every item's reference, by name."""
        return sorted((ref_of(document) for document in self._items()), key=lambda ref: (ref.name, ref.id))

    def items(self) -> Sequence[Item]:
        """Return every item."""
        return [item_of(document) for document in self._items()]

    def get(self, name: str) -> Item:
        """Return the item of exactly that name, or of that id."""
        documents = self._items()
        ref = pick([ref_of(document) for document in documents], name, self.name)
        return next(item_of(document) for document in documents if document["id"] == ref.id)

    def put(self, item: Item, *, expect: str | None) -> Ref:
        """Write the item under the lock, if it is in the revision that is expected; the file changes in one step."""
        return self._write(item, lambda documents: _expected(documents, item, expect))

    def put_beside(self, item: Item, alike: Callable[[Item], bool]) -> Ref:
        """Write the item over one that is alike, else beside all others, even of its name."""
        return self._write(item, lambda documents: next((each for each in documents if alike(item_of(each))), None))

    def _write(self, item: Item, replaced: Callable[[Documents], Document | None]) -> Ref:
        files.private_folder(self.folder)
        with files.lock(self.folder / "vault.lock", deadline=LOCK_DEADLINE):
            export = self._read() or empty_export()
            before = replaced(export["items"])
            document = successor(document_of(item), before, datetime.now(UTC))
            document["id"] = before["id"] if before else _new_id()
            export["items"] = [each for each in export["items"] if each is not before] + [document]
            files.write_private(self.path, self._encrypted(json.dumps(export).encode()))
        return ref_of(document)

    def remove(self, alike: Callable[[Item], bool]) -> None:
        """Take out the items that are alike; vault and identity file go with the last one."""
        with files.lock(self.folder / "vault.lock", deadline=LOCK_DEADLINE):
            export = self._read() or empty_export()
            kept = [each for each in export["items"] if not alike(item_of(each))]
            if kept:
                files.write_private(self.path, self._encrypted(json.dumps({**export, "items": kept}).encode()))
                return
            for path in (self.path, self.identity_path):
                path.unlink(missing_ok=True)

    def export(self) -> Secret:
        """Return the decrypted document, indented."""
        return Secret(json.dumps(self._read() or empty_export(), indent=2))

    def _items(self) -> Documents:
        documents: Documents = (self._read() or empty_export())["items"]
        return documents

    def _read(self) -> Document | None:
        content = _own_file(self.path, private=False)
        if content is None:
            return None
        return parse_export(self._decrypted(content), str(self.path))

    def _decrypted(self, content: bytes) -> bytes:
        import pyrage

        identities = self._identities()
        if not identities:
            raise _identity_lost(self.path, self.identity_path)
        try:
            clear: bytes = pyrage.decrypt(content, identities)
        except pyrage.DecryptError as error:
            opener = "VAULT_IDENTITY" if self.identity else str(self.identity_path)
            raise _not_opened(self.path, opener, str(error)) from None
        return clear

    def _encrypted(self, content: bytes) -> bytes:
        import pyrage

        identities = self._identities() or [self._make_identity()]
        encrypted: bytes = pyrage.encrypt(content, [identity.to_public() for identity in identities])
        return encrypted

    def _identities(self) -> "Identities":
        if self.identity:
            return _parse_identities(self.identity, "VAULT_IDENTITY")
        content = _own_file(self.identity_path, private=True)
        if content is None:
            return []
        return _parse_identities(Secret(content.decode(errors="replace")), str(self.identity_path))

    def _make_identity(self) -> "Identity":
        from pyrage import x25519

        identity = x25519.Identity.generate()
        REDACTOR.learn(Secret(str(identity)))
        text = f"# opens vault.age; keep a copy elsewhere\n# public key: {identity.to_public()}\n{identity}\n"
        files.write_private(self.identity_path, text.encode())
        return identity


def _new_id() -> str:
    from uuid import uuid4

    return str(uuid4())


def _expected(documents: Documents, item: Item, expect: str | None) -> Document | None:
    if any(each["name"] == item.name and each["id"] != item.id for each in documents):
        raise Conflict(f"the age vault has another item named {item.name!r} already")
    return predecessor(documents, item, expect, "age")


def _own_file(path: Path, *, private: bool) -> bytes | None:
    """Read a file that is ours, None if there is none; refuse links, other users' files and, if `private`, readers."""
    try:
        with open(path, "rb", opener=_unfollowed) as file:
            _check_ours(path, os.fstat(file.fileno()), private=private)
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "it is a symbolic link" if path.is_symlink() else reason(error)
        raise ConfigurationFailure(f"cannot read {path}", why=why) from None


def _unfollowed(path: str, flags: int) -> int:
    # Not blocking: a pipe in the file's place must not hold us up.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _check_ours(path: Path, state: os.stat_result, *, private: bool) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise ConfigurationFailure(f"{path} is not a file", next_step=f"move it away: mv {path} {path}.old")
    if state.st_uid != os.geteuid():
        raise ConfigurationFailure(f"{path} belongs to user {state.st_uid}, not to us ({os.geteuid()})")
    mode = stat.S_IMODE(state.st_mode)
    if private and mode & 0o077:
        raise ConfigurationFailure(
            f"{path} may be read by others: expected mode 0600, got {mode:04o}",
            why="it opens the vault",
            next_step=f"chmod 600 {path}, and replace the secrets if others have been here",
        )


def _parse_identities(text: Secret, where: str) -> "Identities":
    """Return the identities of an age identity file's text: one a line, beside comments and blank lines."""
    from pyrage import IdentityError, x25519

    lines = [line.strip() for line in text.reveal().splitlines()]
    found = [REDACTOR.learn(Secret(line)) for line in lines if line.upper().startswith(IDENTITY_PREFIX)]
    try:
        identities = [x25519.Identity.from_str(line.reveal()) for line in found]
    except IdentityError:
        identities = []
    if not identities:
        raise ConfigurationFailure(
            f"{where} holds no age identity",
            why=f"expected a line {IDENTITY_PREFIX}…",
            next_step="bring it back from a backup; `age-keygen` makes one for a new vault",
        )
    return identities


def _identity_lost(vault: Path, identity: Path) -> ConfigurationFailure:
    return ConfigurationFailure(
        f"the vault {vault} is here, but its identity {identity} is not",
        why="nothing else opens the vault: if that file is lost, so are the secrets in it",
        next_step=f"bring it back from a backup, or set VAULT_IDENTITY; to begin anew: mv {vault} {vault}.lost",
        cause="identity-lost",
    )


def _not_opened(vault: Path, opener: str, why: str) -> ConfigurationFailure:
    if why == ANOTHER_IDENTITY:
        return ConfigurationFailure(
            f"{opener} does not open the vault {vault}",
            why="it was encrypted for another identity, or its first lines are damaged",
            next_step="bring the identity that belongs to it, or move the vault away to begin anew",
            cause="wrong-identity",
        )
    damage = "it ends too early" if why == CUT_SHORT else why.partition("\n")[0].rstrip(".").lower()
    return ConfigurationFailure(
        f"the vault {vault} is damaged",
        why=damage,
        next_step=f"bring it back from a backup, or begin anew: mv {vault} {vault}.damaged",
        cause="damaged",
    )
