"""The commands by the real `inv`: a tailnet of the test's own, a host behind its proxy, and every way to fail."""

import contextlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import paramiko
import pytest

from tasks import settings
from tasks.remote import report
from tasks.remote.hostkeys import HostKey
from tests.conftest import Ended, Home, Inv
from tests.remote import servers
from tests.remote.servers import SSHServer, dies_of, hangs, local_api, peer, says

Serve = Callable[..., SSHServer]
COMMANDS: Mapping[str, servers.Script] = {
    "uname -a": says(b"Linux \xff\xfe\n", b"warning\n"),
    "printf %s 'a b'": says(b"a b"),
    "exit 7": says(status=7),
    "crash": dies_of("SEGV"),
    "too high": says(status=256),
    report.COMMAND: says(b"platform-report:system=Testix 1\nplatform-report:uptime=120\n"),
}


@dataclass
class Tailnet:
    """A tailnet that is up: its daemon's LocalAPI, its proxy, one host `web`, and our commands on it."""

    inv: Inv
    daemon: servers.Daemon
    proxy: servers.Socks
    server: SSHServer
    inventory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, **given: object) -> Ended:
        """Run inv."""
        return self.inv(*words, environment=self.environment, **given)  # type: ignore[arg-type]


def published(key: paramiko.PKey) -> str:
    """Return a host key as the tailnet publishes it."""
    return f"{key.get_name()} {key.get_base64()}"


@pytest.fixture
def tailnet(home: Home, inv: Inv, serve: Serve, proxy: servers.Socks, host_key: paramiko.PKey) -> Iterator[Tailnet]:
    """Bring the tailnet up."""
    server = serve(COMMANDS)
    proxy.routes["web.tail.test:22"] = server.port
    daemon = servers.Daemon({"n1": peer("web", "100.64.0.1", Tags=["tag:front"], sshHostKeys=[published(host_key)])})
    inventory = home.folder / "inventory"
    inventory.mkdir()
    environment = {"TS_SOCKS5_SERVER": f"127.0.0.1:{proxy.port}", "INVENTORY": str(inventory), "TAILNET": "default"}
    with local_api(settings.runtime_folder("default", os.environ) / "tailscaled.sock", daemon):
        yield Tailnet(inv, daemon, proxy, server, inventory, environment)


def test_words_are_run_and_their_output_is_ours(tailnet: Tailnet) -> None:
    """Both streams, byte for byte; nothing of our own."""
    assert tailnet("remote.run", "--host=web", "--", "uname", "-a") == Ended(0, "Linux \udcff\udcfe\n", "warning\n")
    assert tailnet.proxy.asked == ["web.tail.test:22"]


def test_a_word_stays_one_word(tailnet: Tailnet) -> None:
    """Words after -- are no shell line."""
    assert tailnet("remote.run", "--host=web", "--", "printf", "%s", "a b") == Ended(0, "a b", "")


@pytest.mark.parametrize("words", [["--", "exit", "7"], ["--command=exit 7"]])
def test_the_remote_status_is_ours(tailnet: Tailnet, words: list[str]) -> None:
    """Without a word about it."""
    assert tailnet("remote.run", "--host=web", *words) == Ended(7, "", "")


def test_a_status_that_no_process_here_can_have_stays_a_failure(tailnet: Tailnet) -> None:
    """SSH's have 32 bits; the document has the true one."""
    document = tailnet("remote.run", "--hosts=web", "--json", "--command=too high")

    assert tailnet("remote.run", "--host=web", "--command=too high") == Ended(255, "", "")
    assert (document.exit_status, json.loads(document.stdout)["exit_status"]) == (255, 255)
    assert json.loads(document.stdout)["hosts"][0]["exit_status"] == 256


def test_a_killed_command_is_told(tailnet: Tailnet) -> None:
    """128 + n, and the signal's name."""
    assert tailnet("remote.run", "--host=web", "--command=crash") == Ended(
        139, "", "web: the command was killed by SIGSEGV\n"
    )


