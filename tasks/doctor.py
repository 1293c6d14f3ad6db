"""`inv doctor`: looks at all that the suite needs, from the machine to ssh, and says what mends what is wrong."""

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from tasks import console, files
from tasks.command import Context, command, load_settings
from tasks.errors import Failure, Unavailable
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.vault.store import Trouble


class Verdict(Enum):
    """How one check came out."""

    OK = "OK"
    WARNING = "warning"
    FAILURE = "FAILURE"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor: what was looked at, how it is, and the command that mends it."""

    topic: str
    verdict: Verdict
    text: str
    mend: str = ""


@command(options_help={"json": "one JSON document instead of lines"})
def doctor(_context: Context, json: bool = False) -> None:
    """Check everything that the suite needs, and say what mends what is wrong."""
    settings = load_settings()
    findings = [finding for check in CHECKS for finding in _findings(check, settings)]
    failures = sum(finding.verdict is Verdict.FAILURE for finding in findings)
    warnings = sum(finding.verdict is Verdict.WARNING for finding in findings)
    verdict = f"{failures} failures, {warnings} warnings" if failures + warnings else "all is well"
    if json:
        lines = [{**vars(finding), "verdict": finding.verdict.value} for finding in findings]
        console.document({"verdict": verdict, "failures": failures, "warnings": warnings, "findings": lines})
    else:
        console.say(console.table([_row(finding) for finding in findings]))
        console.say(f"\nverdict: {verdict}")
    if failures:
        raise Unavailable(
            f"the doctor found {failures} failures", next_step="the lines above say what mends each", documented=json
        )


def _row(finding: Finding) -> tuple[str, ...]:
    mend = f"  mend: {finding.mend}" if finding.mend else ""
    return (finding.verdict.value, finding.topic, console.visible(finding.text) + mend)


def _findings(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    """Run one check; a failure inside it is its finding."""
    try:
        yield from check(settings)
    except Failure as failure:
        topic = check.__name__.removeprefix("_")
        yield Finding(topic, Verdict.FAILURE, failure.sentence, failure.next_step)


def _machine(settings: Settings) -> Iterator[Finding]:
    import shutil

    system = os.uname()
    yield Finding("machine", Verdict.OK, f"{system.sysname} {system.machine}, Python {sys.version.split()[0]}")
    for folder in (settings.runtime_folder, settings.state_folder):
        files.private_folder(folder)
        free = shutil.disk_usage(folder).free
        verdict = Verdict.OK if free > LEAST_SPACE else Verdict.WARNING
        yield Finding("machine", verdict, f"{folder} is ours alone, {free / 1e9:.1f} GB free there")


def _programs(settings: Settings) -> Iterator[Finding]:
    from tasks.programs.pins import pinned
    from tasks.programs.provision import find

    for name in ("tailscale", "headscale"):
        found = find(pinned(name), source=settings.programs_source, cache=settings.cache_folder)
        if found is None:
            needed_for = "comes at the first `inv net.up`" if name == "tailscale" else "only the lab needs it"
            yield Finding("programs", Verdict.WARNING, f"{name} is not here yet; {needed_for}", "inv programs.install")
        else:
            yield Finding("programs", Verdict.OK, f"{name} {found.version} by {found.source}")


def _daemon(settings: Settings) -> Iterator[Finding]:
    from tasks.connecting import daemon_of
    from tasks.net.daemon import probe
    from tasks.net.ports import listener

    daemon = daemon_of(settings)
    status = probe(daemon)
    if status is None:
        taken = listener(daemon.proxy_host, daemon.proxy_port)
        if taken is not None:
            other = f"TS_SOCKS5_SERVER={daemon.proxy_host}:{daemon.proxy_port + 1}"
            yield Finding("daemon", Verdict.FAILURE, f"port {daemon.proxy_port} is taken by {taken}", f"set {other}")
        else:
            yield Finding("daemon", Verdict.WARNING, f"the network {settings.tailnet!r} is down", "inv net.up")
        return
    yield Finding("daemon", Verdict.OK, f"tailscaled {status.version} answers, pid {daemon.api.server_pid()}")
    yield Finding("proxy", Verdict.OK, f"{daemon.proxy_host}:{daemon.proxy_port} greets and is our daemon's")
    if status.is_up:
        yield Finding("login", Verdict.OK, f"{status.tailnet or settings.tailnet}, {len(status.peers)} peers")
    else:
        yield Finding(
            "login", Verdict.FAILURE, f"{status.state}: {status.login_error or 'not logged in'}", "inv net.up"
        )
    for line in status.health:
        yield Finding("health", Verdict.WARNING, line, "inv net.logs")


def _vault(settings: Settings) -> Iterator[Finding]:
    from tasks.keeping import known_troubles, open_vault

    # These first: with them bw may fail before it says how the vault is.
    yield from map(_troubled, known_troubles(settings))
    status = open_vault(settings).status()
    yield from map(_troubled, status.troubles)
    if status.state in {"locked", "signed out"}:
        yield Finding("vault", Verdict.WARNING, f"{settings.vault}: {status}", "set BW_PASSWORD, or answer the prompt")
    else:
        yield Finding("vault", Verdict.OK, f"{settings.vault}: {status}")


def _troubled(trouble: "Trouble") -> Finding:
    verdict = Verdict.FAILURE if trouble.grave else Verdict.WARNING
    return Finding("vault", verdict, trouble.what, trouble.next_step)


def _inventory(settings: Settings) -> Iterator[Finding]:
    from tasks.remote import inventory

    hosts = inventory.load(settings.inventory).hosts
    yield Finding("inventory", Verdict.OK, f"{settings.inventory} has {len(hosts)} hosts")


def _ssh(settings: Settings) -> Iterator[Finding]:
    import shutil

    from tasks.reach import store

    yield Finding("ssh", Verdict.OK, f"{len(store(settings).names())} host keys are known")
    if shutil.which("ssh") is None:
        yield Finding("ssh", Verdict.WARNING, "there is no ssh; remote.run needs none", "apt install openssh-client")


LEAST_SPACE = 500_000_000  # bytes; tailscale and headscale take 110 MB, a build 3 GB
CHECKS = (_machine, _programs, _daemon, _vault, _inventory, _ssh)
