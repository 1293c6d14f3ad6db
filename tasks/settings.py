"""Owns the settings: one frozen record, read by one explicit line per variable.

Precedence: task flag > process environment > `.env.<tailnet>` > `.env` > default. Where containerboot or bw has a name
for a setting, it is theirs. `.env.example` lists the same; a test keeps the two equal. The only file that knows
platformdirs.
"""

import os
import re
import shlex
import socket
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks import envfile
from tasks.errors import ConfigurationFailure, reason
from tasks.secret import REDACTOR, Secret

ROOT = Path(__file__).resolve().parent.parent
NAME = "platform-manager"
DEFAULT_TAILNET = "default"
DEFAULT_PROXY_PORT = 1055
DEFAULT_PROXY = f"127.0.0.1:{DEFAULT_PROXY_PORT}"
DEFAULT_ITEM = "Tailscale auth key"
VAULTS = ("age", "bitwarden", "environment")
LAB = "lab"
# What a lab writes into its tailnet's state folder; read like `.env.<tailnet>`.
SETTINGS_FILE = "settings.env"
# What a person may have set for their own tailnets, vaults and hosts begins so.
PERSONAL = ("TS_", "TAILNET", "VAULT", "INVENTORY", "ANSIBLE")
TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}
# Knobs of tailscaled that a place may need (facts of each: tailscale's envknob uses); the lab sets most of them.
DAEMON_KNOBS = (
    "TS_ASSUME_NETWORK_UP_FOR_TEST",
    "TS_DEBUG_OMIT_LOCAL_ADDRS",
    "TS_DEBUG_USE_DERP_HTTP",
    "TS_DISABLE_PORTMAPPER",
    "TS_FORCE_NOISE_443",
    "TS_PANIC_IF_HIT_MAIN_CONTROL",
)
TAILNET_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
# bytes: a unix socket's whole path must stay under 108 (sun_path), and `/host-NAME.sock` comes after this.
LONGEST_RUNTIME_FOLDER = 83


@dataclass(frozen=True)
class Settings:
    """Everything that a person can set, read once per command.

    `auth_key`, `vault_identity` and the secrets of bw may be references `file:PATH`: `configured_key()`,
    `configured_identity()` and `followed()` follow them. `bw_data_folder` is None for a folder of our own.
    `lab_by_default` means that nobody named a tailnet and the running lab was taken.
    """

    tailnet: str
    lab_by_default: bool
    auth_key: Secret | None
    hostname: str
    login_server: str
    ssh: bool
    proxy_host: str
    proxy_port: int
    extra_args: tuple[str, ...]
    tailscaled_extra_args: tuple[str, ...]
    upload_logs: bool
    daemon_knobs: tuple[tuple[str, str], ...]
    state_folder: Path
    runtime_folder: Path
    cache_folder: Path
    inventory: Path
    vault: str
    vault_item: str
    vault_identity: Secret | None
    bw_server: str
    bw_email: str
    bw_client_id: str
    bw_client_secret: Secret | None
    bw_password: Secret | None
    bw_session: Secret | None
    bw_data_folder: Path | None
    programs_source: str

    def configured_key(self) -> Secret | None:
        """Return the auth key that the environment or a settings file gives, or None."""
        return followed(self.auth_key, "auth key")

    def configured_identity(self) -> Secret | None:
        """Return the vault's age identity that the environment or a settings file gives, or None."""
        return followed(self.vault_identity, "age identity")


