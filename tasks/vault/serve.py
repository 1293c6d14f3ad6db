"""Owns one `bw serve` of our own: started on a unix socket that we bound, asked over HTTP, ended with us.

It asks nobody for a password once it is unlocked, so nothing of it listens on TCP: the socket is 0600 in a folder of
0700 and reaches bw as a descriptor (`--hostname fd+listening://N`, bw 2026.6.0 and 2026.9.0). A call takes
milliseconds where a run of bw takes seconds.
"""

import http.client
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks import files, process
from tasks.errors import Failure, Unavailable, reason
from tasks.secret import REDACTOR, Secret
from tasks.vault import bw
from tasks.vault.bw import Account
from tasks.vault.complaints import Complaint, failure_of, hung

DEADLINE = 30.0  # seconds for an answer, its start-up included (about one second)
BACKLOG = 8
# serve looks at this name, to refuse what a web page sends.
HOST = "localhost:8087"
Document = dict[str, Any]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, deadline: float) -> None:
        super().__init__("localhost", timeout=deadline)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Lost(Unavailable):
    """bw ended or hung before it answered: what was asked may have been done."""

    cause = "no-answer"


class Serve:
    """One running `bw serve`. Start it early: the kernel keeps the first question until it listens."""

    def __init__(self, account: Account, session: Secret | None) -> None:
        self.has_answered = False
        self._account = account
        self._path = _own_socket(files.private_folder(account.runtime))
        self._complaints = os.memfd_create("bw")
        listener = _bound(self._path)
        try:
            self._child = process.accompany(
                (str(account.executable), "serve", "--hostname", f"fd+listening://{listener.fileno()}"),
                environment=bw.environment(account, BW_SESSION=session),
                listening=listener.fileno(),
                complaints=self._complaints,
            )
        finally:
            listener.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._child.exit_status() is None

    def ask(self, method: str, path: str, body: object = None, *, deadline: float = DEADLINE) -> Document:
        """Return the `data` of its answer. `Lost` when there is none: bw is ended then, as it may hang for ever."""
        connection = _Connection(self._path, deadline)
        headers = {"Host": HOST, **({"Content-Type": "application/json"} if body is not None else {})}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            text = connection.getresponse().read().decode(errors="replace")
        except TimeoutError:
            self.close()
            raise hung(self._account.host, _step(path), deadline) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        finally:
            connection.close()
        self.has_answered = True
        return self._data(text, _step(path))

    def close(self) -> None:
        """End it. Should that hit the moment in which bw writes its local copy, the next one signs in anew."""
        self._child.kill()
        self._path.unlink(missing_ok=True)

    def _data(self, text: str, step: str) -> Document:
        try:
            answer = json.loads(text)
        except ValueError:
            raise failure_of(Complaint(f"{self._said()}\n{text}", step, self._account.host)) from None
        if not answer.get("success"):
            raise failure_of(Complaint(str(answer.get("message", "")), step, self._account.host))
        data = answer.get("data")
        return data if isinstance(data, dict) else {}

    def _lost(self, error: Exception) -> Failure:
        self.close()
        said = self._said()
        known = failure_of(Complaint(said, "bw serve", self._account.host))
        if said and known.cause != "bw":
            return Lost(known.what, why=known.why, next_step=known.next_step, cause=known.cause)
        why = said.strip().rpartition("\n")[2] or reason(error)
        return Lost("bw serve ended before it answered", why=why, next_step="run it again")

    def _said(self) -> str:
        with suppress(OSError):
            return REDACTOR.clean(os.pread(self._complaints, 1 << 16, 0).decode(errors="replace"))
        return ""


def _step(path: str) -> str:
    """Return a request as complaints and failures call it."""
    return f"bw serve {path.split('?')[0].split('/')[1]}"


def _own_socket(folder: Path) -> Path:
    """Return a path for our socket, after the sockets of ended processes are swept away."""
    for leftover in folder.glob("bw-*.sock"):
        pid = leftover.stem.split("-")[1]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            leftover.unlink(missing_ok=True)
    return folder / f"bw-{os.getpid()}-{time.monotonic_ns() % 10**6}.sock"


def _bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener
