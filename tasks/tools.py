"""Composes what other people's tools need to follow us: an ssh configuration, an environment, an inventory.

A thin layer that the commands of `net` and `remote` share.
"""

import difflib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, files, process, reach
from tasks.command import is_last
from tasks.errors import NotSaved, RemoteExit, UsageFailure, reason
from tasks.settings import ROOT, Settings

if TYPE_CHECKING:
    from tasks.remote.openssh import Place
    from tasks.remote.ways import Ways

CONFIGURATION = "ssh_config"
ANSIBLE_LOCK = "requirements-ansible.lock"
PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
NO_PROXY = "localhost,127.0.0.1,::1"
PUBLISHED = "known_hosts.tailnet"


@dataclass(frozen=True)
class Change:
    """What is in a file, and what shall be; `beside` is written before it, because it names that file."""

    path: Path
    before: str
    after: str
    beside: "Change | None" = None

    @property
    def difference(self) -> str:
        """What changes, as `diff -u` shows it."""
        lines = (self.before.splitlines(keepends=True), self.after.splitlines(keepends=True))
        return "".join(difflib.unified_diff(*lines, str(self.path), str(self.path))).rstrip()

    def write(self) -> None:
        """Make it so, with the mode that the file has; a file with nothing in it goes."""
        if self.beside:
            self.beside.write()
        if self.before == self.after:
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = self.path.stat().st_mode & 0o777 if self.path.exists() else 0o600
            if not self.after:
                self.path.unlink()
                return
            files.write_private(self.path, self.after.encode(errors="surrogateescape"))
            self.path.chmod(mode)
        except OSError as error:
            raise NotSaved(f"cannot write {self.path}", why=reason(error)) from None


def ssh_configuration_change(
    settings: Settings, ways: "Ways | None" = None, *, install: bool = False, undo: bool = False
) -> Change:
    """Return what the configuration for our hosts changes: in the file for `ssh -F`, or in ~/.ssh/config."""
    from tasks.remote import openssh

    # Dotfiles are often links into a checkout.
    users = (Path.home() / ".ssh" / "config").resolve()
    path = users if install or undo else settings.state_folder / CONFIGURATION
    before = _text(path)
    if undo:
        return Change(path, before, openssh.without_section(before, settings.tailnet))
    ways = ways or reach.ways_of(settings)
    hosts, place = tuple(ways.inventory.hosts.values()), _place(ways, settings)
    for name, why in openssh.left_out(hosts).items():
        console.step(console.visible(f"not in {path}: {name}: {why}"))
    published = openssh.published_keys(ways.status.peers, _text(ways.store.file))
    beside = Change(place.published, _text(place.published), published)
    if install:
        after = openssh.with_section(before, openssh.section(hosts, place), settings.tailnet)
    else:
        after = openssh.configuration(hosts, place)
    return Change(path, before, after, beside)


def ssh_configuration(settings: Settings, ways: "Ways | None" = None) -> Path:
    """Write the file for `ssh -F` and return where it is."""
    change = ssh_configuration_change(settings, ways)
    change.write()
    return change.path


def proxy_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that send a program through the proxy, in both cases that programs look for.

    socks5h: the proxy resolves the names. wget and Python's urllib speak no SOCKS, so HTTP_PROXY names the same port.
    """
    address = f"{settings.proxy_host}:{settings.proxy_port}"
    values = (f"socks5h://{address}", f"http://{address}", f"http://{address}", NO_PROXY)
    upper = dict(zip(PROXY_VARIABLES, values, strict=True))
    return {**upper, **{name.lower(): value for name, value in upper.items()}}


def environment_through_proxy(settings: Settings) -> dict[str, str]:
    """Return the variables that send a program, and every ssh that it starts, through the proxy."""
    return {**proxy_environment(settings), **ssh_environment(settings)}


def ssh_environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which git, rsync and Ansible start an ssh that goes through the proxy."""
    words = f"-F {shlex.quote(str(ssh_configuration(settings)))}"
    return {"GIT_SSH_COMMAND": f"ssh {words}", "RSYNC_RSH": f"ssh {words}", "ANSIBLE_SSH_COMMON_ARGS": words}


