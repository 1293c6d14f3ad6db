"""Owns a login shell on this terminal, for a place without ssh: keys go there, the screen comes here, its size follows.

What the host writes reaches the terminal as it is, which is what an interactive login is for.
"""

import contextlib
import os
import select
import signal
import socket
import termios
import tty
from collections.abc import Iterator

from tasks.errors import Refused
from tasks.remote import output
from tasks.remote.following import CHUNK, Ended, Follower, Watch
from tasks.remote.transport import BROKEN, Channel, open_shell

KEYBOARD, SCREEN = 0, 1
MOST_KEYS = 16384  # bytes of a paste that are passed on at once


def log_in(follower: Follower, term: str) -> Ended:
    """Be the terminal, of the kind `term`, of a login shell on the follower's host, until it ends."""
    with _resizes() as resized:
        size = os.get_terminal_size(KEYBOARD)
        try:
            open_shell(follower.channel, term, size.columns, size.lines)
        except BROKEN:
            if not follower.transport.is_active():
                raise
            raise Refused(f"{follower.name} refuses a login on a terminal") from None
        with _raw():
            _pass_on(follower, resized)
    return follower.ended()


def _pass_on(follower: Follower, resized: socket.socket) -> None:
    channel, watch = follower.channel, Watch(follower)
    sources: list[Channel | socket.socket | int] = [channel, resized, KEYBOARD]
    while True:
        ready, _, _ = select.select(sources, [], [], follower.silence)
        if channel not in ready:
            watch.look(heard=bool(ready))
        elif not (shown := channel.recv(CHUNK)):
            return
        else:
            watch.look(heard=True)
            output.write_all(SCREEN, shown)
        if resized in ready:
            resized.recv(MOST_KEYS)
            channel.resize_pty(*os.get_terminal_size(KEYBOARD))
        if KEYBOARD in ready and not _typed(follower):
            sources.remove(KEYBOARD)


def _typed(follower: Follower) -> bool:
    """Send on what was typed; the end of the keyboard is the end of the shell's input."""
    keys = os.read(KEYBOARD, MOST_KEYS)
    if keys:
        follower.channel.sendall(keys)
    else:
        follower.channel.shutdown_write()
    return bool(keys)


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Hand on every key within, Ctrl-C too: it is the remote program's."""
    before = termios.tcgetattr(KEYBOARD)
    try:
        tty.setraw(KEYBOARD, termios.TCSADRAIN)  # what was typed ahead is kept
        yield
    finally:
        termios.tcsetattr(KEYBOARD, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _resizes() -> Iterator[socket.socket]:
    """Yield a socket that has something to read whenever the window has a new size."""
    heard, rung = socket.socketpair()
    with heard, rung:
        rung.setblocking(False)
        # The number of the signal is written by Python's C code; the handler only has to exist.
        before = signal.signal(signal.SIGWINCH, lambda *_: None)
        number = signal.set_wakeup_fd(rung.fileno(), warn_on_full_buffer=False)
        try:
            yield heard
        finally:
            signal.set_wakeup_fd(number)
            signal.signal(signal.SIGWINCH, before)
