"""The machines behind the network: run, hosts, trust."""

import getpass
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, options
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import Refused, RemoteExit, Unavailable, UsageFailure
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.net.localapi import LocalAPI
    from tasks.remote.hostkeys import Store
    from tasks.remote.inventory import Host, Inventory
    from tasks.remote.ssh import Session
    from tasks.remote.ways import Ways
    from tasks.tailnet import TailnetStatus

KNOWN_HOSTS = "known_hosts"
SOCKET = "tailscaled.sock"


@command(
    words=True,
    options_help={
        "host": "a host of the inventory, or a machine of the tailnet",
        "command": "a line for the host's shell; or give words after --, each stays one word",
    },
)
def run(context: Context, host: str = "", command: str | None = None) -> None:
    """Run a command on a host and end with its status; without a command, print a one-line report of the host.

    The command gets no input. Its output arrives as it is written, byte for byte.
    """
    name = _host_name(host)
    line = shlex.join(options.words()) if command is None else command
    if command is not None and not command.strip():
        raise UsageFailure("--command: expected a line for the host's shell, got an empty one")
    if is_dry(context):
        console.step(f"would run on {name}: {line or 'a report of system, uptime, load, memory and disk'}")
        return
    run_on(load_settings(), name, line)


@command(options_help={"json": "the same as one JSON document"})
def hosts(_context: Context, json: bool = False) -> None:
    """List the hosts of the inventory and of the tailnet: name, groups, address, user, whether they are online."""
    settings = load_settings()
    inventory = _with_tailnet_if_up(settings)
    if json:
        console.document([_as_record(host) for host in inventory.hosts.values()])
        return
    rows = [["host", "groups", "address", "user", "online"]]
    rows += [_as_row(host) for host in inventory.hosts.values()]
    console.say(console.visible(console.table(rows)) if len(rows) > 1 else "there are no hosts")


@command(
    options_help={
        "host": "a host of the inventory, or a machine of the tailnet",
        "replace": "take the place of a key that is known already",
    }
)
def trust(context: Context, host: str = "", replace: bool = False) -> None:
    """Fetch a host's key through the proxy, show its fingerprint and keep it: the host is known from then on."""
    from tasks.remote.transport import fetch_host_key

    name = _host_name(host)
    if is_dry(context):
        console.step(f"would fetch the host key of {name} and keep it")
        return
    way = ways_of(load_settings()).to(name)
    verifier = way.verifier()
    shown = fetch_host_key(name, way.dial())
    console.say(f"{name} ({verifier.name}) shows {shown}")
    if shown not in verifier.known().keys and console.may_ask() and not console.ask_yes("Trust it from now on?"):
        raise Refused(f"the host key of {name} was not kept", why="the answer was no")
    changed = verifier.trust(shown, replace=replace)
    console.say(f"kept in {verifier.store.file}" if changed else "it was trusted already")


@command(
    name="ssh-config",
    options_help={"install": "as a marked section of ~/.ssh/config", "undo": "take that section out again"},
)
def ssh_config(context: Context, install: bool = False, undo: bool = False) -> None:
    """Write the file for `ssh -F` by which ssh, scp, rsync, git and editors reach our hosts; print where it is."""
    from tasks import tools

    change = tools.ssh_configuration_change(load_settings(), install=install, undo=undo)
    if is_dry(context):
        console.say(change.difference or f"{change.path} would not change")
    else:
        change.write()
        console.say(str(change.path))


@command(options_help={"host": "a host of the inventory, or a machine of the tailnet"})
def shell(context: Context, host: str = "") -> None:
    """Become an interactive ssh on a host."""
    from tasks import tools

    name = _host_name(host)
    if is_dry(context):
        console.step(f"would become ssh on {name}")
        return
    tools.become_ssh(load_settings(), name)


def run_on(settings: Settings, name: str, line: str) -> None:
    """Run a line in the host's shell and fail with its status; without a line, print the host's report."""
    with ways_of(settings).to(name).connect() as session:
        if line:
            _run(session, name, line)
        else:
            console.say(f"{name}: {_report(session, name)}")


def await_host(settings: Settings, host: str, seconds: float) -> None:
    """Return when the host's SSH server answers through the proxy, within `seconds`; it may join meanwhile."""
    from tasks.remote.dialling import await_ssh

    name = _host_name(host)
    await_ssh(lambda: ways_of(settings, quiet=True).to(name).dial(), seconds=seconds)


def inventory_of(settings: Settings) -> "tuple[Host, ...]":
    """Return the hosts that the project's inventory names."""
    from tasks.remote import inventory

    return tuple(inventory.load(settings.inventory).hosts.values())


def known_host_names(settings: Settings) -> set[str]:
    """Return the names that a host key is known for."""
    return _store(settings).names()


def ways_of(settings: Settings, *, quiet: bool = False) -> "Ways":
    """Return the ways to every host; what they share is read here, once.

    `quiet` is for who tries again by himself: nothing is said, and no dial is waited out.
    """
    from tasks.remote import inventory
    from tasks.remote.dialling import PATIENCE, Dialler
    from tasks.remote.proxy import Proxy
    from tasks.remote.ways import Ways

    api = _api(settings)
    status = _status(settings, api)
    known = inventory.with_tailnet(inventory.load(settings.inventory), status)
    say = (lambda _: None) if quiet else console.step
    proxy = Proxy(settings.proxy_host, settings.proxy_port)
    for file in known.unread:
        say(f"{file} is encrypted; its variables are not known here")
    return Ways(
        inventory=known,
        status=status,
        resolve=api.resolve,
        store=_store(settings),
        dialler=Dialler(proxy, api.status, api.dial_error, say, patience=0.0 if quiet else PATIENCE, ping=api.ping),
        user=getpass.getuser(),
        keys_folder=Path.home() / ".ssh",
        ask=console.ask_yes if console.may_ask() else None,
        say=say,
    )


def _run(session: "Session", name: str, line: str) -> None:
    from tasks.remote import output

    sys.stdout.flush()
    ended = session.run(line, output.sink(1), output.sink(2))
    if ended.signal:
        console.step(f"{name}: the command was killed by SIG{ended.signal}")
    if ended.exit_status:
        raise RemoteExit(ended.exit_status)


def _report(session: "Session", name: str) -> str:
    from tasks.remote import report

    said, complained = bytearray(), bytearray()
    session.run(report.COMMAND, said.extend, complained.extend)
    facts = report.parse(bytes(said))
    if not facts:
        why = console.visible(complained.decode(errors="replace").strip())
        raise Unavailable(
            f"{name} does not say how it is", why=why, next_step=f"`inv remote.run --host={name} -- true`"
        )
    return console.visible(report.one_line(facts))


def _host_name(text: str) -> str:
    from tasks.remote import names

    if not text:
        raise UsageFailure("--host: expected the name of a host", next_step="`inv remote.hosts` lists them")
    try:
        return names.host_name(text)
    except ValueError as error:
        raise UsageFailure(f"--host: {error}") from None


def _api(settings: Settings) -> "LocalAPI":
    from tasks.net.localapi import LocalAPI

    return LocalAPI(settings.runtime_folder / SOCKET)


def _status(settings: Settings, api: "LocalAPI") -> "TailnetStatus":
    try:
        return api.status()
    except Unavailable as error:
        raise Unavailable(
            f"the network {settings.tailnet!r} is down", why=error.why, next_step="`inv net.up`", cause="down"
        ) from None


def _with_tailnet_if_up(settings: Settings) -> "Inventory":
    from tasks.remote import inventory

    written = inventory.load(settings.inventory)
    try:
        return inventory.with_tailnet(written, _status(settings, _api(settings)))
    except Unavailable as error:
        console.step(f"{error.what}: only the inventory's hosts are listed")
        return written


def _store(settings: Settings) -> "Store":
    from tasks.remote.hostkeys import Store

    return Store(settings.state_folder / KNOWN_HOSTS)


def _as_row(host: "Host") -> list[str]:
    online = "-" if host.peer is None else "yes" if host.peer.online else "no"
    address = host.address if host.port == 22 else f"{host.address}:{host.port}"
    return [host.name, ",".join(host.groups) or "-", host.problem or address, host.user or "-", online]


def _as_record(host: "Host") -> dict[str, object]:
    return {
        "name": host.name,
        "groups": list(host.groups),
        "address": host.address,
        "port": host.port,
        "user": host.user or None,
        "online": host.peer.online if host.peer else None,
        "system": (host.peer.system or None) if host.peer else None,
        "not_applied": list(host.not_applied),
        "problem": host.problem or None,
    }
