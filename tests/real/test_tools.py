"""Other people's tools on a real tailnet: ssh, scp, rsync, git, curl, Ansible; our own copies, scripts, forwards."""

import functools
import os
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks import environment
from tasks.loopback import free_port
from tests.conftest import IN_CI, INV, ROOT, Home, path_without
from tests.real.conftest import HOST, Lab, Node
from tests.terminals import inv_in_a_terminal, needs_terminals, shown

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
DEADLINE = 60.0


@pytest.fixture
def up(node: Node, lab: Lab) -> Node:
    """Return a node that is up and knows the host's key."""
    ended = node.inv("net.up", "remote.trust", f"--host={HOST}", key=lab.key())
    assert ended.exit_status == 0, ended.stderr
    return node


@pytest.fixture
def configuration(up: Node) -> str:
    """Return the file for `ssh -F`."""
    return up.inv("remote.ssh-config").stdout.strip()


@pytest.fixture
def files(home: Home) -> Path:
    """Return a folder with two files in it."""
    folder = home.folder / "files"
    (folder / "sub").mkdir(parents=True)
    (folder / "a b").write_bytes(os.urandom(300_000))
    (folder / "sub" / "c").write_text("c")
    return folder


def call(*argv: str, folder: Path | None = None, **variables: str) -> str:
    """Run a program that must succeed, and return what it says."""
    environment = {**os.environ, **variables}
    ended = subprocess.run(
        argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def needs(program: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed; in CI let it fail."""
    return pytest.mark.skipif(shutil.which(program) is None and not IN_CI, reason=f"{program} is not installed")


def same(one: Path, other: Path) -> bool:
    """Whether two folders have the same files."""
    return subprocess.run(["diff", "-r", str(one), str(other)], capture_output=True, check=False).returncode == 0


@needs("ssh")
def test_ssh_and_scp_follow_the_configuration_by_every_name(configuration: str, files: Path, home: Home) -> None:
    for name in (HOST, f"{HOST}.lab.test"):
        assert call("ssh", "-F", configuration, name, "echo $((6*7))") == "42\n"
    call("scp", "-q", "-r", "-F", configuration, str(files), f"{HOST}:{home.folder}/there")
    call("scp", "-q", "-r", "-F", configuration, f"{HOST}:{home.folder}/there", str(home.folder / "back"))

    assert same(files, home.folder / "back")


@needs("ssh")
def test_ssh_is_refused_by_our_program_what_is_off_the_tailnet(configuration: str) -> None:
    ended = subprocess.run(
        ["ssh", "-F", configuration, "192.0.2.1", "true"], capture_output=True, text=True, timeout=DEADLINE, check=False
    )

    assert ended.returncode == 255
    assert ended.stderr.startswith("error: 192.0.2.1 is not on the tailnet: ")


@needs("rsync")
def test_rsync_follows(configuration: str, files: Path, home: Home) -> None:
    call("rsync", "-a", "-e", f"ssh -F {configuration}", f"{files}/", f"{HOST}:{home.folder}/there/")

    assert same(files, home.folder / "there")


@needs("git")
def test_git_clones_over_ssh_inside_exec(up: Node, home: Home) -> None:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    call("git", "init", "-q", "repository", folder=home.folder)
    call("git", "commit", "-q", "--allow-empty", "-m", "first", folder=home.folder / "repository", **who)
    source, target = f"{HOST}:{home.folder}/repository", str(home.folder / "clone")
    cloned = up.inv("net.exec", "--", "git", "clone", "-q", source, target)

    assert (cloned.exit_status, cloned.stderr) == (0, "")
    assert call("git", "log", "--format=%s", folder=home.folder / "clone") == "first\n"


@pytest.fixture
def web(files: Path) -> Iterator[int]:
    """Serve the files on loopback, where the host's daemon passes its tailnet address's ports on to."""
    handler = functools.partial(_Quiet, directory=str(files))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@needs("curl")
def test_curl_reaches_a_service_of_the_tailnet_inside_exec(up: Node, web: int) -> None:
    assert up.inv("net.exec", "--", "curl", "-sS", f"http://{HOST}:{web}/sub/c").stdout == "c"


def test_a_forward_leads_a_program_that_knows_no_proxy(up: Node, web: int) -> None:
    here = free_port()
    argv = [str(INV), "net.forward", f"--map={here}:{HOST}:{web}"]
    variables = {**os.environ, **up.environment}
    with subprocess.Popen(argv, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True) as forwarding:
        assert forwarding.stderr is not None
        assert forwarding.stderr.readline() == f"127.0.0.1:{here} → {HOST}:{web}\n"
        with urllib.request.urlopen(f"http://127.0.0.1:{here}/sub/c", timeout=20) as answer:
            assert answer.read() == b"c"
        forwarding.send_signal(signal.SIGINT)
        assert forwarding.wait(20) == 130


def test_files_go_there_and_back_and_a_second_time_nothing_does(up: Node, files: Path, home: Home) -> None:
    there, back = home.folder / "there", home.folder / "back"
    put = [up.inv("remote.put", f"--host={HOST}", f"--file={files}", f"--to={there}") for _ in range(2)]
    got = [up.inv("remote.get", f"--host={HOST}", f"--file={there}", f"--to={back}") for _ in range(2)]

    assert [ended.exit_status for ended in (*put, *got)] == [0] * 4
    assert [put[1].stdout, got[1].stdout] == [
        f"{HOST}: {there}: nothing to copy, 2 files unchanged\n",
        f"{HOST}: {back}: nothing to copy, 2 files unchanged\n",
    ]
    assert same(files, there)
    assert same(files, back)


def test_files_of_many_hosts_come_each_into_a_folder_of_its_own(up: Node, files: Path, home: Home) -> None:
    put = up.inv("remote.put", f"--hosts={HOST}", f"--file={files}", f"--to={home.folder}/there")
    got = up.inv("remote.get", f"--hosts={HOST}", f"--file={home.folder}/there", f"--to={home.folder}/all")
    lost = up.inv("remote.get", f"--hosts={HOST}", "--file=/no/where", f"--to={home.folder}/all")

    assert (put.exit_status, got.exit_status, lost.exit_status) == (0, 0, 69)
    assert same(files, home.folder / "all" / HOST)
    assert "cannot copy /no/where from web1" in lost.stderr


def test_a_place_that_takes_no_file_and_a_missing_folder_are_named_with_path_and_host(up: Node, files: Path) -> None:
    closed = up.inv("remote.put", f"--host={HOST}", f"--file={files}/a b", "--to=/proc/x")
    missing = up.inv("remote.put", f"--host={HOST}", f"--file={files}", "--to=/no/where")

    assert (closed.exit_status, "cannot copy /proc/x on web1: " in closed.stderr) == (69, True)
    assert (missing.exit_status, missing.stderr) == (
        69,
        "error: cannot copy /no/where on web1: its folder is not there\n",
    )


def test_a_script_runs_there_with_its_words_variables_and_folder(up: Node, home: Home) -> None:
    script = home.folder / "script"
    script.write_text(
        "#!/usr/bin/env python3\nimport os, sys\nprint(sys.argv[1:], os.environ['A'], os.getcwd())\n"
        "print(sys.stdin.read(), end='')\nsys.exit(7)\n"
    )
    ended = up.inv(
        "remote.script", f"--host={HOST}", f"--file={script}", "--env=A=x y", f"--cwd={home.folder}", "--", "it's", "$x"
    )

    assert (ended.exit_status, ended.stdout) == (7, f"[\"it's\", '$x'] x y {home.folder}\n")


@pytest.fixture
def ansible(programs_cache: Path) -> dict[str, str]:
    """Return the variables by which `inv` finds Ansible where the person who runs the tests keeps it."""
    environment.ensure(ROOT / "requirements-ansible.lock", cache=programs_cache, say=print)
    return {"XDG_CACHE_HOME": str(programs_cache.parent), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": "~/.ansible"}


PLAY = """\
- hosts: web
  gather_facts: false
  tasks:
    - ansible.builtin.copy: {{content: "hello", dest: "{folder}/copied", mode: "0644"}}
      notify: restart
    - ansible.builtin.template: {{src: "{folder}/template", dest: "{folder}/templated", mode: "0644"}}
  handlers:
    - name: restart
      ansible.builtin.shell: echo restarted >> {folder}/restarted
"""


@needs("ssh")
def test_a_play_is_played_and_played_again_changes_nothing(up: Node, home: Home, ansible: dict[str, str]) -> None:
    """By the real ansible-playbook: copy, template and a handler."""
    folder = home.folder / "played"
    folder.mkdir()
    (folder / "template").write_text("I am {{ inventory_hostname }}")
    playbook = folder / "site.yml"
    playbook.write_text(PLAY.format(folder=folder))
    played = [up.inv("remote.play", str(playbook), "--limit=web1", environment=ansible) for _ in range(2)]

    assert [ended.exit_status for ended in played] == [0, 0], played[0].stderr + played[0].stdout
    assert [re.findall(r"changed=(\d+) +unreachable=0 +failed=0", ended.stdout) for ended in played] == [["3"], ["0"]]
    read = [(folder / name).read_text() for name in ("copied", "templated", "restarted")]
    assert read == ["hello", f"I am {HOST}", "restarted\n"]


@needs("ssh")
@needs_terminals
def test_plain_ansible_works_inside_exec(up: Node, lab: Lab, ansible: dict[str, str], programs_cache: Path) -> None:
    program = programs_cache / "environments" / "ansible" / "bin" / "ansible"
    inventory = lab.state_folder / "lab" / "inventory"
    words = (str(program), "-i", str(inventory), HOST, "-m", "ping")
    pinged = up.inv("net.exec", "--", *words, environment=ansible)

    assert (pinged.exit_status, '"ping": "pong"' in pinged.stdout) == (0, True), pinged.stderr


@needs_terminals
@pytest.mark.parametrize("by", [pytest.param("ssh", marks=needs("ssh")), "ourselves"])
def test_an_interactive_shell_has_a_terminal_of_its_size(up: Node, home: Home, by: str) -> None:
    """Through a pty: TERM, rows and columns, what is run there draws here, and the exit status."""
    path = os.environ["PATH"] if by == "ssh" else path_without("ssh", home.folder / "bin")
    environment = {**up.environment, "TERM": "vt220", "PATH": path}
    with inv_in_a_terminal(environment, "remote.shell", f"--host={HOST}", seconds=30) as shell:
        shell.expect(r"[#$] ")
        # One program says it and is ended: between an echo of its own and the next program bash loses a Ctrl-C.
        shell.sendline("sh -c 'echo $TERM $(stty size) $((6 * 7)); exec sleep 1000'")
        shell.expect_exact("vt220 24 250 42")
        shell.sendcontrol("c")
        shell.sendline("exit 5")
        shown(shell)

    assert shell.exitstatus == 5
