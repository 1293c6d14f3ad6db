"""Composes the ways to hosts: settings, inventory, daemon and known hosts, for every command that needs one.

A thin layer that the commands of `net` and `remote` share.
"""

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console
from tasks.errors import Refused, RemoteExit, Unavailable, UsageFailure, reason
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.net.localapi import LocalAPI
    from tasks.remote.feeding import Feed
    from tasks.remote.following import Ended
    from tasks.remote.hostkeys import Store
    from tasks.remote.inventory import Inventory
    from tasks.remote.lines import Frame
    from tasks.remote.link import Link
    from tasks.remote.ssh import Session
    from tasks.remote.ways import Ways
    from tasks.tailnet import TailnetStatus

KNOWN_HOSTS = "known_hosts"


def ways_of(settings: Settings, *, quiet: bool = False) -> "Ways":
    """Return the ways to every host; what they share is read here, once.

    `quiet` is for who tries again by himself: nothing is said, and no dial is waited out.
    """
    from tasks.remote import inventory
    from tasks.remote.dialling import PATIENCE, Dialler
    from tasks.remote.proxy import Proxy
    from tasks.remote.ways import Ways

    api = api_of(settings)
    status = status_of(settings, api)
    known = inventory.with_tailnet(inventory.load(settings.inventory), status)
    say = (lambda _: None) if quiet else console.step
    proxy = Proxy(settings.proxy_host, settings.proxy_port)
    for file in known.unread:
        say(f"{file} is encrypted; its variables are not known here")
    return Ways(
        inventory=known,
        status=status,
        resolve=api.resolve,
        store=store(settings),
        dialler=Dialler(proxy, api.status, api.dial_error, say, patience=0.0 if quiet else PATIENCE, ping=api.ping),
        user=getpass.getuser(),
        keys_folder=Path.home() / ".ssh",
        ask=console.ask_yes if console.may_ask() else None,
        say=say,
    )


def host_name(text: str) -> str:
    """Return the name that `--host` gives, or refuse what can be none."""
    from tasks.remote import names

    if not text:
        raise UsageFailure("--host: expected the name of a host", next_step="`inv remote.hosts` lists them")
    try:
        return names.host_name(text)
    except ValueError as error:
        raise UsageFailure(f"--host: {error}") from None


def api_of(settings: Settings) -> "LocalAPI":
    """Return the daemon's LocalAPI."""
    from tasks.net.localapi import SOCKET, LocalAPI

    return LocalAPI(settings.runtime_folder / SOCKET)


def status_of(settings: Settings, api: "LocalAPI") -> "TailnetStatus":
    """Return what the daemon says of itself, or fail because the network is down."""
    try:
        return api.status()
    except Unavailable as error:
        raise Unavailable(
            f"the network {settings.tailnet!r} is down", why=error.why, next_step="`inv net.up`", cause="down"
        ) from None


def inventory_with_tailnet(settings: Settings) -> "Inventory":
    """Return the inventory's hosts, and the tailnet's where the network is up."""
    from tasks.remote import inventory

    written = inventory.load(settings.inventory)
    try:
        return inventory.with_tailnet(written, status_of(settings, api_of(settings)))
    except Unavailable as error:
        console.step(f"{error.what}: only the inventory's hosts are listed")
        return written


def store(settings: Settings) -> "Store":
    """Return the project's own known hosts."""
    from tasks.remote.hostkeys import Store

    return Store(settings.state_folder / KNOWN_HOSTS)


def run_on(settings: Settings, name: str, line: str, frame: "Frame | None" = None) -> None:
    """Run a line in the host's shell and fail with its status; without a line, print the host's report."""
    with ways_of(settings).to(name).session() as session:
        if line:
            follow(session, name, frame.around(line) if frame else line, feed_of(frame))
        else:
            from tasks.remote import report

            console.say(f"{name}: {report.of(session, name)}")


def follow(session: "Session", name: str, line: str, feed: "Feed | None" = None) -> None:
    """Run a line in the host's shell, its output on ours, and fail with its status."""
    from tasks.remote import output

    sys.stdout.flush()
    with output.shown(1) as out, output.shown(2) as err:
        ended = session.run(line, out, err, feed)
    _end_as(name, ended)


def link_to(settings: Settings, name: str) -> "Link":
    """Return a connection to the host, logged in; what its server has to say before that is shown."""
    from tasks.remote.halting import Halt

    return ways_of(settings).to(name).link(show, Halt())


def show(text: str) -> None:
    """Show a host's own words beside the results."""
    console.step(console.visible(text))


def log_in(settings: Settings, name: str) -> None:
    """Log in on the host with this terminal, and fail with the shell's status: where there is no ssh to do it."""
    if not (os.isatty(0) and os.isatty(1)):
        raise UsageFailure("a login needs a terminal", next_step="`inv remote.run` or `inv remote.script`")
    connected = link_to(settings, name)
    try:
        _end_as(name, connected.log_in(os.environ.get("TERM") or "dumb"))
    finally:
        connected.close()


def _end_as(name: str, ended: "Ended") -> None:
    if ended.signal:
        console.step(f"{name}: the command was killed by SIG{ended.signal}")
    if ended.exit_status:
        raise RemoteExit(ended.exit_status)


def feed_of(frame: "Frame | None", content: bytes = b"") -> "Feed | None":
    """Return what the command reads: a script, behind the password where sudo runs it, which is asked for here."""
    password = _sudo_password() + "\n" if frame and frame.sudo else ""
    text = password.encode() + content
    return (lambda sink: sink(text)) if text else None


def _sudo_password() -> str:
    if not console.may_ask():
        return ""
    try:
        return console.ask_hidden("sudo's password there (Enter: it wants none): ").reveal()
    except EOFError:
        raise Refused(
            "no password was typed for sudo", next_step="run it again; Enter alone, if it wants none"
        ) from None


def script_content(file: str) -> bytes:
    """Return what is in the file that `--file` names."""
    if not file:
        raise UsageFailure("--file: expected a script of this machine")
    try:
        return Path(file).expanduser().read_bytes()
    except OSError as error:
        raise UsageFailure(f"--file: cannot read {file}: {reason(error)}") from None


def await_host(settings: Settings, host: str, seconds: float) -> None:
    """Return when the host's SSH server answers through the proxy, within `seconds`; it may join meanwhile."""
    from tasks.remote.dialling import await_ssh

    name = host_name(host)
    await_ssh(lambda: ways_of(settings, quiet=True).to(name).dial(), seconds=seconds)
