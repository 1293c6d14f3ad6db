"""The network of this place: up, down, status, wait, logs, env, exec, forward."""

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import connecting, console, files, options, reach
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import Unavailable, UsageFailure
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.tailnet import Peer, TailnetStatus

FOLLOW_PAUSE = 0.25  # seconds between two looks at a growing log
SHELLS = ("sh", "fish")


@command()
def up(context: Context) -> None:
    """Start the daemon and log in; when it is up already, change nothing."""
    from tasks.keeping import offer_rescued

    settings = load_settings()
    unsaved = offer_rescued(settings, dry=is_dry(context))
    status = connecting.status_if_ready(settings)
    if status is not None and status.is_up:
        console.say(f"network is up already: {_summary(settings, status)}")
    elif is_dry(context):
        argv = connecting.daemon_of(settings).argv(Path("tailscaled"))
        console.step(f"would start tailscaled and log in: {' '.join(argv)}")
    else:
        ask = console.ask_hidden if console.may_ask() else None
        console.say(f"network is up: {_summary(settings, connecting.bring_up(settings, ask))}")
    if unsaved is not None:
        raise unsaved


@command(options_help={"logout": "leave the tailnet too: the next `up` needs a key"})
def down(context: Context, logout: bool = False) -> None:
    """Stop the daemon; the node stays a member of the tailnet unless --logout is given."""
    from tasks.net.daemon import probe, stop

    settings = load_settings()
    daemon = connecting.daemon_of(settings)
    if is_dry(context):
        console.step("would log out and stop tailscaled" if logout else "would stop tailscaled")
        return
    with files.lock(connecting.with_folder(daemon).lock, deadline=connecting.LOCK_DEADLINE):
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
    current = connecting.current_status(settings)
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

    seconds = options.duration("timeout", timeout)
    started = time.monotonic()
    await_host(load_settings(), host, seconds)
    console.say(f"{host} answers (after {time.monotonic() - started:.1f} s)")


@command(options_help={"follow": "go on printing until Ctrl-C"})
def logs(_context: Context, follow: bool = False) -> None:
    """Print the daemon's log."""
    daemon = connecting.daemon_of(load_settings())
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
    """Become another program whose traffic goes through the proxy: `net.exec -- git clone web1:repo`.

    Where another command follows, it runs once the program has ended well.
    """
    from tasks import tools

    words = options.words()
    if not words:
        raise UsageFailure("expected a program after `--`", next_step="inv net.exec -- curl http://web1/")
    settings = load_settings()
    if is_dry(context):
        console.step(f"would run {shlex.join(words)} with {', '.join(tools.PROXY_VARIABLES)}")
        return
    tools.give_way("net.exec", *words, environment={**os.environ, **tools.environment_through_proxy(settings)})


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


def _summary(settings: Settings, status: "TailnetStatus") -> str:
    node: Peer | None = status.self_peer
    name = console.visible(node.name) if node else "unknown"
    address = node.addresses[0] if node and node.addresses else "no address"
    where = console.visible(status.tailnet) or settings.tailnet
    return f"{name} ({address}) in {where}, proxy {settings.proxy_host}:{settings.proxy_port}"
