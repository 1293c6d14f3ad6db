"""The network of this place: up, down, status, wait, logs, env."""

import os
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, files, options, process, reach
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import Unavailable, UsageFailure
from tasks.secret import Secret
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.net.daemon import Daemon
    from tasks.net.joining import Source, Ways
    from tasks.net.login import State
    from tasks.net.terminal import Attempt, Watch
    from tasks.tailnet import Peer, TailnetStatus

LOCK_DEADLINE = 120.0  # seconds; whoever holds the lock may be asking a person
LOGIN_TIMEOUT = 30  # seconds for `tailscale up` with a key; it waits for ever by default
SIGN_IN_TIMEOUT = 600  # seconds for a person in a browser
ATTEMPT_GRACE = 5.0  # seconds that `up` may exceed its own --timeout
FOLLOW_PAUSE = 0.25  # seconds between two looks at a growing log
SHELLS = ("sh", "fish")
Ask = Callable[[str], Secret]
Tell = Callable[[str], None]


@command()
def up(context: Context) -> None:
    """Start the daemon and log in; when it is up already, change nothing."""
    from tasks.net.daemon import probe
    from tasks.vault import offer_rescued

    settings = load_settings()
    offer_rescued(settings)
    daemon = daemon_of(settings)
    status = probe(daemon)
    if status is not None and status.is_up:
        console.say(f"network is up already: {_summary(settings, status)}")
        return
    if is_dry(context):
        console.step("would start tailscaled and log in: " + " ".join(daemon.argv(Path("tailscaled"))))
        return
    ask = console.ask_hidden if console.may_ask() else None
    console.say(f"network is up: {_summary(settings, bring_up(settings, ask))}")


@command(options_help={"logout": "leave the tailnet too: the next `up` needs a key"})
def down(context: Context, logout: bool = False) -> None:
    """Stop the daemon; the node stays a member of the tailnet unless --logout is given."""
    from tasks.net.daemon import probe, stop

    settings = load_settings()
    daemon = daemon_of(settings)
    if is_dry(context):
        console.step("would log out and stop tailscaled" if logout else "would stop tailscaled")
        return
    with files.lock(_runtime(daemon).lock, deadline=LOCK_DEADLINE):
        if logout:
            if probe(daemon) is None:
                raise Unavailable("cannot log out: the network is down", next_step="`inv net.up net.down --logout`")
            daemon.api.logout()
        stopped = stop(daemon)
    console.say("network is down" if stopped else "network was down already")


@command(options_help={"json": "the same as one JSON document"})
def status(_context: Context, json: bool = False) -> None:
    """Show tailnet, addresses, proxy, control server, health and peers."""
    from tasks.net.report import as_document, as_text

    settings = load_settings()
    current = current_status(settings)
    server = settings.login_server or "Tailscale"
    proxy = f"{settings.proxy_host}:{settings.proxy_port}"
    if json:
        console.document(as_document(current, settings.tailnet, proxy, server))
    else:
        console.say(as_text(current, settings.tailnet, proxy, server))


@command(options_help={"host": "a name of the tailnet", "timeout": "how long to wait, such as 90s or 5m"})
def wait(_context: Context, host: str = "", timeout: str = "60s") -> None:
    """Wait until a host's SSH port answers through the proxy."""
    from tasks.reach import await_host

    if not host:
        raise UsageFailure("--host: expected the name of a host")
    seconds = options.duration("timeout", timeout)
    started = time.monotonic()
    await_host(load_settings(), host, seconds)
    console.say(f"{host} answers (after {time.monotonic() - started:.1f} s)")


