"""Lines for a host's shell, given to a real one."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tasks.errors import UsageFailure
from tasks.remote import lines
from tests.conftest import Home
from tests.waiting import is_alive, until

FAKE_SUDO = r"""#!/bin/sh
# sudo that wants the password "open sesame", or none for the program that the file `free` names. It stays, as sudo
# does, passes SIGTERM on to its child, and tells its own pid in the file `pid`.
keep= ask= ; while [ $# -gt 0 ]; do case $1 in
  -n) ask=never ;; -k) ;; -S) ask=stdin ;; -p) shift ;; --) shift; break ;; *) break ;; esac; shift; done
here=$(dirname "$0")
if [ "$ask" = never ]; then
  [ "$(cat "$here/free" 2>/dev/null)" = "$1" ] || { echo "sudo: a password is required" >&2; exit 1; }
else
  while IFS= read -r given || exit 1; [ "$given" != "open sesame" ]; do echo "Sorry, try again." >&2; done
fi
echo $$ >"$here/pid"
trap 'kill $child' TERM
{ FAKE_ROOT=yes "$@" <&3 3<&- & } 3<&0
child=$!
wait $child; status=$?
while kill -0 $child 2>/dev/null; do wait $child; status=$?; done
exit $status
"""
# One obeys no SIGTERM, one makes a group of its own, one is an orphan.
HARDY = """
{ trap '' TERM; while :; do sleep 0.1; done; } & echo $!
timeout 60 sleep 60 & echo $!
(sleep 60 & echo $!)
echo started
wait; echo never
"""


def run(line: str, stdin: bytes = b"", path: str = "") -> tuple[int, str, str]:
    """Give the line to a login shell, as sshd does."""
    environment = {"PATH": f"{path}:/usr/bin:/bin", "HOME": ""}
    ended = subprocess.run(
        ["sh", "-c", line], input=stdin, capture_output=True, env=environment, timeout=20, check=False
    )
    return ended.returncode, ended.stdout.decode(), ended.stderr.decode()


@pytest.mark.parametrize("value", ["a b", "$(id)", "it's", '"', "a\nb", "", "=", "\\", "`id`", "*", "é"])
def test_a_variable_has_the_value_that_was_given(value: str) -> None:
    frame = lines.frame([f"NAME={value}"], "", sudo=False)

    assert run(frame.around('printf %s "$NAME"')) == (0, value, "")


@pytest.mark.parametrize("text", ["NAME", "1A=x", "A B=x", "A;id=x", "=x", "A=\0"])
def test_what_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(UsageFailure, match=r"--env: expected NAME=value, got "):
        lines.frame([text], "", sudo=False)


def test_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    folder = tmp_path / "-it's $HOME; a\nb"
    folder.mkdir()
    frame = lines.frame([], str(folder), sudo=False)

    assert run(frame.around("pwd | cat")) == (0, f"{folder}\n", "")


@pytest.mark.parametrize("home", ["~", "~/"])
def test_a_lone_tilde_is_the_login_s_home(home: str) -> None:
    assert run(lines.frame(["HOME=/usr"], home, sudo=False).around("pwd")) == (0, "/usr\n", "")


def test_nothing_of_a_line_runs_in_another_folder() -> None:
    status, out, err = run(lines.frame([], "/nowhere", sudo=False).around("echo a; echo b"))

    assert (status != 0, out) == (True, "")
    assert "/nowhere" in err


def test_nothing_of_a_line_runs_in_a_shell_that_knows_no_export() -> None:
    """In csh it ran without the variable, and ended well."""
    line = "export() { return 127; }; " + lines.frame(["A=x"], "", sudo=False).around("echo a; echo b")

    ended = subprocess.run(["bash", "-c", line], capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout) == (127, b"")


def test_a_tilde_means_home() -> None:
    assert run(lines.frame([], "~/usr", sudo=False).around("pwd")) == (0, "/usr\n", "")


@pytest.fixture
def sudo(home: Home) -> Path:
    """Put a fake sudo, and an `id` that says we are not root, where the shell finds them first."""
    folder = home.folder / "bin"
    folder.mkdir()
    (folder / "sudo").write_text(FAKE_SUDO)
    (folder / "id").write_text("#!/bin/sh\necho 1000\n")
    for program in folder.iterdir():
        program.chmod(0o755)
    return folder


LINE = lines.frame(["A=x y"], "/tmp", sudo=True).around('cd / && echo "$FAKE_ROOT $A $PWD" | cat; cat; exit 3')


def test_sudo_takes_its_password_and_the_command_the_rest(sudo: Path) -> None:
    """It works with `cd`, pipes and variables."""
    assert run(LINE, b"open sesame\nthe rest\n", str(sudo)) == (3, "yes x y /\nthe rest\n", "")


def test_a_sudo_that_wants_no_password_does_not_give_it_to_the_command(sudo: Path) -> None:
    (sudo / "free").write_text("/bin/sh")

    assert run(LINE, b"open sesame\nthe rest\n", str(sudo)) == (3, "yes x y /\nthe rest\n", "")


def test_a_password_is_asked_for_what_is_run_and_not_for_something_else(sudo: Path) -> None:
    """Else the command would read it, or a script's shell would run it."""
    (sudo / "free").write_text("true")

    assert run(LINE, b"open sesame\nthe rest\n", str(sudo)) == (3, "yes x y /\nthe rest\n", "")