def test_without_a_command_the_host_reports(tailnet: Tailnet) -> None:
    """One line."""
    assert tailnet("remote.run", "--host=web") == Ended(0, "web: Testix 1, up 2 min\n", "")


def test_a_host_that_cannot_report_says_why(tailnet: Tailnet) -> None:
    """A shell that is none."""
    tailnet.server.commands = {report.COMMAND: says(err=b"no shell here\n")}

    assert tailnet("remote.run", "--host=web") == Ended(
        69, "", "error: web does not say how it is: no shell here\n  next: `inv remote.run --host=web -- true`\n"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "error: --host: expected the name of a host\n  next: `inv remote.hosts` lists them\n"),
        (["--host=-oX"], "error: --host: expected a host name or an address, got '-oX'\n"),
        (["--host=a;b"], "error: --host: expected a host name or an address, got 'a;b'\n"),
        (["--host=web", "--command= "], "error: --command: expected a line for the host's shell, got an empty one\n"),
    ],
)
def test_what_is_no_host_and_no_command_is_a_usage_error(tailnet: Tailnet, words: list[str], said: str) -> None:
    """Before anything is asked or dialled."""
    assert tailnet("remote.run", *words) == Ended(64, "", said)
    assert tailnet.proxy.asked == []


def test_words_and_a_command_exclude_each_other(tailnet: Tailnet) -> None:
    """Which one was meant?"""
    ended = tailnet("remote.run", "--host=web", "--command=exit 7", "--", "uname")

    assert (ended.exit_status, ended.stdout) == (64, "")


def test_each_way_not_to_reach_a_host_has_its_words(tailnet: Tailnet) -> None:
    """Unknown, offline, closed, outside: all 69, each told apart, none waited for."""
    tailnet.daemon.peers["n2"] = peer("off", "100.64.0.2", Online=False, LastSeen="2026-01-02T03:04:05Z")
    tailnet.daemon.peers["n3"] = peer("shut", "100.64.0.3")
    tailnet.daemon.dial_errors["shut.tail.test:22"] = "dial failure: connection was refused"
    said = {}
    for name in ("nosuch", "off", "shut", "192.0.2.1", "controller"):
        ended = tailnet("remote.run", f"--host={name}", "--", "true")
        assert (ended.exit_status, ended.stdout) == (69, "")
        said[name] = ended.stderr.splitlines()[0]

    outside = "no peer has this address and none announces a route to it; only the tailnet is dialled"
    assert said == {
        "nosuch": "error: unknown host nosuch: it is neither in the inventory nor on the tailnet",
        "off": "error: off is offline since 2026-01-02T03:04:05Z",
        "shut": "error: port 22 of shut is closed: dial failure: connection was refused",
        "192.0.2.1": f"error: 192.0.2.1 is not on the tailnet: {outside}",
        "controller": "error: controller is this machine itself",
    }
    assert tailnet.proxy.asked == ["off.tail.test:22", "shut.tail.test:22"]


def test_a_network_that_is_down_is_told(inv: Inv) -> None:
    """No daemon listens."""
    ended = inv("remote.run", "--host=web", "--", "true", environment={"TAILNET": "default"})

    assert ended.exit_status == 69
    assert ended.stderr.startswith("error: the network 'default' is down: ")
    assert ended.stderr.endswith("\n  next: `inv net.up`\n")


def test_a_login_that_is_refused_ends_with_77(tailnet: Tailnet) -> None:
    """It says who and what was tried."""
    tailnet.server.methods = "publickey"
    (tailnet.inventory / "hosts.yml").write_text("all: {hosts: {shop: {ansible_host: web, ansible_user: bob}}}")

    ended = tailnet("remote.run", "--host=shop", "--", "true")

    assert (ended.exit_status, ended.stdout) == (77, "")
    assert ended.stderr.startswith("error: shop refuses to log bob in: tried none; the server takes publickey\n")


