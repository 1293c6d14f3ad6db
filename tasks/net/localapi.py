"""Owns the conversation with the daemon over its unix socket: status, names, the causes of failures.

The LocalAPI is plain HTTP/1.1 without a token; the socket's peer credentials say who asks and who answers
(tailscale: ipn/localapi/localapi.go, ipn/ipnauth/ipnauth.go).
"""

import http.client
import socket
import struct
from pathlib import Path
from urllib.parse import quote

from tasks.errors import TimedOut, Unavailable, reason
from tasks.net.netmap import decode_dns, decode_ping, decode_status
from tasks.tailnet import NOT_ROUTED, TailnetStatus

SOCKET = "tailscaled.sock"  # in the runtime folder of our own daemon
# tailscaled answers only this name, so that no web page can reach it by DNS rebinding.
HOST = "local-tailscaled.sock"
CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
SWITCHING_PROTOCOLS = 101
OK = 200
NO_CONTENT = 204


class LocalAPI:
    """One daemon's LocalAPI. Every call opens its own connection and ends within `deadline` seconds."""

    def __init__(self, socket_path: Path, *, deadline: float = 2.0) -> None:
        self.socket_path = socket_path
        self._deadline = deadline

    def server_pid(self) -> int | None:
        """Return the pid of the process that listens on the socket, or None when nobody does."""
        try:
            with _connected(self.socket_path, self._deadline) as connection:
                size = CREDENTIALS.size
                pid, _, _ = CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        except OSError:
            return None
        return int(pid)

    def status(self, *, peers: bool = True) -> TailnetStatus:
        """Ask what `tailscale status --json` shows; without `peers` it is cheap on a large tailnet."""
        return decode_status(self._get("/localapi/v0/status" + ("" if peers else "?peers=false")))

    def resolve(self, name: str) -> tuple[str, ...]:
        """Return the addresses that the tailnet's own resolver knows for a name, IPv4 first; none if there are none."""
        addresses: list[str] = []
        for kind in ("A", "AAAA"):
            addresses += decode_dns(self._get(f"/localapi/v0/dns-query?name={quote(name.rstrip('.'))}.&type={kind}"))
        return tuple(addresses)

    def dial_error(self, host: str, port: int) -> str:
        """Return the daemon's own words for why a TCP dial fails; an empty text when it works.

        The SOCKS5 server says only "general failure"; `POST dial` says why (localapi.go, serveDial).
        """
        headers = {"Connection": "upgrade", "Upgrade": "ts-dial", "Dial-Host": host, "Dial-Port": str(port)}
        status, body = self._request("POST", "/localapi/v0/dial", headers)
        if status == OK:
            return NOT_ROUTED
        return "" if status == SWITCHING_PROTOCOLS else body.decode(errors="replace").strip()

    def ping(self, address: str) -> bool:
        """Whether a peer answers the tailnet's own ping (TSMP), which no policy and no shields hold back."""
        path = f"/localapi/v0/ping?ip={quote(address)}&type=TSMP"
        try:
            status, body = self._request("POST", path, {"Content-Length": "0"})
        except TimedOut:
            return False
        return status == OK and decode_ping(body)

    def disconnect_control(self) -> None:
        """Make the daemon stop talking to the control server, which ends its retries of a refused key.

        They would go on for ever, and their error could be read as the answer to the next key (tailscale#6215).
        """
        self._post("/localapi/v0/disconnect-control")

    def logout(self) -> None:
        """Expire the node key at the control server and forget it here; an ephemeral node is removed at once."""
        self._post("/localapi/v0/logout")

    def _post(self, path: str) -> None:
        status, body = self._request("POST", path, {"Content-Length": "0"})
        if status not in {OK, NO_CONTENT}:
            raise Unavailable(f"tailscaled answered {status} to {path}", why=body.decode(errors="replace").strip())

    def _get(self, path: str) -> bytes:
        status, body = self._request("GET", path, {})
        if status != OK:
            raise Unavailable(f"tailscaled answered {status} to {path}", why=body.decode(errors="replace").strip())
        return body

    def _request(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        connection = _HTTPConnection(self.socket_path, self._deadline)
        try:
            connection.request(method, path, headers={"Host": HOST, **headers})
            response = connection.getresponse()
            return response.status, b"" if response.status == SWITCHING_PROTOCOLS else response.read()
        except TimeoutError:
            raise TimedOut("tailscaled does not answer", why=f"no reply within {self._deadline:g} s") from None
        except (FileNotFoundError, ConnectionRefusedError):
            why = f"no tailscaled listens at {self.socket_path}"
            raise Unavailable("the network is down", why=why, next_step="`inv net.up`", cause="down") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable("tailscaled does not answer", why=reason(error)) from None
        finally:
            connection.close()


class _HTTPConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, deadline: float) -> None:
        super().__init__(HOST, timeout=deadline)
        self._path = path
        self._seconds = deadline

    def connect(self) -> None:
        """Connect to the unix socket instead of a TCP address."""
        self.sock = _connected(self._path, self._seconds)


def _connected(path: Path, deadline: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(deadline)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection
