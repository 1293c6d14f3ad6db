"""Owns the one-line report of a host: the POSIX shell script that asks, and the reading of its answer.

What a system does not tell (no /proc, no df) is left out; noise of a login's start files is passed over.
"""

import re
import shlex
from typing import Protocol

from tasks.console import visible
from tasks.errors import Unavailable
from tasks.remote.output import Sink

MARK = "platform-report:"
# /bin/sh of Debian, Alpine, macOS and the BSDs. Double quotes only: the whole stands in single quotes.
SCRIPT = f"""
say() {{ [ -n "$2" ] && echo "{MARK}$1=$2"; }}
name=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")
say system "${{name:-$(uname -sr)}}"
say machine "$(uname -m)"
[ -r /proc/uptime ] && read -r up rest </proc/uptime && say uptime "$up"
[ -r /proc/loadavg ] && read -r load rest </proc/loadavg && say load "$load"
say processors "$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
if [ -r /proc/meminfo ]; then
  while read -r key value unit; do
    case $key in MemTotal:) say memory "$value" ;; MemAvailable:) say available "$value" ;; esac
  done </proc/meminfo
fi
df -Pk / 2>/dev/null | while read -r device blocks used rest; do
  case $blocks in *[!0-9]*) ;; *) say disk "$blocks"; say used "$used" ;; esac
done
exit 0
"""
COMMAND = "exec /bin/sh -c " + shlex.quote(SCRIPT)
LONGEST_ANSWER = 65536
NUMBER = re.compile(r"\d{1,15}(?:\.\d{1,6})?")
KIB_PER_GIB = 1024 * 1024
MINUTE, HOUR, DAY = 60, 3600, 86400


class Runs(Protocol):
    """What runs a command on the host."""

    def run(self, command: str, out: Sink, err: Sink, /) -> object:
        """Run it to its end."""
        ...


def of(session: Runs, name: str) -> str:
    """Ask a host, and return its line; Unavailable when it does not answer as a system does."""
    said, complained = bytearray(), bytearray()
    session.run(COMMAND, said.extend, complained.extend)
    facts = parse(bytes(said))
    if not facts:
        why = visible(complained.decode(errors="replace").strip())
        raise Unavailable(
            f"{name} does not say how it is", why=why, next_step=f"`inv remote.run --host={name} -- true`"
        )
    return visible(one_line(facts))


def parse(answer: bytes) -> dict[str, str]:
    """Return what the script said, by name."""
    lines = answer[:LONGEST_ANSWER].decode(errors="replace").splitlines()
    pairs = [line.removeprefix(MARK).partition("=") for line in lines if line.startswith(MARK)]
    return {name: value.strip() for name, _, value in pairs}


def one_line(facts: dict[str, str]) -> str:
    """Return the facts as a person reads them: system, uptime, load, memory and disk in use."""
    numbers = {name: float(value) for name, value in facts.items() if NUMBER.fullmatch(value)}
    parts = [" ".join(filter(None, (facts.get("system"), facts.get("machine"))))]
    if "uptime" in numbers:
        parts.append(f"up {_duration(int(numbers['uptime']))}")
    if "load" in numbers:
        processors = f" on {numbers['processors']:.0f} CPUs" if "processors" in numbers else ""
        parts.append(f"load {numbers['load']:.2f}{processors}")
    if "memory" in numbers and "available" in numbers:
        parts.append(_share("memory", numbers["memory"] - numbers["available"], numbers["memory"]))
    if "disk" in numbers and "used" in numbers:
        parts.append(_share("disk", numbers["used"], numbers["disk"]))
    return ", ".join(filter(None, parts))


def _share(name: str, used: float, total: float) -> str:
    percent = 100 * used / total if total else 0
    return f"{name} {used / KIB_PER_GIB:.1f} of {total / KIB_PER_GIB:.1f} GiB ({percent:.0f} %)"


def _duration(seconds: int) -> str:
    if seconds >= DAY:
        return f"{seconds // DAY} d {seconds % DAY // HOUR} h"
    if seconds >= HOUR:
        return f"{seconds // HOUR} h {seconds % HOUR // MINUTE} min"
    return f"{seconds // MINUTE} min"
