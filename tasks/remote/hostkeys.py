"""Owns what we believe about a host's key: keys that the tailnet publishes, the project's known_hosts, first contact.

The file is OpenSSH's known_hosts, read by a parser that one bad line cannot stop and written by whole lines under a
lock, so that twenty first contacts at once lose none. Keys are kept under the MagicDNS name, not the address: an
address may belong to another machine tomorrow.
"""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tasks import files
from tasks.errors import Refused
from tasks.remote.names import SSH_PORT

LOCK_SECONDS = 10.0
HASHED = "|1|"
REVOKED = "@revoked"
AUTHORITY = "@cert-authority"


@dataclass(frozen=True)
class HostKey:
    """One public key, as OpenSSH writes it: its type and its blob in base64."""

    kind: str
    blob: str

    @property
    def fingerprint(self) -> str:
        """The SHA256 fingerprint, as `ssh-keygen -l` prints it."""
        digest = hashlib.sha256(self.raw).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def raw(self) -> bytes:
        """The blob itself."""
        return base64.b64decode(self.blob)

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True)
class Line:
    """One line of known_hosts that means something: who (patterns or a hash), which key, and its marker."""

    who: str
    key: HostKey
    marker: str = ""

    def is_about(self, name: str) -> bool:
        """Whether the line speaks of that name (`web1.lab.test`, or `[web1.lab.test]:2222`)."""
        if self.who.startswith(HASHED):
            return _matches_hash(self.who, name)
        patterns = self.who.lower().split(",")
        if any(pattern[:1] == "!" and _matches(pattern[1:], name) for pattern in patterns):
            return False
        return any(_matches(pattern, name) for pattern in patterns if pattern[:1] != "!")


@dataclass(frozen=True)
class Known:
    """What is known of one host: keys to accept, keys that must never be accepted, and who says so."""

    keys: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...] = ()
    published: bool = False


def entry_name(name: str, port: int) -> str:
    """Return the name that a key is kept under: `web1.lab.test`, or `[web1.lab.test]:2222` on another port."""
    return name.lower() if port == SSH_PORT else f"[{name.lower()}]:{port}"


def parse_key(text: str) -> HostKey | None:
    """Read `ssh-ed25519 AAAA…`; None for anything that is no key."""
    fields = text.split()
    if len(fields) < 2:
        return None
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except (binascii.Error, ValueError):
        return None
    # The blob repeats its type (RFC 4253, 6.6); a torn line does not.
    kind = fields[0].encode()
    return HostKey(fields[0], fields[1]) if blob[:4] == len(kind).to_bytes(4) and blob[4:].startswith(kind) else None


def parse(text: str) -> Iterator[Line]:
    """Read known_hosts line by line; one that cannot be read says nothing and harms nothing."""
    for line in text.splitlines():
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#"):
            continue
        key = parse_key(" ".join(fields[1:3]))
        if key is not None:
            yield Line(fields[0], key, marker)


