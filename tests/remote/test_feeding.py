"""What a remote command reads, over a real SSH connection."""

from collections.abc import Callable

import paramiko
import pytest

from tasks.errors import Unavailable
from tasks.remote.output import Sink
from tests.remote import servers
from tests.remote.conftest import Heard, Reached

Reach = Callable[[int], Reached]
Serve = Callable[..., servers.SSHServer]


def echo(channel: paramiko.Channel) -> None:
    """Give back everything, as it comes, and end with 3."""
    while data := channel.recv(100_000):
        channel.sendall(data)
    channel.send_exit_status(3)


def test_more_than_a_window_goes_there_while_as_much_comes_back(serve: Serve, reach: Reach, heard: Heard) -> None:
    """Neither side waits for the other."""
    text = b"x" * 32768
    server = serve({"cat": echo})

    def feed(sink: Sink) -> None:
        for _ in range(200):
            sink(text)

    with reach(server.port).connect() as session:
        ended = session.run("cat", heard.out, heard.err, feed)

    assert (ended.exit_status, len(heard.stdout)) == (3, 200 * len(text))


def test_a_command_may_end_before_it_has_read_everything(serve: Serve, reach: Reach, heard: Heard) -> None:
    server = serve({"head": servers.says(b"enough", status=0)})

    def feed(sink: Sink) -> None:
        while True:
            sink(b"x" * 32768)

    with reach(server.port).connect() as session:
        ended = session.run("head", heard.out, heard.err, feed)

    assert (ended.exit_status, bytes(heard.stdout)) == (0, b"enough")


def test_what_cannot_be_read_here_is_told_when_the_command_has_ended(serve: Serve, reach: Reach, heard: Heard) -> None:
    server = serve({"cat": echo})

    def feed(sink: Sink) -> None:
        sink(b"half")
        raise Unavailable("cannot read /x")

    with reach(server.port).connect() as session, pytest.raises(Unavailable) as failure:
        session.run("cat", heard.out, heard.err, feed)

    assert (str(failure.value), bytes(heard.stdout)) == ("cannot read /x", b"half")


def test_a_connection_that_broke_before_the_input_ended_hides_no_output(
    serve: Serve, reach: Reach, heard: Heard
) -> None:
    """The command writes and breaks it while we still say that there is nothing to read."""
    server = serve({"cut": cut})
    for count in range(1, 41):
        with reach(server.port).connect() as session, pytest.raises(Unavailable):
            session.run("cut", heard.out, heard.err)
        assert heard.stdout == b"so far" * count


def cut(channel: paramiko.Channel) -> None:
    """Write, and break the connection."""
    channel.sendall(b"so far")
    channel.get_transport().close()
