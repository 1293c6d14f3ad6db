"""Owns the lab's control server: a real headscale on loopback, its configuration, keys and users.

Everything that it could ask the internet for is switched off: DERP maps, update checks, log uploads.
"""

import http.client
import json
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks import files, process
from tasks.errors import TimedOut, Unavailable
from tasks.loopback import free_port
from tasks.secret import REDACTOR, Secret

USER = "lab"
DOMAIN = "lab.test"
START_DEADLINE = 20.0  # seconds from spawn to the first good /health; 0.3 is usual
CALL_DEADLINE = 10.0  # seconds for one call of its command line, which itself gives up after 5
PAUSE = 0.02
FOR_AS_LONG_AS_THE_LAB = "365d"
CONFIGURATION = """\
server_url: http://127.0.0.1:{port}
listen_addr: 127.0.0.1:{port}
metrics_listen_addr: ""
grpc_listen_addr: 127.0.0.1:0
grpc_allow_insecure: false
disable_check_updates: true
noise: {{ private_key_path: {folder}/noise.key }}
prefixes: {{ v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential }}
database: {{ type: sqlite, sqlite: {{ path: {folder}/db.sqlite, write_ahead_log: true }} }}
derp:
  server:
    enabled: true
    region_id: 999
    region_code: lab
    region_name: lab
    verify_clients: true
    stun_listen_addr: 127.0.0.1:{stun_port}
    private_key_path: {folder}/derp.key
    automatically_add_embedded_derp_region: true
    ipv4: 127.0.0.1
    ipv6: none
  urls: []
  paths: []
  auto_update_enabled: false
dns:
  magic_dns: true
  base_domain: {domain}
  override_local_dns: false
  nameservers: {{ global: [], split: {{}} }}
  search_domains: []
  extra_records: []
policy: {{ mode: file, path: {folder}/policy.json }}
log: {{ level: info, format: text }}
logtail: {{ enabled: false }}
unix_socket: {socket}
unix_socket_permission: "0700"
node: {{ routes: {{ ha: {{ probe_interval: 0 }} }} }}
tuning: {{ batch_change_delay: 50ms, node_store_batch_timeout: 10ms }}
"""


@dataclass(frozen=True)
class PreauthKey:
    """A key as headscale made it; `number` is how its command line names it."""

    number: int
    key: Secret


@dataclass(frozen=True)
class Headscale:
    """The lab's headscale, running or not: its program, folder, socket and environment."""

    program: Path
    folder: Path
    socket: Path
    environment: Mapping[str, str]

    @property
    def configuration(self) -> Path:
        """Its configuration file; the path on its command line also tells its process from others."""
        return self.folder / "headscale.yaml"

    @property
    def has_run(self) -> bool:
        """Whether it has written something that a new one would find."""
        return (self.folder / "db.sqlite").exists()

    def start(self, tags: tuple[str, ...]) -> str:
        """Write its files, start it, and return its address when it is healthy. `tags` are those hosts may carry."""
        port, stun_port = free_port(), free_port(socket.SOCK_DGRAM)
        files.private_folder(self.folder)
        policy = json.dumps(_policy(tags), indent=2)
        files.write_private(self.folder / "policy.json", policy.encode())
        text = CONFIGURATION.format(
            port=port, stun_port=stun_port, folder=self.folder, socket=self.socket, domain=DOMAIN
        )
        files.write_private(self.configuration, text.encode())
        child = process.detach(
            (str(self.program), "--config", str(self.configuration), "serve"),
            environment=self.environment,
            log=self.folder / "headscale.log",
            folder=self.folder,
        )
        try:
            self._await_health(port, child)
        finally:
            child.let_go()
        return f"http://127.0.0.1:{port}"

    def create_user(self) -> int:
        """Make the lab's one user and return its number."""
        return int(self._call("users", "create", USER)["id"])

    def user(self) -> int:
        """Return the number of the lab's one user."""
        return int(self._list("users", "list")[0]["id"])

    def create_key(self, user: int, *, reusable: bool, tags: tuple[str, ...] = ()) -> PreauthKey:
        """Make an auth key of that user, good for as long as the lab."""
        words = ["preauthkeys", "create", "--user", str(user), "--expiration", FOR_AS_LONG_AS_THE_LAB]
        words += ["--reusable"] if reusable else []
        words += ["--tags", ",".join(tags)] if tags else []
        made = self._call(*words)
        return PreauthKey(int(made["id"]), REDACTOR.learn(Secret(made["key"])))

    def expire_key(self, number: int) -> None:
        """Let the key expire now: the server then says `authkey expired`."""
        self._call("preauthkeys", "expire", "--id", str(number))

    def delete_key(self, number: int) -> None:
        """Take the key back: the server then says `invalid pre auth key`."""
        self._call("preauthkeys", "delete", "--id", str(number))

    def _call(self, *words: str) -> dict[str, str]:
        answer = self._output(*words)
        return answer if isinstance(answer, dict) else {}

    def _list(self, *words: str) -> list[dict[str, str]]:
        answer = self._output(*words)
        return answer if isinstance(answer, list) else []

    def _output(self, *words: str) -> object:
        argv = (str(self.program), "--config", str(self.configuration), *words, "--output", "json")
        ended = process.run(*argv, deadline=CALL_DEADLINE, environment=self.environment)
        if ended.exit_status != 0:
            why = REDACTOR.clean(_error(ended) or ended.complaint or ended.text.strip())
            raise Unavailable(f"headscale {words[0]} {words[1]} failed", why=why)
        return json.loads(ended.text or "null")

    def _await_health(self, port: int, child: process.Detached) -> None:
        end = time.monotonic() + START_DEADLINE
        while time.monotonic() < end:
            if _is_healthy(port):
                return
            if child.exit_status() is not None:
                raise Unavailable("headscale ended at once", why=self._last_words())
            time.sleep(PAUSE)
        raise TimedOut(f"headscale was not healthy within {START_DEADLINE:g} s", why=self._last_words())

    def _last_words(self) -> str:
        lines = (self.folder / "headscale.log").read_text(errors="replace").splitlines()
        return "\n  ".join(["its log ends with", *lines[-10:]])


def _error(ended: process.Completed) -> str:
    """Return the error in the JSON that `--output json` writes to stderr, over several lines, behind its log's."""
    _, brace, rest = ended.stderr.decode(errors="replace").partition("{")
    try:
        said = json.loads(brace + rest)
    except ValueError:
        return ""
    return str(said.get("error", ""))


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _policy(tags: tuple[str, ...]) -> dict[str, object]:
    """Everybody may reach everybody, and the lab's user may log in everywhere by Tailscale SSH."""
    owner = f"{USER}@"
    return {
        "tagOwners": {tag: [owner] for tag in tags},
        "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
        "ssh": [{"action": "accept", "src": [owner], "dst": list(tags), "users": ["root", "autogroup:nonroot"]}],
    }