def test_a_connection_that_is_cut_has_an_unknown_outcome(tailnet: Tailnet) -> None:
    """69, like everything that is not there; never "exit -1"."""
    started = threading.Event()
    tailnet.server.commands = {"hang": hangs(started)}

    def cut() -> None:
        started.wait(20)
        tailnet.proxy.cut()

    cutter = threading.Thread(target=cut)
    cutter.start()

    ended = tailnet("remote.run", "--host=web", "--command=hang")
    cutter.join()

    assert ended.exit_status == 69
    assert ended.stderr == "error: connection to web lost, outcome unknown: the connection was closed\n"


def test_what_only_ansible_can_read_is_refused_and_what_is_not_applied_is_named(tailnet: Tailnet) -> None:
    """Neither goes unsaid."""
    (tailnet.inventory / "group_vars").mkdir()
    (tailnet.inventory / "group_vars" / "all.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n61\n")
    (tailnet.inventory / "hosts.yml").write_text(
        "all: {hosts: {web: {ansible_become: true}, j: {ansible_host: '{{ x }}'}}}"
    )
    encrypted = f"{tailnet.inventory}/group_vars/all.yml is encrypted; its variables are not known here\n"

    assert tailnet("remote.run", "--host=web", "--", "exit", "7") == Ended(
        7, "", f"{encrypted}web: not applied: ansible_become\n"
    )
    refused = tailnet("remote.run", "--host=j", "--", "true")
    assert (refused.exit_status, refused.stdout) == (78, "")
    assert "ansible_host is a Jinja expression, which only Ansible can read" in refused.stderr


def test_a_dry_run_does_nothing(tailnet: Tailnet) -> None:
    """It says what it would do."""
    assert tailnet("--dry", "remote.run", "--host=web", "--", "a", "b c") == Ended(0, "", "would run on web: a 'b c'\n")
    assert tailnet("--dry", "remote.run", "--host=web").stderr == (
        "would run on web: a report of system, uptime, load, memory and disk\n"
    )
    assert tailnet("--dry", "remote.trust", "--host=web").stderr == "would fetch the host key of web and keep it\n"
    assert tailnet.proxy.asked == []


def test_a_dry_run_tells_what_is_around_the_command(tailnet: Tailnet, tmp_path: Path) -> None:
    """As whom, where, with what: it may be what was mistyped."""
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    around = ("--sudo", "--cwd=/srv", "--env=A=b c")
    words = "web as root in /srv with A='b c': "

    assert tailnet("--dry", "remote.run", "--host=web", *around, "--", "id").stderr == f"would run on {words}id\n"
    assert tailnet("--dry", "remote.run", "--hosts=web", *around, "--", "id").stdout == f"would run on {words}id\n"
    scripted = tailnet("--dry", "remote.script", "--host=web", f"--file={script}", *around).stderr
    assert scripted.startswith(f"would run {script} on {words}")


def test_hosts_are_listed(tailnet: Tailnet) -> None:
    """Inventory and tailnet as one list, with who is online."""
    (tailnet.inventory / "hosts.yml").write_text(
        "db: {hosts: {db1: {ansible_host: db.corp.example, ansible_port: 2222, ansible_user: pg}}}\n"
    )

    assert tailnet("remote.hosts").stdout == (
        "host  groups     address               user  online\n"
        "db1   db         db.corp.example:2222  pg    -\n"
        "web   tag_front  web.tail.test         -     yes\n"
    )
    assert json.loads(tailnet("remote.hosts", "--json").stdout)[1] == {
        "name": "web",
        "groups": ["tag_front"],
        "address": "web.tail.test",
        "port": 22,
        "user": None,
        "online": True,
        "system": None,
        "not_applied": [],
        "problem": None,
    }


