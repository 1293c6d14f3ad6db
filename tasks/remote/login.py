"""Owns the login on a host: what is tried, in which order, and what is said when nothing helped.

OpenSSH hosts take keys; Tailscale SSH asks for nothing, because the tailnet has said who we are.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import Refused
from tasks.remote import transport as ssh
from tasks.remote.hostkeys import parse_key

LOGIN_SECONDS = 30.0
# Tailscale SSH in check mode shows a link and waits until a person has followed it.
CHECK_SECONDS = 600.0


@dataclass(frozen=True)
class Login:
    """Who logs in, and with what: key files, and the agent's keys.

    `named` means that somebody chose these files, so that of the agent's keys only theirs are tried.
    """

    user: str
    identities: tuple[Path, ...] = ()
    named: bool = False


class Attempts:
    """Logs in on one connection, and remembers what it tried."""

    def __init__(self, host: str, login: Login) -> None:
        self._host = host
        self._login = login
        self._tried: list[str] = []
        self._methods: tuple[str, ...] = ("publickey",)

    def authenticate(self, transport: ssh.Transport) -> None:
        """Log in, or raise Refused with everything that was tried and what the server would take.

        paramiko calls it (client.py, connect: auth_strategy).
        """
        transport.auth_timeout = CHECK_SECONDS if transport.remote_version.startswith(ssh.TAILSCALE) else LOGIN_SECONDS
        # OpenSSH lets nobody in without a key, and saying so costs it 10 ms and us a round trip.
        keys_first = transport.remote_version.startswith(ssh.OPENSSH)
        if not keys_first and self._try_none(transport):
            return
        if "publickey" in self._methods and self._try_keys(transport):
            return
        if keys_first and transport.is_active() and self._try_none(transport):
            return
        if not transport.is_active():
            self._tried.append("no more, because the server hung up")
        raise Refused(
            f"{self._host} refuses to log {self._login.user} in",
            why=f"tried {', '.join(self._tried)}; the server takes {', '.join(self._methods)}",
            next_step=f"add a key to {self._login.user}'s authorized_keys there, or set ansible_user and its key file",
        )

    def _try_none(self, transport: ssh.Transport) -> bool:
        answer = transport.try_none(self._login.user)
        if not answer.accepted and not transport.is_active():
            raise EOFError("the server hung up during the login")
        return self._took("none", answer)

    def _try_keys(self, transport: ssh.Transport) -> bool:
        for name, key in self._keys():
            if self._took(name, transport.try_key(self._login.user, key)):
                return True
            if not transport.is_active():  # sshd's MaxAuthTries
                return False
        return False

    def _took(self, name: str, answer: ssh.Answer) -> bool:
        self._tried.append(name)
        self._methods = answer.methods or self._methods
        return answer.accepted

    def _keys(self) -> Iterator[tuple[str, ssh.Key]]:
        held = ssh.agent_keys()
        wanted = {_public_half(path) for path in self._login.identities}
        for name, key in held:
            # sshd ends a login after six tries, so no key is tried that nobody meant.
            if not self._login.named or key.asbytes() in wanted:
                yield f"agent key {name}", key
        for path in self._login.identities:
            if _public_half(path) not in {key.asbytes() for _, key in held}:
                yield from self._loaded(path)

    def _loaded(self, path: Path) -> Iterator[tuple[str, ssh.Key]]:
        try:
            yield str(path), ssh.load_key(path)
        except (OSError, ValueError) as error:
            self._tried.append(f"{path} ({ssh.words(error)})")


def _public_half(path: Path) -> bytes:
    try:
        key = parse_key(path.with_name(path.name + ".pub").read_text())
    except (OSError, UnicodeDecodeError):
        return b""
    return key.raw if key else b""