class Index:
    """The lines of a known_hosts by the names that they spell out, for a run over many hosts."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.lines = tuple(lines)
        self._spelled: dict[str, list[Line]] = {}
        self._others: list[Line] = []  # hashes, wildcards and negations have to be tried one by one
        for line in self.lines:
            if line.who.startswith(HASHED) or set("*?!") & set(line.who):
                self._others.append(line)
            else:
                for name in line.who.lower().split(","):
                    self._spelled.setdefault(name, []).append(line)

    def about(self, name: str) -> list[Line]:
        """Return the lines that speak of that name, those that spell it first."""
        return [*self._spelled.get(name, ()), *(line for line in self._others if line.is_about(name))]


class Store:
    """The project's own known_hosts, and beside it the keys that the tailnet publishes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read: tuple[tuple[int, int, int], Index] = ((0, 0, 0), Index(()))
        self._reading = threading.Lock()

    def known(self, name: str, port: int, published: Iterable[str] = ()) -> Known:
        """Return what is known of the host; keys published by the tailnet (for its port 22) are all that counts."""
        lines = self._index().about(entry_name(name, port))
        revoked = tuple(line.key for line in lines if line.marker == REVOKED)
        keys = tuple(key for key in map(parse_key, published) if key) if port == SSH_PORT else ()
        if keys:
            return Known(keys, revoked, published=True)
        return Known(tuple(line.key for line in lines if not line.marker), revoked)

    def names(self) -> set[str]:
        """Return the hosts that the file has a key for, as they are written there."""
        return {line.who for line in self._index().lines if not line.marker}

    def only_authority(self, name: str, port: int) -> bool:
        """Whether the file knows only a certificate authority for the host, which paramiko cannot check."""
        lines = self._index().about(entry_name(name, port))
        return bool(lines) and all(line.marker == AUTHORITY for line in lines)

    def add(self, name: str, port: int, key: HostKey) -> None:
        """Append the key, unless another command was faster; on the disk when this returns."""
        with self._locked():
            if key not in self.known(name, port).keys:
                self._append(f"{entry_name(name, port)} {key.kind} {key.blob}\n")

    def replace(self, name: str, port: int, key: HostKey) -> None:
        """Forget the keys of the host that are in the file, and keep this one. Revoked keys stay revoked."""
        with self._locked():
            kept = [_without(line, entry_name(name, port)) for line in self._text().splitlines()]
            lines = [*filter(None, kept), f"{entry_name(name, port)} {key.kind} {key.blob}"]
            files.write_private(self.file, ("\n".join(lines) + "\n").encode())

    def _index(self) -> Index:
        """Return the file's lines, read anew when it is not the one that was read last."""
        with self._reading:
            try:
                state = self.file.stat()
            except OSError:
                return Index(())
            seen = (state.st_ino, state.st_size, state.st_mtime_ns)
            if self._read[0] != seen:
                self._read = (seen, Index(parse(self._text())))
            return self._read[1]

    def _text(self) -> str:
        try:
            return self.file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def _append(self, line: str) -> None:
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            torn = self._text()[-1:] not in {"", "\n"}
            os.write(descriptor, (("\n" if torn else "") + line).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _locked(self) -> AbstractContextManager[None]:
        files.private_folder(self.file.parent)
        return files.lock(self.file.with_name(self.file.name + ".lock"), deadline=LOCK_SECONDS)


@dataclass(frozen=True)
class Verifier:
    """Decides about the key that one host shows. `ask` puts a first contact to a person; None means nobody is there.

    `host` is the name in the inventory, for the command that mends it; `name` is the one that keys are kept under.
    """

    store: Store
    host: str
    name: str
    port: int
    published: tuple[str, ...] = ()
    ask: Callable[[str], bool] | None = None

    def known(self) -> Known:
        """Return what is known of this host."""
        return self.store.known(self.name, self.port, self.published)

    def check(self, shown: HostKey) -> None:
        """Return when the key is the host's; Refused with the fingerprints, and what to do, when it is not."""
        known = self.known()
        if shown in known.revoked:
            raise Refused(f"the host key of {self.host} is revoked", why=f"{self.store.file} revokes {shown}")
        if shown in known.keys:
            return
        if known.keys:
            raise self._changed(known, shown)
        self._first_contact(shown)

    def trust(self, shown: HostKey, *, replace: bool) -> bool:
        """Keep the key, as a person has decided, and return whether that was news; a changed one needs `replace`."""
        known = self.known()
        if shown in known.keys and shown not in known.revoked:
            return False
        if shown in known.revoked or known.published or (known.keys and not replace):
            self.check(shown)
        keep = self.store.replace if known.keys else self.store.add
        keep(self.name, self.port, shown)
        return True

    def _changed(self, known: Known, shown: HostKey) -> Refused:
        expected = " or ".join(map(str, known.keys))
        if known.published:
            return Refused(
                f"the host key of {self.host} is not the one that the tailnet publishes",
                why=f"expected {expected}, got {shown}",
                next_step="ask who runs the host; the tailnet learns a new key within a minute",
            )
        return Refused(
            f"the host key of {self.host} has changed",
            why=f"expected {expected}, got {shown}",
            next_step=f"if you know why: `inv remote.trust --host={self.host} --replace`",
        )

    def _first_contact(self, shown: HostKey) -> None:
        authority = ""
        if self.store.only_authority(self.name, self.port):
            authority = f"; {self.store.file} names a certificate authority for it, which is not supported"
        if self.ask is None:
            raise Refused(
                f"the host key of {self.host} is unknown",
                why=f"it showed {shown}, and nobody is there to be asked{authority}",
                next_step=f"compare the fingerprint, then `inv remote.trust --host={self.host}`",
            )
        if not self.ask(f"{self.host} ({self.name}) is new; its key is {shown}{authority}. Trust it from now on?"):
            raise Refused(f"the host key of {self.host} was not accepted", why=f"it showed {shown}")
        self.store.add(self.name, self.port, shown)


def _matches(pattern: str, name: str) -> bool:
    # `*` and `?` alone are wild in known_hosts; fnmatch would take brackets too.
    return fnmatch.fnmatchcase(name, pattern.replace("[", "[[]")) if {"*", "?"} & set(pattern) else pattern == name


def _matches_hash(who: str, name: str) -> bool:
    _, _, salt, digest = who.split("|", 3) if who.count("|") == 3 else ("", "", "", "")
    try:
        expected, key = base64.b64decode(digest, validate=True), base64.b64decode(salt, validate=True)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(key, name.encode(), hashlib.sha1).digest(), expected)


def _without(text: str, name: str) -> str:
    """Return a line of known_hosts that no longer names the host; an empty one when it named nobody else."""
    for line in parse(text):
        if line.marker or not line.is_about(name):
            continue
        others = [] if line.who.startswith(HASHED) else [who for who in line.who.split(",") if who.lower() != name]
        return text.replace(line.who, ",".join(others), 1) if others else ""
    return text
