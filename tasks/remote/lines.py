"""Owns the lines that a host's shell is given: variables, folder, sudo and scripts around a command, quoted safely.

Each is one line for a login shell that quotes as sh does: what needs more than a word of it stands in single quotes
behind `/bin/sh -c`. csh cannot read that over lines; fish halves the backslashes in it.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.errors import UsageFailure
from tasks.remote import names

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SHELL = "/bin/sh"
# Reads the password from the first line of its stdin, whether it is wanted or not, and gives the rest to the command.
# `sudo -k` asks though it asked a moment ago, so that it always takes exactly that line; tried first by itself, so that
# a refused password is told from a command that fails. What is tried is the program that is run then: sudoers may want
# a password for one and none for another. printf is the shell's own: the password is nobody's argument.
# The shell below which sudo runs stays until sudo has ended: it passes SIGTERM on, and its end is the command's.
# The command comes first in what sudo logs; $2 is ENDED_BY_ROOT, and $$ stays that of sshd's child.
SUDO = """
IFS= read -r p
if [ "$(id -u)" = 0 ]; then exec /bin/sh -c "$1"; fi
no() { printf "%s\\n" "error: $1" "  next: $2" >&2; exit "$3"; }
refuse() {
    why=$(printf "%s" "${why:-it gives no reason}" | tr "\\n" " ")
    no "sudo does not let $(id -un) in on $(uname -n): $why" "$1; sudo -l, typed there, says what is allowed" 77
}
if ! command -v sudo >/dev/null; then no "there is no sudo on $(uname -n)" "install it, or log in as root" 69; fi
run='eval "$2"'
if why=$(sudo -n -- /bin/sh -c : 2>&1 >/dev/null); then exec sudo -n -- /bin/sh -c "$run" sh "$1" "$2" $$; fi
if [ -z "$p" ]; then refuse "give the password, if it wants one"; fi
if ! why=$(printf "%s\\n" "$p" | sudo -k -S -p "" -- /bin/sh -c : 2>&1 >/dev/null); then refuse "check the password"; fi
trap : TERM
{ printf "%s\\n" "$p"; exec cat; } | sudo -k -S -p "" -- /bin/sh -c "$run" sh "$1" "$2" $$
"""
# sudo passes a user's SIGTERM on to its one child, which is this, and nobody but root can signal what is below. So this
# ends it: its own descendants, with the groups and sessions that they lead. An orphan of them is in our own session,
# which is ended too if SUDO's own shell ($3) leads it: then nobody else is in it. So it is with sshd; Tailscale SSH
# leaves all in the daemon's session. What is above us ends by itself. Older processes come first, so that no shell goes
# on to its next line. What obeys no SIGTERM is killed before those who wait for us kill sudo, who cannot pass that on.
# The command is in the background because only `wait` heeds a signal at once; SIGINT reaches it where env(1) is GNU's.
ENDED_BY_ROOT = """
below='
    { up[$1] = $2; group[$1] = $3; session[$1] = $4 }
    END {
        ours[me]
        if (session[me] == shell) ours[shell]
        do {
            found = 0
            for (p in up) if (!(p in ours) && (up[p] in ours || group[p] in ours || session[p] in ours)) {
                ours[p]
                found = 1
            }
        } while (found)
        for (p = me; p > 1; p = up[p]) delete ours[p]
        for (p in ours) print p
    }'
all() {
    for s in sid pgid; do
        rows=$(ps -A -o pid= -o ppid= -o pgid= -o $s= 2>/dev/null) && break
    done
    echo "$rows"
}
end() {
    pids=$(all | awk -v me=$$ -v shell="$shell" "$below" | sort -n)
    kill -"$1" $pids 2>/dev/null
}
trap 'trap "" TERM; end TERM; sleep 0.3; end KILL; exit 143' TERM
shell=$3
heeding=
if env --default-signal=INT,QUIT true 2>/dev/null; then heeding="env --default-signal=INT,QUIT"; fi
{ $heeding /bin/sh -c "$1" <&3 3<&- & } 3<&0
wait $!
"""
# The interpreter reads the script from descriptor 3, so that nothing in the script can read the script's own rest.
# A pipe, because sshd's stdin is a socket, which /dev/fd cannot open.
SCRIPT = "cat | {{ exec 3<&0 </dev/null; exec {words}; }}"
SCRIPT_FILE = "/dev/fd/3"


@dataclass(frozen=True)
class Frame:
    """What is around a command: variables, the folder it runs in (empty: the login's home), whether sudo runs it."""

    variables: tuple[tuple[str, str], ...] = ()
    folder: str = ""
    sudo: bool = False

    def around(self, line: str) -> str:
        """Return the line for the host's shell. With sudo, its stdin must begin with a line for the password."""
        # `exit` and no `&&`: of `a; b` neither may run elsewhere, or in a shell that knows no `export` (csh).
        exports = [f"export {name}={shlex.quote(value)} || exit; " for name, value in self.variables]
        folder = f"cd -- {_path(self.folder)} || exit; " if self.folder else ""
        framed = "".join(exports) + folder + line
        return sh(SUDO, framed, ENDED_BY_ROOT) if self.sudo else framed


def frame(variables: Sequence[str], folder: str, *, sudo: bool) -> Frame:
    """Return the frame that these options mean: variables are `NAME=value`."""
    pairs = []
    for text in variables:
        name, equals, value = text.partition("=")
        if not equals or VARIABLE.fullmatch(name) is None or "\0" in value:
            raise UsageFailure(f"--env: expected NAME=value, got {names.shown(text)}")
        pairs.append((name, value))
    if "\0" in folder:
        raise UsageFailure(f"--cwd: expected a folder, got {names.shown(folder)}")
    return Frame(tuple(pairs), folder, sudo)


def script(content: bytes, arguments: Sequence[str]) -> str:
    """Return the line that runs a script which comes on its stdin, with the interpreter that its first line names."""
    words = [*_interpreter(content), SCRIPT_FILE, *arguments]
    return sh(SCRIPT.format(words=shlex.join(words)))


def sh(text: str, *arguments: str) -> str:
    """Return the line that runs a text in the POSIX shell, whichever shell that quotes like it the login's own is."""
    return f"exec {SHELL} -c {shlex.join([text, 'sh', *arguments])}"


def is_of_sudo(line: str) -> bool:
    """Whether a frame with sudo made this line."""
    return line.startswith(sh(SUDO))


def _interpreter(content: bytes) -> list[str]:
    """Return the words of `#!`: as the kernel reads them, a program and at most one argument."""
    first = content.partition(b"\n")[0]
    if not first.startswith(b"#!"):
        return [SHELL]
    words = first[2:].decode(errors="replace").strip().split(None, 1)
    if not words:
        raise UsageFailure("--file: expected a program after `#!` in its first line")
    return words


def _path(folder: str) -> str:
    # A quoted tilde is none.
    if folder in {"~", "~/"}:
        return "~"
    return f"~/{shlex.quote(folder[2:])}" if folder.startswith("~/") else shlex.quote(folder)
