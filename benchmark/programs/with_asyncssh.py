"""Run a command on many hosts with asyncssh, as its documentation shows it: one loop, a semaphore, SOCKS5 by hand.

Arguments: proxy port, known_hosts, key, user, forks, the command; the hosts on stdin as `address port` lines. Ends with
the number of hosts that were lost, at most 100.
"""

# ruff: noqa: T201 - a script of a few lines

import asyncio
import socket
import sys

import asyncssh


async def through(proxy: int, address: str, port: int) -> socket.socket:
    """Return a socket to the address through the SOCKS5 proxy."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    await loop.sock_connect(connection, ("127.0.0.1", proxy))
    name = address.encode()
    await loop.sock_sendall(connection, b"\x05\x01\x00")
    await loop.sock_recv(connection, 2)
    await loop.sock_sendall(connection, b"\x05\x01\x00\x03" + bytes([len(name)]) + name + port.to_bytes(2))
    answer = await loop.sock_recv(connection, 10)
    if answer[1] != 0:
        connection.close()
        raise OSError(f"SOCKS failure {answer[1]}")
    return connection


async def main() -> int:
    """Run the command everywhere and count the hosts where it did not end with 0."""
    proxy, known_hosts, key, user, forks, command = sys.argv[1:]
    gate = asyncio.Semaphore(int(forks))
    identity = asyncssh.read_private_key(key)
    known = asyncssh.read_known_hosts(known_hosts)

    async def one(address: str, port: str) -> bool:
        async with gate:
            try:
                async with asyncssh.connect(
                    address,
                    int(port),
                    sock=await through(int(proxy), address, int(port)),
                    username=user,
                    client_keys=[identity],
                    known_hosts=known,
                    config=None,
                    agent_path=None,
                ) as connection:
                    ended = await connection.run(command)
                    print(f"{address}:{port}: {ended.stdout}", end="")
                    return ended.exit_status == 0
            except (OSError, asyncssh.Error) as error:
                print(f"{address}:{port}: {type(error).__name__} {error}", file=sys.stderr)
                return False

    ended = await asyncio.gather(*(one(*line.split()) for line in sys.stdin))
    return min(100, ended.count(False))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