def give_way(command: str, *argv: str, environment: Mapping[str, str]) -> None:
    """Become a program for the command of that name; where another one of the chain waits for its end, run it.

    Then its status, if it is not 0, ends the chain.
    """
    if is_last(command):
        process.become(*argv, environment=environment)
    status = process.attach(*argv, environment=environment)
    if status:
        raise RemoteExit(status)


def log_in(settings: Settings, name: str) -> None:
    """Give way to a real `ssh` that logs in on the host; where there is none, do it here."""
    ssh = shutil.which("ssh")
    if ssh is None:
        reach.log_in(settings, name)
    else:
        ways = reach.ways_of(settings)
        # ssh knows its own spelling of a name alone, which its key is looked for by.
        own = ways.to(name).host.name
        words = ("-F", str(ssh_configuration(settings, ways)), "--", own)
        give_way("remote.shell", ssh, *words, environment=os.environ)


def ansible_inventory(settings: Settings) -> dict[str, object]:
    """Return what `--list` prints for Ansible; the ssh configuration that it names is written."""
    from tasks.remote import playing

    ways = reach.ways_of(settings)
    return playing.inventory(ways.inventory.hosts.values(), ssh_configuration(settings, ways))


def play(settings: Settings, playbook: str, words: Sequence[str], forks: int) -> None:
    """Give way to ansible-playbook, from an environment of its own, on our inventory and through our proxy.

    The playbook's path goes to it as it is: a Path would drop the `./` that keeps `./-x.yml` from being an option.
    """
    from tasks import environment
    from tasks.remote import playing

    if not Path(playbook).is_file():
        raise UsageFailure(f"expected a playbook, and there is none at {playbook}")
    programs = environment.ensure(ROOT / ANSIBLE_LOCK, cache=settings.cache_folder, say=console.step)
    document = ansible_inventory(settings)
    script = settings.state_folder / "ansible-inventory"
    listed = settings.state_folder / "ansible-inventory.json"
    files.write_private(listed, json.dumps(document).encode())
    files.write_private(script, f"#!/bin/sh\nexec cat {shlex.quote(str(listed))}\n".encode())
    script.chmod(0o700)
    sources = [*(["-i", str(settings.inventory)] if settings.inventory.exists() else []), "-i", str(script)]
    variables = playing.environment(settings.state_folder / CONFIGURATION, _control_folder(settings), forks)
    ansible = str(programs / "ansible-playbook")
    give_way("remote.play", ansible, *sources, *words, playbook, environment={**os.environ, **variables})


def _control_folder(settings: Settings) -> Path:
    """Return where ssh's kept connections have their sockets: a short path, because a socket's is limited."""
    from tasks.remote.playing import LONGEST_CONTROL_FOLDER

    folder = settings.runtime_folder / "ssh"
    if len(os.fsencode(folder)) > LONGEST_CONTROL_FOLDER:
        folder = Path("/tmp") / f"pm-{os.geteuid()}"
    return files.private_folder(folder)


def _place(ways: "Ways", settings: Settings) -> "Place":
    from tasks.remote import openssh, ssh_proxy

    # The interpreter itself, not the link in the virtual environment, which would first look for its libraries.
    quick = (os.path.realpath(sys.executable), "-I", "-S", ssh_proxy.__file__)
    proxy = f"{settings.proxy_host}:{settings.proxy_port}"
    return openssh.Place(
        tailnet=settings.tailnet,
        suffix=ways.status.suffix,
        proxy_command=(*quick, sys.executable, str(reach.api_of(settings).socket_path), proxy),
        known_hosts=ways.store.file,
        published=settings.state_folder / PUBLISHED,
    )


def _text(path: Path) -> str:
    # Not read_text(), which makes every line end "\n": the users' own are written back as they were.
    return path.read_bytes().decode(errors="surrogateescape") if path.exists() else ""
