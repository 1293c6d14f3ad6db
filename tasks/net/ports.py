"""Owns who listens on a TCP port of this machine: /proc/net/tcp and, for a stranger's name, psutil (only here)."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from tasks.loopback import is_free

LISTEN = "0A"  # the kernel's TCP_LISTEN, as /proc/net/tcp prints it
GREETING = b"\x05\x01\x00"  # SOCKS version 5, one method: no authentication
WELCOME = b"\x05\x00"


@dataclass(frozen=True)
class Listener:
    """Who listens: pid and program where we may see them (our own processes; as root everybody's)."""

    pid: int | None
    program: str
    user: str

    def __str__(self) -> str:
        pid = f"pid {self.pid}" if self.pid else "pid hidden from us"
        return f"{self.program} ({pid}, user {self.user})"


def is_served_by(host: str, port: int, pid: int) -> bool:
    """Whether the socket that listens on that address belongs to that process: the inode is the proof."""
    inode = _listening_inode(host, port)
    if inode is None:
        return False
    wanted = f"socket:[{inode}]"
    try:
        return any(_target(entry) == wanted for entry in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def greets(host: str, port: int, *, deadline: float) -> bool:
    """Whether a SOCKS5 server answers there within the deadline (seconds)."""
    try:
        with socket.create_connection((host, port), timeout=deadline) as connection:
            connection.sendall(GREETING)
            return connection.recv(2) == WELCOME
    except OSError:
        return False


def listener(host: str, port: int) -> Listener | None:
    """Return who listens on that address, or None when it is free for us."""
    return None if is_free(port, host) else _describe(host, port)


def _describe(host: str, port: int) -> Listener:
    import psutil

    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.pid and _is_at(connection.laddr, host, port):
            process = psutil.Process(connection.pid)
            return Listener(connection.pid, process.name(), process.username())
    return Listener(None, "another program", _owner(host, port))


def _is_at(address: tuple[object, ...], host: str, port: int) -> bool:
    return address in {(each, port) for each in (host, "0.0.0.0", "::")}


def _owner(host: str, port: int) -> str:
    for fields in _listening():
        if fields[1] == _hexadecimal(host, port):
            return fields[7]
    return "unknown"


def _listening_inode(host: str, port: int) -> str | None:
    address = _hexadecimal(host, port)
    return next((fields[9] for fields in _listening() if fields[1] == address), None)


def _listening() -> list[list[str]]:
    # "0: 0100007F:041F 00000000:0000 0A … uid timeout inode"; the address is in the machine's byte order.
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [fields for fields in (line.split() for line in lines) if fields[3] == LISTEN]


def _hexadecimal(host: str, port: int) -> str:
    return f"{int.from_bytes(socket.inet_aton(host), 'little'):08X}:{port:04X}"


def _target(entry: Path) -> str:
    try:
        return os.readlink(entry)  # noqa: PTH115 - the text "socket:[1]" is no path
    except OSError:
        return ""
