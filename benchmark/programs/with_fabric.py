"""Run a command on many hosts with plain Fabric: its Connection, a pool of threads, PySocks as the gateway.

Arguments: proxy port, known_hosts, key, user, forks, the command; the hosts on stdin as `address port` lines. Ends with
the number of hosts that were lost, at most 100.
"""

# ruff: noqa: T201 - a script of a few lines

import sys
from concurrent.futures import ThreadPoolExecutor

import paramiko
import socks
from fabric import Config, Connection


class Gateway:
    """What Fabric takes for a jump host: it gives a socket through the proxy."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.transport = self

    def open(self) -> None:
        """Open nothing."""

    def open_channel(self, kind, dest_addr, src_addr):  # noqa: ANN001, ANN201, ARG002 - Fabric's own words
        """Connect through the proxy."""
        return socks.create_connection(
            dest_addr, timeout=10, proxy_type=socks.SOCKS5, proxy_addr="127.0.0.1", proxy_port=self.port
        )


def main() -> int:
    """Run the command everywhere and count the hosts where it did not end with 0."""
    proxy, known_hosts, key, user, forks, command = sys.argv[1:]
    config = Config(overrides={"load_ssh_configs": False})
    identity = paramiko.Ed25519Key.from_private_key_file(key)

    # Read once and shared, as somebody would do who has looked where the time goes.
    known = paramiko.HostKeys(known_hosts)

    def one(line: str) -> bool:
        address, port = line.split()
        kwargs = {"pkey": identity, "allow_agent": False, "look_for_keys": False}
        try:
            with Connection(
                address, user, int(port), config=config, gateway=Gateway(int(proxy)), connect_kwargs=kwargs
            ) as connection:
                connection.client._host_keys = known
                ended = connection.run(command, hide=True, warn=True, in_stream=False)
                print(f"{line.strip()}: {ended.stdout}", end="")
                return ended.ok
        except (OSError, EOFError, paramiko.SSHException) as error:
            print(f"{line.strip()}: {type(error).__name__} {error}", file=sys.stderr)
            return False

    with ThreadPoolExecutor(int(forks)) as pool:
        ended = list(pool.map(one, sys.stdin))
    return min(100, ended.count(False))


if __name__ == "__main__":
    sys.exit(main())