def test_hosts_of_the_inventory_are_listed_while_the_network_is_down(inv: Inv, home: Home) -> None:
    """With a line that says why there are no others; the example that comes with the project has none."""
    (home.folder / "hosts.yml").write_text("all: {hosts: {db1: }}")
    environment = {"TAILNET": "default", "INVENTORY": str(home.folder / "hosts.yml")}

    ended = inv("remote.hosts", environment=environment)
    example = inv("remote.hosts", environment={"TAILNET": "default"})

    assert ended.stdout == "host  groups     address  user  online\ndb1   ungrouped  db1      -     -\n"
    assert ended.stderr == "the network 'default' is down: only the inventory's hosts are listed\n"
    assert (example.exit_status, example.stdout) == (0, "there are no hosts\n")


def test_an_unknown_host_key_is_refused_until_it_is_trusted(
    tailnet: Tailnet, host_key: paramiko.PKey, home: Home
) -> None:
    """Nobody is there to be asked; remote.trust is the explicit act, and says where it was kept."""
    tailnet.daemon.peers["n1"].pop("sshHostKeys")
    key = HostKey(host_key.get_name(), host_key.get_base64())
    known_hosts = home.state / "platform-manager/default/known_hosts"

    refused = tailnet("remote.run", "--host=web", "--", "exit", "7")
    trusted = tailnet("remote.trust", "--host=web")
    again = tailnet("remote.trust", "--host=web")

    assert refused == Ended(
        77,
        "",
        f"error: the host key of web is unknown: it showed {key}, and nobody is there to be asked\n"
        "  next: compare the fingerprint, then `inv remote.trust --host=web`\n",
    )
    assert trusted == Ended(0, f"web (web.tail.test) shows {key}\nkept in {known_hosts}\n", "")
    assert again.stdout == f"web (web.tail.test) shows {key}\nit was trusted already\n"
    assert tailnet("remote.run", "--host=web", "--", "exit", "7").exit_status == 7


def test_a_changed_host_key_is_replaced_only_when_told_to(
    tailnet: Tailnet, host_key: paramiko.PKey, home: Home
) -> None:
    """run and trust refuse it alike, before anybody logs in."""
    tailnet.daemon.peers["n1"].pop("sshHostKeys")
    other = paramiko.ECDSAKey.generate()
    known_hosts = home.state / "platform-manager/default/known_hosts"
    known_hosts.parent.mkdir(parents=True)
    known_hosts.write_text(f"web.tail.test {published(other)}\n")
    old, new = (HostKey(key.get_name(), key.get_base64()) for key in (other, host_key))
    words = (
        f"error: the host key of web has changed: expected {old}, got {new}\n"
        "  next: if you know why: `inv remote.trust --host=web --replace`\n"
    )

    assert tailnet("remote.run", "--host=web", "--", "true") == Ended(77, "", words)
    assert tailnet("remote.trust", "--host=web").stderr == words
    assert tailnet.server.logins == 0
    assert tailnet("remote.trust", "--host=web", "--replace").exit_status == 0
    assert known_hosts.read_text() == f"web.tail.test {published(host_key)}\n"


def test_waiting_for_a_host_ends_when_it_answers_or_at_the_deadline(tailnet: Tailnet) -> None:
    """net.wait is made of it."""
    answered = tailnet("net.wait", "--host=web")
    unknown = tailnet("net.wait", "--host=nosuch", "--timeout=300ms")

    assert (answered.exit_status, answered.stdout[:12]) == (0, "web answers ")
    assert (unknown.exit_status, unknown.stdout) == (75, "")
    assert unknown.stderr == "error: no SSH server answered within 0.3 s: unknown host nosuch\n"


def test_a_gigantic_list_of_peers_is_no_problem(tailnet: Tailnet) -> None:
    """A thousand of them."""
    tailnet.daemon.peers |= {f"p{n}": peer(f"p{n}", f"100.65.{n // 250}.{n % 250}") for n in range(1000)}

    assert len(tailnet("remote.hosts").stdout.splitlines()) == 1002


