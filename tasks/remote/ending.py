"""Owns how a command is ended on its host: what a second channel of the same connection runs there for that.

The servers' own ways do not suffice: sshd refuses to signal root's commands ("session signalling requires privilege
separation", session.c), and Tailscale SSH 1.102 passes no signal on. When its channel is closed it kills what it
started (su, or itself as `be-child`), and the command goes on below process 1.
"""

import secrets
from dataclasses import dataclass

from tasks.remote.lines import sh
from tasks.remote.transport import OPENSSH, TAILSCALE

TERM, KILL = "TERM", "KILL"
# Ends the process groups of this connection's other commands: the processes that have our own parent, which is sshd's
# process for this connection alone. On a slow host we may have hung up before this starts; its parent is then whoever
# adopts orphans, and the siblings are every daemon there is. So only the children of an sshd that is not process 1 are
# ended; those of one that ends from now on are no longer its.
END_SIBLINGS = """
of_sshd='
    $1 == up { found = up > 1 && $3 ~ /sshd/ }
    $2 == up && $1 != me { pids[$1] }
    END { if (found) for (p in pids) print p }'
for p in $(ps -A -o pid= -o ppid= -o comm= | awk -v me=$$ -v up="$PPID" "$of_sshd"); do kill -"$1" "-$p"; done
"""
# All commands of Tailscale SSH are in the daemon's own process group and have its own parent, and `su -l` empties their
# environment: only what we sent is one command's alone. So blanks stand before it, in an order that no other has; its
# shell passes over them. What stays in front of the command shows them in its argv for as long as that runs, and
# everything below is the command's. The daemon's child itself only waits, and is left to tell the exit status: su waits
# two seconds when it is signalled. Parents come first, so that no shell goes on to its next line.
# What obeys no SIGTERM is killed by the same helper: another login would take half of the time that there is.
MARK_BLANKS = 32
BLANKS = {" ": "\\040", "\t": "\\011"}
END_MARKED = """
pids() { tr -cd '0-9\\n'; }
daemon=$(sed -n 's/^PPid:[^0-9]*//p' "/proc/$PPID/status")
ours=
end() {
    found=$(printf "$mark" | grep -lsF -f - /proc/[0-9]*/cmdline | pids)
    for pid in $found; do grep -qs "^PPid:[^0-9]*$daemon\\$" "/proc/$pid/status" || ours="$ours $pid"; done
    while [ -n "$found" ]; do
        parents=$(echo $found | tr ' ' '|')
        found=$(grep -lsE "^PPid:[^0-9]*($parents)\\$" /proc/[0-9]*/status | pids)
        ours="$ours $found"
    done
    kill -"$1" $ours
}
mark=$1
end TERM; sleep 0.5; end KILL
"""


@dataclass(frozen=True)
class Ending:
    """One command as it is sent, and how it is ended: by the mark it bears, or without one."""

    command: str
    server: str
    mark: str = ""

    def line(self, signal: str) -> str:
        """Return what a second channel runs to send this signal there; nothing where it could do nothing (more)."""
        if self.server.startswith(OPENSSH):
            return sh(END_SIBLINGS, signal)
        if self.mark and signal == TERM:
            return sh(END_MARKED, "".join(BLANKS[blank] for blank in self.mark))
        return ""


def of(command: str, server: str) -> Ending:
    """Return how a command is sent to a server of this version, so that it can be ended."""
    if not server.startswith(TAILSCALE):
        return Ending(command, server)
    mark = "".join(secrets.choice(tuple(BLANKS)) for _ in range(MARK_BLANKS))
    return Ending(mark + command, server, mark)