def load(environ: Mapping[str, str] | None = None, *, root: Path = ROOT) -> Settings:
    """Read the settings of the tailnet that the environment, `.env` or a running lab names."""
    # An empty variable counts as unset: dev container files set `"TS_AUTHKEY": "${localEnv:TS_AUTHKEY}"` for everybody.
    environ = {name: value for name, value in (os.environ if environ is None else environ).items() if value}
    shared = envfile.read(root / ".env")
    tailnet, lab_by_default = _chosen_tailnet(environ, shared, root)
    values = {**shared, **_read_own(tailnet, root), **environ}
    host, port = _address(values.get("TS_SOCKS5_SERVER") or DEFAULT_PROXY)
    key, item = _key_or_item(values.get("TS_AUTHKEY", ""))
    return Settings(
        tailnet=tailnet,
        lab_by_default=lab_by_default,
        auth_key=_secret(key),
        hostname=values.get("TS_HOSTNAME", ""),
        login_server=values.get("TS_LOGIN_SERVER", ""),
        ssh=_flag("TS_SSH", values.get("TS_SSH", "")),
        proxy_host=host,
        proxy_port=port,
        extra_args=_words("TS_EXTRA_ARGS", values.get("TS_EXTRA_ARGS", "")),
        tailscaled_extra_args=_words("TS_TAILSCALED_EXTRA_ARGS", values.get("TS_TAILSCALED_EXTRA_ARGS", "")),
        upload_logs=not _flag("TS_NO_LOGS_NO_SUPPORT", values.get("TS_NO_LOGS_NO_SUPPORT", "true")),
        daemon_knobs=tuple((name, values[name]) for name in DAEMON_KNOBS if values.get(name)),
        state_folder=Path(values.get("TS_STATE_DIR") or tailnet_folder(tailnet)),
        runtime_folder=runtime_folder(tailnet, environ),
        cache_folder=cache_folder(),
        inventory=root / (values.get("INVENTORY") or "inventory"),
        vault=_vault(values.get("VAULT") or "age"),
        vault_item=item or values.get("VAULT_ITEM") or DEFAULT_ITEM,
        vault_identity=_opener("VAULT_IDENTITY", values.get("VAULT_IDENTITY", "")),
        bw_server=_https(values.get("BW_SERVER", "")),
        bw_email=values.get("BW_EMAIL", ""),
        bw_client_id=values.get("BW_CLIENTID", ""),
        bw_client_secret=_opener("BW_CLIENTSECRET", values.get("BW_CLIENTSECRET", "")),
        bw_password=_opener("BW_PASSWORD", values.get("BW_PASSWORD", "")),
        bw_session=_opener("BW_SESSION", values.get("BW_SESSION", "")),
        bw_data_folder=Path(values["BW_DATA_DIR"]).expanduser() if values.get("BW_DATA_DIR") else None,
        programs_source=values.get("PROGRAMS_SOURCE") or "auto",
    )


def _chosen_tailnet(environ: Mapping[str, str], shared: Mapping[str, str], root: Path) -> tuple[str, bool]:
    """Return the tailnet's name, and whether it is the lab because nobody named one."""
    named = environ.get("TAILNET") or shared.get("TAILNET", "")
    if not named and _lab_is_meant(environ, root):
        return LAB, True
    return _tailnet_name(named or DEFAULT_TAILNET), False


def _read_own(tailnet: str, root: Path) -> dict[str, str]:
    return {**envfile.read(tailnet_folder(tailnet) / SETTINGS_FILE), **envfile.read(root / f".env.{tailnet}")}


def _key_or_item(text: str) -> tuple[str, str]:
    return ("", text.removeprefix(envfile.VAULT_REFERENCE)) if text.startswith(envfile.VAULT_REFERENCE) else (text, "")


def environment_for(tailnet: str) -> dict[str, str]:
    """Return our environment for a tailnet of this run's own: what a person has set for others means nothing to it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PERSONAL)}
    return {**kept, "TAILNET": tailnet}


def tailnet_folder(tailnet: str) -> Path:
    """Return where the state of that tailnet lies: `$XDG_STATE_HOME/platform-manager/<tailnet>`."""
    from platformdirs import user_state_path

    return user_state_path(NAME) / tailnet


def cache_folder() -> Path:
    """Return where installed programs lie: `$XDG_CACHE_HOME/platform-manager`."""
    from platformdirs import user_cache_path

    return user_cache_path(NAME)


def runtime_folder(tailnet: str, environ: Mapping[str, str]) -> Path:
    """Return where sockets and locks lie: private to this user, this boot and this container (its pid namespace).

    A container's restart reuses small pids, so nothing of an earlier life may be believed.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    folders = [base / f"{boot}-{namespace:x}" / tailnet for base in _runtime_bases(environ)]
    return next((folder for folder in folders if len(os.fsencode(folder)) <= LONGEST_RUNTIME_FOLDER), folders[-1])


