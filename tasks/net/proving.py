"""Owns the proof of an auth key: one login with it, by a second daemon that keeps its state in memory alone.

The running network is not touched. tailscaled logs a node with `--state=mem:` in as ephemeral (its ipn/store), and it
is logged out at once, so the tailnet is left as it was; tailscaled tries that itself when it is asked to end, as the
kernel asks it should we be killed. A key for one use is spent by the proof: it is kept before anything else is done.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.console import visible
from tasks.errors import Failure, Refused, TimedOut, Unavailable
from tasks.loopback import free_port
from tasks.net.accepted import Accepted, Keep, Save
from tasks.net.daemon import Daemon, start, stop
from tasks.net.joining import failure_of
from tasks.net.login import State
from tasks.net.terminal import Attempt, Watch, attempt
from tasks.secret import Secret

LOGIN_TIMEOUT = 30  # seconds
GRACE = 5.0  # seconds that `up` may exceed its own --timeout
# What a good key does not bring by itself; it is no failure of a proof.
RESERVATIONS = {
    State.NEEDS_APPROVAL: "the key is good, but an admin must approve a machine that joins with it",
    State.LOCKED_OUT: "the key is good, but tailnet lock keeps a node that joins with it out until it is signed",
}


@dataclass(frozen=True)
class Ways:
    """How a proof reaches the world.

    `like` is the daemon of the running network, `programs` are tailscale and tailscaled, `arguments` those of `up`;
    `keep(key)` keeps an accepted key where nothing loses it and returns what saves it; `where(save)` says where it is
    before that; `tell` says a line of progress.
    """

    like: Daemon
    programs: tuple[Path, Path]
    arguments: Sequence[str]
    keep: Keep
    where: Callable[[Save], str]
    tell: Callable[[str], None]


def prove(ways: Ways, key: Secret) -> Save | str:
    """Log in with the key and out again; return what saves it, as it is kept by then, or the control server's refusal.

    Any other end of the login is its own failure.
    """
    accepted = Accepted(key, ways.keep)
    with accepted.told_when_interrupted(ways.where, ways.tell), _second_daemon(ways) as daemon:
        outcome = _log_in(ways, daemon, key, accepted)
        cause = _cause(daemon, outcome, accepted)
        if accepted.save is not None:
            _try_to("log out", daemon.api.logout, ways.tell)
    if accepted.save is not None:
        if outcome.state in RESERVATIONS:
            ways.tell(f"{RESERVATIONS[outcome.state]}: {outcome.text}")
        return accepted.save
    if outcome.state is State.KEY_REFUSED:
        return outcome.text
    raise _unproved(outcome, cause)


@contextmanager
def _second_daemon(ways: Ways) -> Iterator[Daemon]:
    with tempfile.TemporaryDirectory(prefix="pm-", ignore_cleanup_errors=True) as folder:
        daemon = replace(
            ways.like,
            state_folder=Path(folder),
            runtime_folder=Path(folder),
            proxy_port=free_port(),
            extra_args=(*ways.like.extra_args, "--state=mem:"),
            ends_with_us=True,
        )
        try:
            start(daemon, ways.programs[1], tell=lambda _line: None)
            yield daemon
        finally:
            _try_to("end", lambda: stop(daemon), ways.tell)


def _cause(daemon: Daemon, outcome: Attempt, accepted: Accepted) -> str:
    """Return what the daemon knows of a login that had no clear end; keep the key if the daemon has used it."""
    if outcome.state not in {State.NO_ANSWER, State.FAILED}:
        return ""
    try:
        status = daemon.api.status(peers=False)
    except Failure as failure:
        return failure.what
    if status.is_up or status.has_node_key:  # it began without one
        accepted.keep()
    return visible(status.login_error)


def _unproved(outcome: Attempt, cause: str) -> Failure:
    """Return the failure of a proof that says nothing of the key, or `failure_of` for what is not a proof's own."""
    why, again = cause or outcome.text, "then run it again with the same key; the vault still holds the old one"
    match outcome.state:
        case State.NO_ANSWER:
            return TimedOut(
                f"the key is not proved: no answer from the control server within {LOGIN_TIMEOUT} s",
                why=why,
                next_step=f"`inv doctor` looks for the cause; {again}",
            )
        case State.FAILED:
            return Unavailable(
                "the key is not proved: `tailscale up` failed", why=why, next_step=f"mend that (`inv doctor`), {again}"
            )
        case State.NOT_SIGNED_IN:
            return Refused(
                "the key is not proved: the control server asks for a sign-in with a browser all the same",
                why=why,
                next_step="make an auth key there, then run it again; the vault still holds the old one",
            )
        case _:
            return failure_of(outcome)


def _log_in(ways: Ways, daemon: Daemon, key: Secret, accepted: Accepted) -> Attempt:
    up = ("up", f"--timeout={LOGIN_TIMEOUT}s", *ways.arguments)
    argv = (str(ways.programs[0]), f"--socket={daemon.socket}", *up)
    watch = Watch(lambda _state, _url: None, sign_in=False, on_taken=accepted.keep)
    return attempt(argv, key=key, deadline=LOGIN_TIMEOUT + GRACE, watch=watch)


def _try_to(what: str, do: Callable[[], object], tell: Callable[[str], None]) -> None:
    """Tidy up as far as it goes: neither the key nor how its login ended may be lost for it."""
    try:
        do()
    except Failure as failure:
        tell(
            f"the daemon of the proof does not {what}, and its node stays until it is given up as gone: {failure.what}"
        )
