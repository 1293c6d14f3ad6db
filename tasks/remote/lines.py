"""Owns the lines that a host's shell is given: variables, folder, sudo and scripts around a command, quoted safely.

Each is one line for any login shell: what needs more than a word of it stands in single quotes behind `/bin/sh -c`.
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
# a refused password is told from a command that fails. printf is the shell's own: the password is nobody's argument.
SUDO = """
IFS= read -r p
if [ "$(id -u)" = 0 ]; then exec /bin/sh -c "$1"; fi
if ! command -v sudo >/dev/null; then echo "there is no sudo here" >&2; exit 69; fi
if sudo -n true 2>/dev/null; then exec sudo -n -- /bin/sh -c "$1"; fi
if [ -z "$p" ]; then echo "sudo wants a password here, and none was given" >&2; exit 77; fi
if ! printf "%s\\n" "$p" | sudo -k -S -p "" true; then echo "sudo refuses the password" >&2; exit 77; fi
{ printf "%s\\n" "$p"; exec cat; } | sudo -k -S -p "" -- /bin/sh -c "$1"
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
        exports = [f"export {name}={shlex.quote(value)}; " for name, value in self.variables]
        # `exit` and no `&&`: of `a; b` neither may run elsewhere.
        folder = f"cd -- {_path(self.folder)} || exit; " if self.folder else ""
        framed = "".join(exports) + folder + line
        return sh(SUDO, framed) if self.sudo else framed


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
    """Return the line that runs a text in the POSIX shell, whatever the login's own shell is."""
    return f"exec {SHELL} -c {shlex.join([text, 'sh', *arguments])}"


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
