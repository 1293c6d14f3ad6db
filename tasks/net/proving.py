"""Owns the proof of an auth key: one login with it, by a second daemon that keeps its state in memory alone.

The running network is not touched. tailscaled logs a node with `--state=mem:` in as ephemeral (its ipn/store), and it
is logged out at once, so the tailnet is left as it was. A key for one use is spent by it.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tasks.loopback import free_port
from tasks.net.daemon import Daemon, start, stop
from tasks.net.joining import failure_of
from tasks.net.login import State
from tasks.net.terminal import Watch, attempt
from tasks.secret import Secret

LOGIN_TIMEOUT = 30  # seconds
GRACE = 5.0  # seconds that `up` may exceed its own --timeout


def prove(like: Daemon, programs: tuple[Path, Path], key: Secret, arguments: Sequence[str]) -> str:
    """Log in with the key and out again; return the control server's refusal, or an empty text if it was accepted.

    `programs` are tailscale and tailscaled, `arguments` those of `up`. Any other end of the login is its own failure.
    """
    tailscale, tailscaled = programs
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        daemon = replace(
            like,
            state_folder=Path(folder),
            runtime_folder=Path(folder),
            proxy_port=free_port(),
            extra_args=(*like.extra_args, "--state=mem:"),
        )
        try:
            start(daemon, tailscaled, tell=lambda _line: None)
            argv = (str(tailscale), f"--socket={daemon.socket}", "up", f"--timeout={LOGIN_TIMEOUT}s", *arguments)
            watch = Watch(lambda _state, _url: None, sign_in=False)
            outcome = attempt(argv, key=key, deadline=LOGIN_TIMEOUT + GRACE, watch=watch)
            if outcome.state is State.ACCEPTED:
                daemon.api.logout()
        finally:
            stop(daemon)
    if outcome.state is State.KEY_REFUSED:
        return outcome.text
    if outcome.state is not State.ACCEPTED:
        raise failure_of(outcome)
    return ""
