"""Owns how a command is ended on its host: what a second channel of the same connection runs there for that.

The servers' own ways do not suffice: sshd refuses to signal root's commands ("session signalling requires privilege
separation", session.c), and Tailscale SSH 1.102 passes no signal on. When its channel is closed it kills what it
started (su, or itself as `be-child`), and the command goes on below process 1.
"""

import secrets
from dataclasses import dataclass

from tasks.remote.lines import is_of_sudo, sh
from tasks.remote.transport import OPENSSH, TAILSCALE

TERM, KILL = "TERM", "KILL"
# Ends the sessions of this connection's other commands: the processes that have our own parent, which is sshd's process
# for this connection alone. sshd gives each command a session, which holds all that it starts, also what has a process
# group of its own (by timeout(1), by `set -m`). On a slow host we may have hung up before this starts; its parent is
# then whoever adopts orphans, and the siblings are every daemon there is. So only the children of an sshd that is not
# process 1 are ended; those of one that ends from now on are no longer its. A sibling that leads no session is no
# command, and its session is sshd's own: it is left alone.
# Signalled by group, so that nothing escapes by a fork meanwhile; all of a group are of one session. The leader's comes
# first, so that its shell does not go on to its next line. A ps that knows no sessions (macOS) says the group instead.
# Says so when all have got SIGTERM. What does not obey is killed by the same helper, though we may have hung up by
# then: once the leader has gone, a later one would not find a session. kill says whether something is left, for ps
# costs much on a host that has much to do; only ps knows what is a zombie, and which groups the session has by now.
END_SIBLINGS = """
of_sshd='
    $1 == up { found = up > 1 && $6 ~ /sshd/ }
    $2 == up && $1 != me && $1 == $4 { ours[$1] }
    { session[$3] = $4 }
    END {
        for (group in session) {
            if (group in ours) leaders = leaders " " group
            else if (session[group] in ours) others = others " " group
        }
        if (found) print leaders ":" others
        exit !found
    }'
in_sessions='
    BEGIN { split(sessions, list, " "); for (i in list) ours[list[i]] }
    $4 in ours && $5 !~ /^Z/ && !said[$3]++ { print $3 }'
all() { ps -A -o pid= -o ppid= -o pgid= -o $by= -o stat= -o comm=; }
end() { for group in $groups; do kill -"$1" "-$group"; done; }
is_left() { for group in $groups; do kill -0 "-$group" && return; done; return 1; }
for by in sid pgid ""; do
    [ "$by" ] || exit 1
    found=$(all | awk -v me=$$ -v up="$PPID" "$of_sshd") && break
done
groups="${found%:*} ${found#*:}"
end TERM
echo told
for pause in 0.05 0.15 0.3; do
    is_left || exit 0
    sleep $pause
done
groups=$(all | awk -v sessions="${found%:*}" "$in_sessions")
end KILL
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

    @property
    def by_sudo(self) -> bool:
        """Whether sudo runs it; when that is killed, what it runs goes on."""
        return is_of_sudo(self.command.lstrip())

    def line(self) -> str:
        """Return what a second channel runs to end the command there; nothing where it could do nothing."""
        if self.by_session:
            return sh(END_SIBLINGS)
        return sh(END_MARKED, "".join(BLANKS[blank] for blank in self.mark)) if self.mark else ""

    @property
    def by_session(self) -> bool:
        """Whether that line says something once all that the command started has got SIGTERM."""
        return self.server.startswith(OPENSSH)


def of(command: str, server: str) -> Ending:
    """Return how a command is sent to a server of this version, so that it can be ended."""
    if not server.startswith(TAILSCALE):
        return Ending(command, server)
    mark = "".join(secrets.choice(tuple(BLANKS)) for _ in range(MARK_BLANKS))
    return Ending(mark + command, server, mark)
