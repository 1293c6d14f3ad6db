"""One of many hosts' connection: as strict as a session, and easier to break off."""

import threading
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest

from tasks.errors import Refused, TimedOut
from tasks.remote.following import Ended
from tasks.remote.halting import Halt
from tasks.remote.hostkeys import HostKey
from tests.remote import servers
from tests.remote.conftest import Heard, threads
from tests.remote.crowd import Crowd
from tests.remote.servers import hangs, says
from tests.waiting import until

Serve = Callable[..., servers.SSHServer]


@pytest.fixture
def crowd(proxy: servers.Socks, host_key: paramiko.PKey, tmp_path: Path) -> Crowd:
    """Return a tailnet without hosts."""
    return Crowd(proxy, tmp_path, HostKey(host_key.get_name(), host_key.get_base64()))


def test_a_command_runs_and_its_outputs_stay_apart(crowd: Crowd, serve: Serve, heard: Heard) -> None:
    """And its status is its own."""
    crowd.add("web", serve({"it": says(b"out", b"err", 4)}).port)
    connected = crowd.ways().to("web").link(str, Halt())  # type: ignore[arg-type]
    ended = connected.run("it", heard.out, heard.err)
    connected.close()

    assert (ended, heard.stdout, heard.stderr) == (Ended(4), b"out", b"err")


def test_a_command_that_is_no_utf_8_arrives_byte_by_byte(crowd: Crowd, serve: Serve, heard: Heard) -> None:
    """As file names may be."""
    crowd.add("web", serve({"cat \udcff": says(b"out")}).port)
    connected = crowd.ways().to("web").link(str, Halt())  # type: ignore[arg-type]
    ended = connected.run("cat \udcff", heard.out, heard.err)
    connected.close()

    assert (ended, heard.stdout) == (Ended(0), b"out")


def test_an_unknown_key_ends_it_before_the_login(crowd: Crowd, serve: Serve) -> None:
    """And leaves no thread."""
    server = serve()
    crowd.add("web", server.port, known=False)
    before = threads()

    with pytest.raises(Refused, match=r"^the host key of web is unknown: "):
        crowd.ways().to("web").link(str, Halt())  # type: ignore[arg-type]

    assert server.logins == 0
    until(lambda: threads() <= before, what="thread that ended")


def test_the_word_to_end_ends_the_command_there_and_here(crowd: Crowd, serve: Serve, heard: Heard) -> None:
    """With the reason that was given."""
    started, halt = threading.Event(), Halt()
    server = serve({"it": hangs(started)})
    crowd.add("web", server.port)
    connected = crowd.ways().to("web").link(str, halt)  # type: ignore[arg-type]

    def end() -> None:
        started.wait(10)
        halt.ask(TimedOut("late"))

    threading.Thread(target=end).start()

    with pytest.raises(TimedOut, match=r"^late$"):
        connected.run("it", heard.out, heard.err)

    connected.close()
    assert server.signals == ["TERM"]
