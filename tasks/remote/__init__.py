"""The machines behind the network: run, script, put, get, play, shell, hosts, trust."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, options, reach
from tasks.command import Context, command, is_dry, load_settings
from tasks.errors import Refused, RemoteExit, UsageFailure

if TYPE_CHECKING:
    from tasks.copying import Copy
    from tasks.remote.fanout import Limits
    from tasks.remote.lines import Frame
    from tasks.remote.reporting import Form

HOST_HELP = "a host of the inventory, or a machine of the tailnet"
REPORT = "a report of system, uptime, load, memory and disk"
FRAME_HELP = {
    "env": "NAME=value for the command; again for another",
    "cwd": "the folder it runs in",
    "sudo": "run it as root; the password is asked for once",
}


@command(
    words=True,
    iterable=["env"],
    options_help={
        **FRAME_HELP,
        "host": HOST_HELP,
        "command": "a line for the host's shell; or give words after --, each stays one word",
        "hosts": "many, by a pattern of Ansible's: web,db  web:&prod  all:!db1  web*  ~regex  web[0:3]  @file",
        "forks": "how many hosts at once; 32",
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
    forks: str = "",
    timeout: str = "",
    retries: str = "",
    fail_fast: bool = False,
    fold: bool = False,
    json: bool = False,
    output_dir: str = "",
    env: Sequence[str] | None = None,
    cwd: str = "",
    sudo: bool = False,
) -> None:
    """Run a command on a host, or on many, and end with its status; without one, print a one-line report of each.

    The command gets no input. One host's output arrives as it is written, byte for byte; that of many by lines behind
    the host's name, and the worst status counts.
    """
    from tasks.remote import lines

    frame = lines.frame(env or (), cwd, sudo=sudo)
    if hosts:
        from tasks.remote import fanout, reporting

        limits = fanout.limits(forks, timeout, retries, fail_fast=fail_fast)
        line = _line(command)
        form = reporting.form(output_dir, fold=fold, json=json, facts=not line)
        _run_on_many(context, (host, hosts), _Job(line, frame), limits, form)
        return
    if forks or timeout or retries or fail_fast or fold or json or output_dir:
        raise UsageFailure("expected --hosts beside --forks, --timeout, --retries, --fail-fast and the forms of output")
    name = reach.host_name(host)
    line = _line(command)
    if is_dry(context):
        console.step(f"would run on {name}{_around(frame)}: {line or REPORT}")
        return
    reach.run_on(load_settings(), name, line, frame)


@command(
    words=True,
    iterable=["env"],
    options_help={**FRAME_HELP, "host": HOST_HELP, "file": "the script here; its first line says what runs it"},
)
def script(
    context: Context,
    host: str = "",
    file: str = "",
    env: Sequence[str] | None = None,
    cwd: str = "",
    sudo: bool = False,
) -> None:
    """Run a script of this machine on a host, with the words after `--`, and end with its status."""
    from tasks.remote import lines

    name, frame = reach.host_name(host), lines.frame(env or (), cwd, sudo=sudo)
    content = reach.script_content(file)
    line = lines.script(content, options.words())
    if is_dry(context):
        console.step(f"would run {file} on {name}{_around(frame)}: {line}")
        return
    with reach.ways_of(load_settings()).to(name).session() as session:
        reach.follow(session, name, frame.around(line), reach.feed_of(frame, content))


COPY_HELP = {"host": HOST_HELP, "hosts": "many, by a pattern of Ansible's", "forks": "how many hosts at once"}


@command(options_help={**COPY_HELP, "file": "a file or a folder here", "to": "the path there; else its name, at home"})
def put(context: Context, host: str = "", hosts: str = "", file: str = "", to: str = "", forks: str = "8") -> None:
    """Copy a file or a folder to hosts: verified, in place at once, and only what is not the same there."""
    from tasks import copying

    who, source = hosts or reach.host_name(host), Path(file).expanduser()
    if not file:
        raise UsageFailure("--file: expected a file or a folder of this machine")
    target = copying.target_there(to, source)
    if is_dry(context):
        console.step(f"would copy {source} to {target} on {who}")
        return
    _copy(host, hosts, copying.to_hosts(source, target), forks)


@command(options_help={**COPY_HELP, "file": "a file or a folder there", "to": "the path here; else this folder"})
def get(context: Context, host: str = "", hosts: str = "", file: str = "", to: str = ".", forks: str = "8") -> None:
    """Copy a file or a folder from a host, or from many, each into a folder of its name: verified, and only changes."""
    from tasks import copying

    who = hosts or reach.host_name(host)
    if not file:
        raise UsageFailure("--file: expected the path of a file or a folder on the host")
    if is_dry(context):
        console.step(f"would copy {file} from {who} to {to}")
        return
    _copy(host, hosts, copying.from_hosts(file, to, many=bool(hosts)), forks)


def _copy(host: str, hosts: str, copy: "Copy", forks: str) -> None:
    from tasks import copying

    if host and hosts:
        raise UsageFailure("expected --host or --hosts, got both")
    if hosts:
        copying.on_many(load_settings(), hosts, copy, options.count("forks", forks))
    else:
        copying.on_one(load_settings(), host, copy)


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
        "host": HOST_HELP,
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


@command(options_help={"host": HOST_HELP})
def shell(context: Context, host: str = "") -> None:
    """Log in on a host with this terminal: by the real ssh where it is installed."""
    from tasks import tools

    name = reach.host_name(host)
    if is_dry(context):
        console.step(f"would log in on {name}")
        return
    tools.log_in(load_settings(), name)


@command(
    name="ansible-inventory",
    options_help={
        "list": "every host and group, as Ansible's inventory scripts print it",
        "host": "one host's variables",
    },
)
def ansible_inventory(_context: Context, list_: bool = False, host: str = "") -> None:
    """Print our hosts for Ansible: who is on the tailnet, in which groups, and how they are reached."""
    from tasks import tools
    from tasks.remote import playing

    if list_ == bool(host):
        raise UsageFailure("expected --list or --host=NAME")
    if list_:
        console.document(tools.ansible_inventory(load_settings()))
    else:
        ways = reach.ways_of(load_settings())
        console.document(playing.variables(ways.inventory.host(reach.host_name(host), ways.status)))


@command(
    words=True,
    options_help={"limit": "a pattern of hosts, as Ansible's own --limit", "forks": "how many hosts at once"},
)
def play(context: Context, playbook: str, limit: str = "", forks: str = "32") -> None:
    """Run an Ansible playbook on our hosts with the real ansible-playbook, which also gets the words after `--`."""
    from tasks import tools

    count = options.count("forks", forks)
    # One word: Ansible would take a value that begins with a dash for an option.
    words = (*((f"--limit={limit}",) if limit else ()), *options.words())
    if is_dry(context):
        console.step(f"would run ansible-playbook {shlex.join((*words, playbook))}")
        return
    tools.play(load_settings(), playbook, words, count)


@dataclass(frozen=True)
class _Job:
    """What runs on many hosts: a line, and what is around it."""

    line: str
    frame: "Frame"


def _run_on_many(context: Context, who: tuple[str, str], job: _Job, limits: "Limits", form: "Form") -> None:
    from tasks.remote import many, patterns, report

    if who[0]:
        raise UsageFailure("expected --host or --hosts, got both")
    ways = reach.ways_of(load_settings())
    names = patterns.select(who[1], ways.inventory)
    if is_dry(context):
        around = _around(job.frame)
        console.say("\n".join(f"would run on {name}{around}: {job.line or REPORT}" for name in names))
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    line = job.frame.around(job.line or report.COMMAND)
    status = many.run(names, many.Request(line, ways, limits, form, coloured, reach.feed_of(job.frame)))
    if status:
        raise RemoteExit(status)


def _around(frame: "Frame") -> str:
    """Return in words what is around a command; nothing is an empty text."""
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in frame.variables)
    parts = (frame.sudo and "as root", frame.folder and f"in {frame.folder}", given and f"with {given}")
    return "".join(f" {part}" for part in parts if part)


def _line(command: str | None) -> str:
    """Return the line for the hosts' shells; an empty one asks for their reports."""
    if command is not None and not command.strip():
        raise UsageFailure("--command: expected a line for the host's shell, got an empty one")
    return shlex.join(options.words()) if command is None else command