def _runtime_bases(environ: Mapping[str, str]) -> Iterator[Path]:
    given = environ.get("XDG_RUNTIME_DIR", "")
    if given and _is_private(Path(given)):
        yield Path(given) / NAME
    import tempfile  # brings random and bz2 along, which `inv --list` can do without

    for temporary in (tempfile.gettempdir(), "/tmp"):
        yield Path(temporary) / f"{NAME}-{os.geteuid()}"


def _is_private(folder: Path) -> bool:
    try:
        state = folder.stat()
    except OSError:
        return False
    return state.st_uid == os.geteuid() and not stat.S_IMODE(state.st_mode) & 0o077


def lab_socket(environ: Mapping[str, str]) -> Path:
    """Return the unix socket of the lab's headscale."""
    return runtime_folder(LAB, environ) / "headscale.sock"


def _lab_is_meant(environ: Mapping[str, str], root: Path) -> bool:
    """The lab is up, nobody said anything about a tailnet or its vault, and `default` has never had a node."""
    if any(name.startswith(("TS_", "VAULT")) for name in environ) or (root / ".env").exists():
        return False
    if (tailnet_folder(DEFAULT_TAILNET) / "tailscaled.state").exists():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(lab_socket(environ))) == 0


def _tailnet_name(text: str) -> str:
    if TAILNET_NAME.fullmatch(text) is None:
        raise ConfigurationFailure(f"TAILNET: expected small letters, digits and dashes, 32 at most, got {text!r}")
    return text


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host != "127.0.0.1" or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigurationFailure(
            f"TS_SOCKS5_SERVER: expected 127.0.0.1:PORT, got {text!r}",
            why="the proxy asks nobody for a password, so it listens on this machine alone",
        )
    return host, int(port)


def _vault(text: str) -> str:
    if text not in VAULTS:
        raise ConfigurationFailure(f"VAULT: expected {' or '.join(VAULTS)}, got {text!r}")
    return text


def _https(text: str) -> str:
    """Return an address with its scheme: bw adds this one by itself, and tells the address so from then on."""
    return text if not text or "://" in text else f"https://{text}"


def _flag(name: str, text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ConfigurationFailure(f"{name}: expected true or false, got {text!r}")


def _words(name: str, text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ConfigurationFailure(f"{name}: cannot be split into words", why=str(error).lower()) from None


def _secret(text: str) -> Secret | None:
    return REDACTOR.learn(Secret(text)) if text else None


def _opener(name: str, text: str) -> Secret | None:
    """Return a secret that opens a vault; a reference into one would else be taken for the secret itself."""
    if text.startswith(envfile.VAULT_REFERENCE):
        raise ConfigurationFailure(
            f"{name}: a reference `vault:…` does not work here, of references only `file:PATH` does",
            why="it is what opens the vault",
            next_step=f"put the value into a file that is yours alone, and set {name}=file:PATH",
        )
    return _secret(text)


def vault_references(tailnet: str, root: Path = ROOT) -> dict[str, str]:
    """Return what stands after `vault:` in `.env` and `.env.<tailnet>`, by the variable's name; settings are none."""
    found = {**envfile.read(root / ".env"), **envfile.read(root / f".env.{tailnet}")}
    kept = {name: value for name, value in found.items() if name not in envfile.SECRET_VARIABLES}
    return {name: value.partition(":")[2] for name, value in kept.items() if value.startswith(envfile.VAULT_REFERENCE)}


def followed(given: Secret | None, what: str) -> Secret | None:
    """Return the secret itself, or what the file holds that it refers to."""
    if given is None or not given.reveal().startswith(envfile.FILE_REFERENCE):
        return given
    path = Path(given.reveal().removeprefix(envfile.FILE_REFERENCE)).expanduser()
    try:
        content = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationFailure(f"cannot read the {what} file {path}", why=reason(error)) from None
    if not content:
        raise ConfigurationFailure(f"the {what} file {path} is empty")
    return REDACTOR.learn(Secret(content))