@command(options_help={"follow": "go on printing until Ctrl-C"})
def logs(_context: Context, follow: bool = False) -> None:
    """Print the daemon's log."""
    daemon = daemon_of(load_settings())
    try:
        log = daemon.log.open(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise Unavailable(f"there is no log at {daemon.log}", next_step="`inv net.up` starts the daemon") from None
    with log:
        while True:
            for line in log:
                console.say(console.visible(line.rstrip("\n")))
            if not follow:
                return
            if os.fstat(log.fileno()).st_size < log.tell():
                log.seek(0)
            time.sleep(FOLLOW_PAUSE)


@command(options_help={"shell": "sh or fish", "unset": "print the lines that take the variables away again"})
def env(_context: Context, shell: str = "sh", unset: bool = False) -> None:
    """Print lines for a shell that send its programs through the proxy: eval "$(inv net.env)"."""
    if shell not in SHELLS:
        raise UsageFailure(f"--shell: expected {' or '.join(SHELLS)}, got {shell!r}")
    from tasks.tools import proxy_environment

    values = proxy_environment(load_settings())
    for name, value in values.items():
        if unset:
            console.say(f"set -e {name};" if shell == "fish" else f"unset {name};")
        else:
            console.say(f"set -gx {name} '{value}';" if shell == "fish" else f"export {name}='{value}';")


@command(name="exec", words=True)
def exec_(context: Context) -> None:
    """Become another program whose traffic goes through the proxy: `net.exec -- git clone web1:repo`."""
    from tasks import tools

    words = options.words()
    if not words:
        raise UsageFailure("expected a program after `--`", next_step="inv net.exec -- curl http://web1/")
    settings = load_settings()
    if is_dry(context):
        console.step(f"would run {shlex.join(words)} with {', '.join(tools.PROXY_VARIABLES)}")
        return
    process.become(*words, environment={**os.environ, **tools.environment_through_proxy(settings)})


@command(iterable=["map"], options_help={"map": "PORT:HOST:PORT, such as 5432:db1:5432; again for another"})
def forward(context: Context, map: Sequence[str] | None = None) -> None:  # noqa: A002 - the option's name
    """Open ports of this machine that lead to services of the tailnet, for programs that know no proxy."""
    from tasks.net import forwarding

    forwards = forwarding.parse(map or ())
    if is_dry(context):
        console.say("\n".join(f"would forward {each}" for each in forwards))
        return
    ways = reach.ways_of(load_settings())
    for each in forwards:
        ways.to(reach.host_name(each.host))
    forwarding.serve(forwards, lambda each: ways.dial(each.host, each.there), console.step)


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
    from tasks.net.daemon import probe

    status = probe(daemon_of(settings))
    if status is None:
        raise Unavailable(f"the network {settings.tailnet!r} is down", next_step="`inv net.up`", cause="down")
    return status


def bring_up(settings: Settings, ask: Ask | None, tell: Tell = console.step) -> "TailnetStatus":
    """Start the daemon and log in, under the lock, and return the status when both are done.

    `ask` gets a key from a person, or is None when nobody can be asked; `tell` gets lines of progress.
    """
    from tasks.net.daemon import start
    from tasks.net.joining import join
    from tasks.programs.pins import pinned
    from tasks.programs.provision import ensure
    from tasks.vault import begin_vault

    if settings.auth_key is None and not daemon_of(settings).state.exists():
        begin_vault(settings)
    programs = ensure(pinned("tailscale"), source=settings.programs_source, cache=settings.cache_folder, say=tell)
    daemon = _runtime(daemon_of(settings))
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


def _runtime(daemon: "Daemon") -> "Daemon":
    files.private_folder(daemon.runtime_folder)
    return daemon


def _ways(settings: Settings, daemon: "Daemon", tailscale: Path, ask: Ask | None, tell: Tell) -> "Ways":
    from tasks.net.joining import Ways
    from tasks.net.terminal import Watch

    # Only a person at the terminal can sign in with a browser, and type a key meanwhile.
    typed = 0 if ask is console.ask_hidden else None
    if settings.ssh:
        console.step("TS_SSH=1: the shields are down, peers that the policy allows reach this machine's loopback ports")

    def attempt(key: Secret | None) -> "Attempt":
        return _attempt(settings, daemon, tailscale, key, Watch(_show_url, typed))

    def resume() -> "Attempt":
        return _attempt(settings, daemon, tailscale, None, Watch(_show_url, sign_in=False))

    return Ways(
        attempt=attempt,
        resume=resume,
        status=daemon.api.status,
        quiet=daemon.api.disconnect_control,
        ask=ask,
        read=lambda: _read_vault(settings),
        save=lambda key: _save_to_vault(settings, key),
        tell=tell,
    )


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


def _read_vault(settings: Settings) -> Secret | None:
    from tasks.vault import read_password

    return read_password(settings, settings.vault_item)


def _save_to_vault(settings: Settings, key: Secret) -> str:
    from tasks.vault import save_password

    return save_password(settings, settings.vault_item, key)


def _summary(settings: Settings, status: "TailnetStatus") -> str:
    node: Peer | None = status.self_peer
    name = console.visible(node.name) if node else "unknown"
    address = node.addresses[0] if node and node.addresses else "no address"
    where = console.visible(status.tailnet) or settings.tailnet
    return f"{name} ({address}) in {where}, proxy {settings.proxy_host}:{settings.proxy_port}"
