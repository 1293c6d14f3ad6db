"""Owns the search for a port that nobody has, on this machine's loopback address."""

import functools
import itertools
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import Unavailable

HERE = "127.0.0.1"
# The kernel takes from this range for whoever connects, or listens on any port: a port of it is gone before its server
# has started, most likely to a connection of our own.
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL = range(21000, 32000)
UNPRIVILEGED = 1024
FEWEST = 1000


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nobody has now, and that nobody is likely to be given soon.

    The kernel gives it to nobody, this process to nobody else; another one of ours most likely begins elsewhere.
    """
    for port in itertools.islice(_walk(), len(USUAL)):
        with socket.socket(socket.AF_INET, kind) as probe:
            if _binds(probe, HERE, port):
                return port
    raise Unavailable(f"no free port on {HERE}")


def is_free(port: int, host: str = HERE) -> bool:
    """Whether a server could listen there now; connections that linger from an earlier one do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return _binds(probe, host, port)


@functools.cache
def _walk() -> Iterator[int]:
    """Walk through our ports, round and round, from a random one on."""
    ports = own_ports(EPHEMERAL.read_text())
    first = int.from_bytes(os.urandom(4)) % len(ports)
    return itertools.cycle((*ports[first:], *ports[:first]))


def own_ports(ephemeral: str) -> range:
    """Return ports below the kernel's (`32768\\t60999`); where it leaves hardly any, the usual ones all the same."""
    end = min(int(ephemeral.split()[0]), USUAL.stop)
    below = range(max(end - len(USUAL), UNPRIVILEGED), end)
    return below if len(below) >= FEWEST else USUAL


def _binds(probe: socket.socket, host: str, port: int) -> bool:
    try:
        probe.bind((host, port))
    except OSError:
        return False
    return True