def test_a_refused_password_is_told_from_a_command_that_fails(sudo: Path) -> None:
    """In sudo's words. Nothing has run, and no word of what follows was taken for a password."""
    here = f"error: sudo does not let 1000 in on {os.uname().nodename}: "
    allowed = "; sudo -l, typed there, says what is allowed\n"

    refused = f"{here}Sorry, try again.\n  next: check the password{allowed}"
    assert run(LINE, b"sesame\nthe rest\n", str(sudo)) == (77, "", refused)
    lacking = f"{here}sudo: a password is required\n  next: give the password, if it wants one{allowed}"
    assert run(LINE, b"\nthe rest\n", str(sudo)) == (77, "", lacking)


def test_a_host_without_sudo_says_so(sudo: Path) -> None:
    (sudo / "sudo").unlink()
    said = f"error: there is no sudo on {os.uname().nodename}\n  next: install it, or log in as root\n"

    if run("command -v sudo")[0] != 0:
        assert run(LINE, b"\n", str(sudo)) == (69, "", said)


@pytest.mark.parametrize("free", ["/bin/sh", ""])
def test_root_s_command_ends_with_all_that_it_started_when_sudo_gets_a_signal(sudo: Path, free: str) -> None:
    """A user can signal sudo alone, and what is below ends by its own means; only then sudo ends."""
    (sudo / "free").write_text(free)
    argv = ["sh", "-c", lines.frame([], "", sudo=True).around(HARDY)]
    environment = {"PATH": f"{sudo}:/usr/bin:/bin"}
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
    ) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        running.stdin.write("open sesame\n")
        running.stdin.close()
        pids = [int(line) for line in iter(running.stdout.readline, "started\n")]
        for pid in {running.pid, int((sudo / "pid").read_text())}:
            os.kill(pid, signal.SIGTERM)

        assert (running.stdout.read(), running.wait(20)) == ("", 143)
    assert len(pids) == 3
    until(lambda: not any(map(is_alive, pids)), what="end of root's processes")


@pytest.mark.parametrize("first", ["#!/bin/sh", "#! /usr/bin/env sh", "#!/usr/bin/env -S sh -u", ""])
def test_a_script_runs_with_its_interpreter_its_words_and_an_empty_stdin(first: str) -> None:
    content = f'{first}\nread line; echo "[$line] $# $1 $2"; exit 9\n'.encode()

    assert run(lines.script(content, ["a b", "$(id)"]), content) == (9, "[] 2 a b $(id)\n", "")


def test_a_script_of_python_runs_too() -> None:
    content = b"#!/usr/bin/env python3\nimport sys\nprint(sys.argv[1:], sys.stdin.read())\n"

    assert run(lines.script(content, ["it's"]), content) == (0, '["it\'s"] \n', "")


def test_a_script_in_a_frame_runs_in_it(sudo: Path) -> None:
    content = b'#!/bin/sh\necho "$FAKE_ROOT $A $PWD $1"\n'
    line = lines.frame(["A=x y"], "/tmp", sudo=True).around(lines.script(content, ["w"]))

    assert run(line, b"open sesame\n" + content, str(sudo)) == (0, "yes x y /tmp w\n", "")


def test_a_first_line_without_a_program_is_refused() -> None:
    with pytest.raises(UsageFailure, match="--file: expected a program after `#!` in its first line"):
        lines.script(b"#!\necho", [])
