"""Composes what other people's tools need to follow us: an ssh configuration, an environment, an inventory.

A thin layer that the commands of `net` and `remote` share.
"""

import difflib
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import console, files, process, reach
from tasks.errors import NotSaved, Unavailable
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.remote.openssh import Place
    from tasks.remote.ways import Ways

CONFIGURATION = "ssh_config"
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
            raise NotSaved(f"cannot write {self.path}", why=os.strerror(error.errno or 0)) from None


def ssh_configuration_change(settings: Settings, *, install: bool = False, undo: bool = False) -> Change:
    """Return what the configuration for our hosts changes: in the file for `ssh -F`, or in ~/.ssh/config."""
    from tasks.remote import openssh

    # Dotfiles are often links into a checkout.
    users = (Path.home() / ".ssh" / "config").resolve()
    path = users if install or undo else settings.state_folder / CONFIGURATION
    before = _text(path)
    if undo:
        return Change(path, before, openssh.without_section(before, settings.tailnet))
    ways = reach.ways_of(settings)
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


def ssh_configuration(settings: Settings) -> Path:
    """Write the file for `ssh -F` and return where it is."""
    change = ssh_configuration_change(settings)
    change.write()
    return change.path


def ssh_environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which git, rsync and Ansible start an ssh that goes through the proxy."""
    words = f"-F {shlex.quote(str(ssh_configuration(settings)))}"
    return {"GIT_SSH_COMMAND": f"ssh {words}", "RSYNC_RSH": f"ssh {words}", "ANSIBLE_SSH_COMMON_ARGS": words}


def become_ssh(settings: Settings, name: str) -> None:
    """Become a real `ssh` that logs in on the host: its terminal, signals and exit status are its own."""
    ssh = shutil.which("ssh")
    if ssh is None:
        raise Unavailable("there is no ssh on PATH", next_step="install OpenSSH's client, or `inv remote.run`")
    process.become(ssh, "-F", str(ssh_configuration(settings)), "--", name, environment=os.environ)


def _place(ways: "Ways", settings: Settings) -> "Place":
    from tasks.remote import openssh, ssh_proxy

    # The interpreter itself, not the link in the virtual environment, which would first look for its libraries.
    quick = (os.path.realpath(sys.executable), "-I", "-S", ssh_proxy.__file__)
    proxy = f"{settings.proxy_host}:{settings.proxy_port}"
    return openssh.Place(
        tailnet=settings.tailnet,
        suffix=ways.status.suffix,
        proxy_command=(*quick, sys.executable, str(settings.runtime_folder / reach.SOCKET), proxy),
        known_hosts=ways.store.file,
        published=settings.state_folder / PUBLISHED,
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
