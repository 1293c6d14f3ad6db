"""Run a command on many hosts with parallel-ssh (libssh2, gevent), as its documentation shows it.

It knows no SOCKS5 and opens its sockets itself, so that its `_connect` is replaced; and it checks no host key, so that
known_hosts is not used. Arguments: proxy port, known_hosts, key, user, forks, the command; the hosts on stdin as
`address port` lines. Ends with the number of hosts that were lost, at most 100.
"""

# ruff: noqa: T201 - a script of a few lines

import sys

from gevent import socket
from pssh.clients import ParallelSSHClient
from pssh.clients.native import parallel, single
from pssh.config import HostConfig


class Client(single.SSHClient):
    """The library's client, with its socket through the proxy."""

    proxy = 0

    def _connect(self, host: str, port: int, retries: int = 1) -> None:  # noqa: ARG002 - the library's own words
        self.sock = socket.create_connection(("127.0.0.1", self.proxy))
        name = host.encode()
        self.sock.sendall(b"\x05\x01\x00")
        self.sock.recv(2)
        self.sock.sendall(b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2))
        answer = self.sock.recv(10)
        if answer[1] != 0:
            raise ConnectionError(f"SOCKS failure {answer[1]}")


def main() -> int:
    """Run the command everywhere and count the hosts where it did not end with 0."""
    proxy, _, key, user, forks, command = sys.argv[1:]
    Client.proxy = int(proxy)
    parallel.SSHClient = Client
    hosts = [line.split() for line in sys.stdin]
    configuration = [HostConfig(port=int(port)) for _, port in hosts]
    client = ParallelSSHClient(
        [address for address, _ in hosts],
        user=user,
        pkey=key,
        host_config=configuration,
        pool_size=int(forks),
        allow_agent=False,
        identity_auth=False,
    )
    lost = 0
    for (address, port), output in zip(hosts, client.run_command(command, stop_on_errors=False), strict=True):
        if output.exception:
            print(f"{address}:{port}: {type(output.exception).__name__} {output.exception}", file=sys.stderr)
            lost += 1
            continue
        for line in output.stdout:
            print(f"{address}:{port}: {line}")
        lost += output.exit_code != 0
    return min(100, lost)


if __name__ == "__main__":
    sys.exit(main())
