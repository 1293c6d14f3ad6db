"""The machines behind the network: run, hosts, trust."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, options, reach
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import Refused, RemoteExit, UsageFailure
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.remote.fanout import Limits
    from tasks.remote.inventory import Host
    from tasks.remote.reporting import Form
    from tasks.remote.ssh import Session


@command(
    words=True,
    options_help={
        "host": "a host of the inventory, or a machine of the tailnet",
        "command": "a line for the host's shell; or give words after --, each stays one word",
        "hosts": "many, by a pattern of Ansible's: web,db  web:&prod  all:!db1  web*  ~regex  web[0:3]  @file",
        "forks": "how many hosts at once",
        "timeout": "for each host, connecting included; its command is ended there",
        "retries": "further tries for a host whose command had not started",
        "fail_fast": "start no further host after a failure",
        "fold": "equal output once, under the list of its hosts",
        "json": "one document with every host and its output",
        "output_dir": "a folder for HOST.out, HOST.err, and failed.txt for --hosts=@…/failed.txt",
    },
)
def run(
    context: Context,
    host: str = "",
    command: str | None = None,
    hosts: str = "",
    forks: str = "32",
    timeout: str = "",
    retries: str = "0",
    fail_fast: bool = False,
    fold: bool = False,
    json: bool = False,
    output_dir: str = "",
) -> None:
    """Run a command on a host, or on many, and end with its status; without one, print a one-line report of the host.

    The command gets no input. One host's output arrives as it is written, byte for byte; that of many by lines behind
    the host's name, and the worst status counts.
    """
    if hosts:
        from tasks.remote import fanout, reporting

        limits = fanout.limits(forks, timeout, retries, fail_fast=fail_fast)
        form = reporting.Form(fold, json, Path(output_dir) if output_dir else None)
        _run_on_many(context, (host, hosts), _line(command), limits, form)
        return
    name = reach.host_name(host)
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
    from tasks.remote import listing

    settings = load_settings()
    inventory = reach.inventory_with_tailnet(settings)
    if json:
        console.document(listing.as_records(inventory))
    else:
        console.say(listing.as_table(inventory))


@command(
    options_help={
        "host": "a host of the inventory, or a machine of the tailnet",
        "replace": "take the place of a key that is known already",
    }
)
def trust(context: Context, host: str = "", replace: bool = False) -> None:
    """Fetch a host's key through the proxy, show its fingerprint and keep it: the host is known from then on."""
    from tasks.remote.transport import fetch_host_key

    name = reach.host_name(host)
    if is_dry(context):
        console.step(f"would fetch the host key of {name} and keep it")
        return
    way = reach.ways_of(load_settings()).to(name)
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

    name = reach.host_name(host)
    if is_dry(context):
        console.step(f"would become ssh on {name}")
        return
    tools.become_ssh(load_settings(), name)


def _run_on_many(context: Context, who: tuple[str, str], line: str, limits: "Limits", form: "Form") -> None:
    from tasks.remote import many, patterns

    if who[0]:
        raise UsageFailure("expected --host or --hosts, got both")
    ways = reach.ways_of(load_settings())
    names = patterns.select(who[1], ways.inventory)
    if is_dry(context):
        console.say("\n".join(f"would run on {name}: {line}" for name in names))
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    status = many.run(names, many.Request(line, ways, limits, form, coloured))
    if status:
        raise RemoteExit(status)


def _line(command: str | None) -> str:
    line = shlex.join(options.words()) if command is None else command
    if not line.strip():
        raise UsageFailure("--hosts: expected a command for the hosts, as --command=… or after --")
    return line


def run_on(settings: Settings, name: str, line: str) -> None:
    """Run a line in the host's shell and fail with its status; without a line, print the host's report."""
    with reach.ways_of(settings).to(name).connect() as session:
        if line:
            _run(session, name, line)
        else:
            from tasks.remote import report

            console.say(f"{name}: {report.of(session, name)}")


def await_host(settings: Settings, host: str, seconds: float) -> None:
    """Return when the host's SSH server answers through the proxy, within `seconds`; it may join meanwhile."""
    from tasks.remote.dialling import await_ssh

    name = reach.host_name(host)
    await_ssh(lambda: reach.ways_of(settings, quiet=True).to(name).dial(), seconds=seconds)


def inventory_of(settings: Settings) -> "tuple[Host, ...]":
    """Return the hosts that the project's inventory names."""
    from tasks.remote import inventory

    return tuple(inventory.load(settings.inventory).hosts.values())


def known_host_names(settings: Settings) -> set[str]:
    """Return the names that a host key is known for."""
    return reach.store(settings).names()


def _run(session: "Session", name: str, line: str) -> None:
    from tasks.remote import output

    sys.stdout.flush()
    ended = session.run(line, output.sink(1), output.sink(2))
    if ended.signal:
        console.step(f"{name}: the command was killed by SIG{ended.signal}")
    if ended.exit_status:
        raise RemoteExit(ended.exit_status)
