"""Owns what a remote command reads on its stdin: sent by a thread of its own, while the command's output is followed.

A command that writes much before it has read all would otherwise wait for us as we wait for it.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

from tasks.errors import Failure
from tasks.remote.output import Sink
from tasks.remote.transport import BROKEN, FAREWELL_SECONDS, Channel

Feed = Callable[[Sink], None]
"""Writes everything that a command shall read to the sink that it is given."""

# sshd takes packets of 32 KiB, of which paramiko keeps 64 bytes back (channel.py, _wait_for_send_window): one more byte
# would be a packet more for every piece.
PIECE = 32768 - 64


class _Unread(Exception):  # noqa: N818 - it is no error: a command may end before it has read everything
    """The command takes no more."""


@contextlib.contextmanager
def feeding(channel: Channel, feed: Feed | None) -> Iterator[None]:
    """Within, the command reads what `feed` writes, and then the end of its input; without one, nothing.

    What broke while it was read here is raised at the end: the command saw its input end early.
    """
    if feed is None:
        with contextlib.suppress(*BROKEN):  # it may have ended already; what it said is still to be read
            channel.shutdown_write()
        yield
        return
    broken: list[OSError | Failure] = []
    thread = threading.Thread(target=_feed, args=(channel, feed, broken), daemon=True)
    thread.start()
    yield
    thread.join(FAREWELL_SECONDS)
    if broken:
        raise broken[0]


def _feed(channel: Channel, feed: Feed, broken: list[OSError | Failure]) -> None:
    def send(data: bytes) -> None:
        try:
            channel.sendall(data)
        except BROKEN:
            raise _Unread from None

    try:
        feed(send)
    except _Unread:
        return
    except (OSError, Failure) as error:
        broken.append(error)
    with contextlib.suppress(*BROKEN):
        channel.shutdown_write()