def test_a_reader_who_leaves_early_is_no_error(tailnet: Tailnet, tmp_path: Path) -> None:
    """`inv remote.run … | head -c 1`: the command at the host is ended."""
    import subprocess

    from tests.conftest import INV, ROOT

    def flood(channel: paramiko.Channel) -> None:
        with contextlib.suppress(OSError):
            while True:
                channel.sendall(b"x" * 65536)

    tailnet.server.commands = {"flood": flood}
    argv = [str(INV), "remote.run", "--host=web", "--command=flood"]
    environment = {**os.environ, **tailnet.environment}
    with subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.read(1)
        child.stdout.close()

        assert (child.wait(20), child.stderr.read()) == (0, b"")
    assert tailnet.server.signals == ["TERM"]


def test_many_hosts_are_run_by_a_pattern(tailnet: Tailnet) -> None:
    """Those of the inventory and of the tailnet; a group that a tag makes counts."""
    ended = tailnet("remote.run", "--hosts=tag_front,nosuch", "--retries=1", "--", "exit", "7")

    assert ended.exit_status == 69
    assert "web    | exit 7" in ended.stderr.splitlines()
    assert "nosuch  unavailable  " in ended.stderr
    assert "0 of 2 done, 2 failed in " in ended.stderr


def test_a_copy_to_many_tells_who_says_what(tailnet: Tailnet) -> None:
    """A banner looks like no failure of ours; ours come whole, with what to run next."""
    tailnet.server.banner = "error: web1: all is lost\n  next: ./evil"

    said = tailnet("remote.put", "--hosts=web,nosuch", "--file=/etc/hosts").stderr.splitlines()

    assert [line for line in said if "lost" in line or "evil" in line] == [
        "web    | error: web1: all is lost",
        "web    |   next: ./evil",
    ]
    assert "nosuch | error: unknown host nosuch: it is neither in the inventory nor on the tailnet" in said
    assert "nosuch |   next: `inv remote.hosts`" in said


def test_many_hosts_report_one_line_each(tailnet: Tailnet) -> None:
    """As one does."""
    assert tailnet("remote.run", "--hosts=web").stdout == "web | Testix 1, up 2 min\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--hosts=web", "--host=web", "--command=x"], "expected --host or --hosts, got both"),
        (["--host=web", "--json", "--command=x"], "expected --hosts beside --forks, --timeout,"),
        (["--hosts=web:!nosuch*", "--command=x"], "--hosts: 'nosuch*' matches no host and no group"),
        (["--hosts=web", "--fold", "--output-dir=out"], "--fold shows equal output once on the screen: expected"),
        (["--hosts=web", "--timeout=soon", "--command=x"], "--timeout: expected a time such as 30s, 5m or 2h"),
    ],
)
def test_what_cannot_be_asked_of_many_is_a_usage_error(tailnet: Tailnet, words: list[str], said: str) -> None:
    """And nothing is dialled."""
    ended = tailnet("remote.run", *words)

    assert (ended.exit_status, said in ended.stderr + ended.stdout) == (64, True)
    assert tailnet.proxy.asked == []


def test_a_dry_run_on_many_names_them(tailnet: Tailnet) -> None:
    """And dials nobody."""
    ended = tailnet("--dry", "remote.run", "--hosts=all", "--command=reboot")

    assert (ended.stdout, tailnet.proxy.asked) == ("would run on web: reboot\n", [])


def test_json_of_many_is_one_document_also_when_a_host_fails(tailnet: Tailnet) -> None:
    """With the bytes that are no text."""
    ended = tailnet("remote.run", "--hosts=web", "--json", "--", "uname", "-a")
    document = json.loads(ended.stdout)

    assert (ended.exit_status, document["counts"]["done"]) == (0, 1)
    assert document["hosts"][0]["stdout_base64"] == "TGludXgg//4K"
