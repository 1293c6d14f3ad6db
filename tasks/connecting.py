"""Composes the way from the settings to a network that is up: programs, daemon, login, vault.

A thin layer that `net`, `vault`, `demo`, `doctor` and the benchmark share.
"""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, files
from tasks.errors import Failure, Unavailable
from tasks.secret import Secret
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.net.accepted import Save
    from tasks.net.daemon import Daemon
    from tasks.net.joining import Source, StoredKey, Ways
    from tasks.net.login import State
    from tasks.net.terminal import Attempt, Watch
    from tasks.tailnet import TailnetStatus

LOCK_DEADLINE = 120.0  # seconds; whoever holds the lock may be asking a person
LOGIN_TIMEOUT = 30  # seconds for `tailscale up` with a key; it waits for ever by default
SIGN_IN_TIMEOUT = 600  # seconds for a person in a browser
ATTEMPT_GRACE = 5.0  # seconds that `up` may exceed its own --timeout
Ask = Callable[[str], Secret]
Tell = Callable[[str], None]


def daemon_of(settings: Settings) -> "Daemon":
    """Return the daemon that the settings describe, running or not."""
    from tasks.net.daemon import Daemon

    return Daemon(
        state_folder=settings.state_folder,
        runtime_folder=settings.runtime_folder,
        proxy_host=settings.proxy_host,
        proxy_port=settings.proxy_port,
        extra_args=settings.tailscaled_extra_args,
        upload_logs=settings.upload_logs,
        knobs=settings.daemon_knobs,
    )


def current_status(settings: Settings) -> "TailnetStatus":
    """Return the status of the running daemon, or fail because the network is down."""
    status = status_if_ready(settings)
    if status is None:
        raise Unavailable(f"the network {settings.tailnet!r} is down", next_step="`inv net.up`", cause="down")
    return status


def status_if_ready(settings: Settings) -> "TailnetStatus | None":
    """Return the status of a daemon that is ready, else None; its log is kept short by the way."""
    from tasks.net.daemon import probe, trim_log

    daemon = daemon_of(settings)
    trim_log(daemon)
    return probe(daemon)


def bring_up(settings: Settings, ask: Ask | None, tell: Tell = console.step) -> "TailnetStatus":
    """Start the daemon and log in, under the lock, and return the status when both are done.

    `ask` gets a key from a person, or is None when nobody can be asked; `tell` gets lines of progress.
    """
    from tasks.keeping import begin_vault
    from tasks.net.daemon import start
    from tasks.net.joining import join
    from tasks.programs.pins import pinned
    from tasks.programs.provision import ensure

    if settings.auth_key is None and not daemon_of(settings).state.exists():
        begin_vault(settings)
    programs = ensure(pinned("tailscale"), source=settings.programs_source, cache=settings.cache_folder, say=tell)
    daemon = with_folder(daemon_of(settings))
    with files.lock(daemon.lock, deadline=LOCK_DEADLINE):
        status = start(daemon, programs.executable("tailscaled"), tell=tell)
        ways = _ways(settings, daemon, programs.executable("tailscale"), ask, tell)
        return join(ways, status, _configured(settings), _vault_name(settings))


def up_arguments(settings: Settings) -> tuple[str, ...]:
    """Return the settings of `tailscale up`: always all of them, so that no earlier run leaves one behind."""
    login_server = (f"--login-server={settings.login_server}",) if settings.login_server else ()
    hostname = (f"--hostname={settings.hostname}",) if settings.hostname else ()
    # Without the shields a peer may reach every loopback service here, the proxy among them.
    inbound = "--ssh" if settings.ssh else "--shields-up"
    return ("--reset", *login_server, *hostname, inbound, *settings.extra_args)


def with_folder(daemon: "Daemon") -> "Daemon":
    """Return the daemon, its runtime folder made: locks and sockets lie there."""
    files.private_folder(daemon.runtime_folder)
    return daemon


def _ways(settings: Settings, daemon: "Daemon", tailscale: Path, ask: Ask | None, tell: Tell) -> "Ways":
    from tasks.keeping import where_kept
    from tasks.net.joining import Ways
    from tasks.net.terminal import Watch

    # Only a person at the terminal can sign in with a browser, and type a key meanwhile.
    typed = 0 if ask is console.ask_hidden else None
    if settings.ssh:
        tell("TS_SSH=1: the shields are down, peers that the policy allows reach this machine's loopback ports")

    attempt = partial(_attempt, settings, daemon, tailscale)
    silence = partial(_tell_silence, daemon, tell)
    return Ways(
        attempt=lambda key, taken: attempt(key, Watch(_show_url, typed, on_silence=silence, on_taken=taken)),
        resume=lambda: attempt(None, Watch(_show_url, sign_in=False, on_silence=silence)),
        status=daemon.api.status,
        quiet=daemon.api.disconnect_control,
        ask=ask,
        read=lambda: _read_vault(settings),
        reread=lambda: _read_vault(settings, anew=True),
        keep=lambda key: _keep_accepted(settings, daemon, key),
        where=lambda save: where_kept(settings, save),
        tell=tell,
    )


def _tell_silence(daemon: "Daemon", tell: Tell) -> None:
    cause = daemon.api.status(peers=False).login_error
    tell(f"no answer from the control server yet, waiting {LOGIN_TIMEOUT} s in all" + (f": {cause}" if cause else ""))


def _attempt(settings: Settings, daemon: "Daemon", tailscale: Path, key: Secret | None, watch: "Watch") -> "Attempt":
    from tasks.net.terminal import attempt

    at_terminal = watch.typed is not None
    timeout = SIGN_IN_TIMEOUT if key is None and at_terminal else LOGIN_TIMEOUT
    argv = (str(tailscale), f"--socket={daemon.socket}", "up", f"--timeout={timeout}s", *up_arguments(settings))
    with console.hidden_input() if at_terminal else nullcontext():
        return attempt(argv, key=key, deadline=timeout + ATTEMPT_GRACE, watch=watch)


def _show_url(state: "State", url: str) -> None:
    from tasks.net.login import State

    if state is State.AWAITING_APPROVAL:
        console.step(f"this machine must be approved by an admin: {url}")
    else:
        console.step(f"to sign in, open: {url}\n(or paste a key and press Enter)")


def _configured(settings: Settings) -> "Source | None":
    from tasks.net.joining import Source

    key = settings.configured_key()
    return Source(key, "the key in TS_AUTHKEY") if key else None


def _vault_name(settings: Settings) -> str:
    return f"the item {settings.vault_item!r} of the {settings.vault} vault"


def _read_vault(settings: Settings, *, anew: bool = False) -> "StoredKey | None":
    from tasks.keeping import read_item
    from tasks.net.joining import StoredKey
    from tasks.vault.acceptance import acceptance_of

    item = read_item(settings, settings.vault_item, anew=anew)
    return StoredKey(item.password, acceptance_of(item)) if item and item.password else None


def _keep_accepted(settings: Settings, daemon: "Daemon", key: Secret) -> "Save":
    from tasks.keeping import keep_accepted_key

    node = None
    with suppress(Failure):  # the key must be kept whatever the daemon does by now
        node = daemon.api.status(peers=False).self_peer
    return keep_accepted_key(settings, settings.vault_item, key, node.name if node else "")
