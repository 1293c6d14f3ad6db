"""Owns the ProxyCommand of our ssh configuration: a program that hands ssh a connected socket and ends.

`python -I -S ssh_proxy.py PYTHON SOCKET PROXY HOST PORT`, with ProxyUseFdpass: its stdin is a unix socket, over which
ssh takes the descriptor (ssh_config(5); OpenSSH's monitor_fdpass.c, mm_receive_fd). It starts once per connection of
every ssh, git or Ansible, so what goes well goes by C modules alone: a peer is asked for at the daemon, dialled, handed
over. Whatever does not go well is done again, thoroughly, by PYTHON with the suite's own code, which says why it fails.
"""

import _socket  # `socket` and `json` would take longer than all the rest
import posix
import sys

TYPE_CHECKING = False  # the real one is in `typing`, which is slow to import
if TYPE_CHECKING:
    from collections.abc import Callable

API_SECONDS = 2.0
DIAL_SECONDS = 8.0
LONGEST_NAME = 127
CHUNK = 262144
REQUEST = b"GET /localapi/v0/status HTTP/1.0\r\nHost: local-tailscaled.sock\r\n\r\n"
THOROUGHLY = "--thoroughly"
ADDRESS_LENGTHS = {1: 4, 4: 16}


def hand_over(words: list[str]) -> None:
    """Hand a socket to ssh by the quick way, else become the thorough one."""
    python, daemon, proxy, host, port = words
    try:
        if _is_peer(daemon, host):
            connected = _dialled(proxy, host, int(port))
            _send(connected.fileno())
            return
    except (OSError, ValueError, IndexError):
        pass  # found out again, and told, by the thorough way
    posix.execv(python, [python, "-I", __file__, THOROUGHLY, *words[1:]])


def hand_over_thoroughly(words: list[str]) -> None:
    """Do the same with patience and with every check of the suite; say on stderr why it fails."""
    _speak_where_ssh_does()
    sys.path.insert(0, __file__.rpartition("/tasks/")[0])
    from tasks import console
    from tasks.errors import Failure

    try:
        _hand_over_by_the_suite(words, console.step)
    except (Failure, ValueError) as failure:
        console.step(console.visible(f"error: {failure}"))


def _hand_over_by_the_suite(words: list[str], say: "Callable[[str], None]") -> None:
    from pathlib import Path

    from tasks.net.localapi import LocalAPI
    from tasks.remote import destination, names
    from tasks.remote.dialling import Dialler
    from tasks.remote.proxy import Proxy

    daemon, proxy, host, port = words
    address, _, proxy_port = proxy.rpartition(":")
    api = LocalAPI(Path(daemon))
    there = destination.locate(names.host_name(host), names.port(port), api.status(), api.resolve)
    with Dialler(Proxy(address, int(proxy_port)), api.status, api.dial_error, say).connect(there) as connected:
        _send(connected.fileno())


def _speak_where_ssh_does() -> None:
    """Take ssh's own stderr where ours is /dev/null, which ssh makes it when it is to keep the connection.

    Ansible does so always (ControlPersist), and would show none of our words. Nothing here or later waits for a reader.
    """
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_NONBLOCK | posix.O_NOCTTY
    try:
        if posix.fstat(2).st_rdev == posix.stat("/dev/null").st_rdev:
            posix.dup2(posix.open(f"/proc/{_ssh()}/fd/2", flags), 2)
    except OSError:
        pass  # it stays unsaid, as before


def _ssh() -> int:
    """Return the process that made our socket. Not our parent: that would be another one once ssh has gone."""
    credentials = _socket.socket(fileno=posix.dup(0)).getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], sys.byteorder)


def _is_peer(daemon: str, host: str) -> bool:
    """Whether the running daemon knows a peer of exactly this MagicDNS name.

    No string in JSON holds a bare quote, so these bytes are what they seem; peers come after `Self`.
    """
    if not host.isascii() or len(host) > LONGEST_NAME:
        return False
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(API_SECONDS)
    connection.connect(daemon)
    connection.sendall(REQUEST)
    pieces = []
    while piece := connection.recv(CHUNK):
        pieces.append(piece)
    head, _, peers = b"".join(pieces).partition(b'"Peer": {')
    return b'"BackendState": "Running"' in head and b'"DNSName": "%b."' % host.encode() in peers


def _dialled(proxy: str, host: str, port: int) -> _socket.socket:
    """Return a socket to the port of the name through the SOCKS5 proxy (RFC 1928); OSError when there is none."""
    address, _, proxy_port = proxy.rpartition(":")
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    connection.settimeout(DIAL_SECONDS)
    connection.connect((address, int(proxy_port)))
    name = host.encode()
    connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    # The greeting's answer is known: this proxy asks nobody for a password.
    connection.sendall(b"\5\1\0" + b"\5\1\0\3" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    if _read(connection, 2) != b"\5\0":
        raise OSError
    answer = _read(connection, 4)
    if answer[:2] != b"\5\0":
        raise OSError
    _read(connection, (ADDRESS_LENGTHS.get(answer[3]) or _read(connection, 1)[0]) + 2)
    connection.setblocking(True)
    return connection


def _read(connection: _socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise OSError
        data += piece
    return data


def _send(descriptor: int) -> None:
    """Send the descriptor as ssh expects it: one byte, and SCM_RIGHTS."""
    ssh = _socket.socket(fileno=posix.dup(0))
    rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptor.to_bytes(4, sys.byteorder))
    ssh.sendmsg([b"\0"], [rights])


if __name__ == "__main__":
    if sys.argv[1] == THOROUGHLY:
        hand_over_thoroughly(sys.argv[2:])
    else:
        hand_over(sys.argv[1:])
