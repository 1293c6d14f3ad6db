"""Settings come from the environment, `.env.<tailnet>`, `.env` and defaults, in this order, as they are written."""

import ast
import os
import re
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks import settings
from tasks.errors import ConfigurationFailure
from tasks.secret import REDACTOR, Secret
from tests.conftest import ROOT, Home

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
SOMEBODY = 12345
# Read by settings.py, but given by the system, not set by a person.
GIVEN_BY_THE_SYSTEM = {"XDG_RUNTIME_DIR"}


def load(root: Path, **environ: str) -> settings.Settings:
    """Load the settings of a checkout at `root`, in an environment of these variables."""
    return settings.load(environ, root=root)


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    """Write a settings file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    path.chmod(mode)
    return path


def failure(root: Path, **environ: str) -> str:
    """Load settings that are wrong, and return the whole sentence."""
    with pytest.raises(ConfigurationFailure) as caught:
        load(root, **environ)
    return str(caught.value)


def test_nothing_set_is_the_defaults(tmp_path: Path, home: Home) -> None:
    """All of them."""
    assert load(tmp_path) == settings.Settings(
        tailnet="default",
        lab_by_default=False,
        auth_key=None,
        hostname="",
        login_server="",
        ssh=False,
        proxy_host="127.0.0.1",
        proxy_port=1055,
        extra_args=(),
        tailscaled_extra_args=(),
        upload_logs=False,
        daemon_knobs=(),
        state_folder=home.state / "platform-manager" / "default",
        runtime_folder=settings.runtime_folder("default", {}),
        cache_folder=home.cache / "platform-manager",
        inventory=tmp_path / "inventory",
        vault="age",
        vault_item="Tailscale auth key",
        vault_identity=None,
        bw_server="",
        bw_email="",
        bw_client_id="",
        bw_client_secret=None,
        bw_password=None,
        bw_session=None,
        bw_data_folder=None,
        programs_source="auto",
    )


def test_everything_set_is_everything_read(tmp_path: Path) -> None:
    """Each variable by its name."""
    loaded = load(
        tmp_path,
        TAILNET="work",
        TS_AUTHKEY="tskey-auth-abc",
        TS_HOSTNAME="box",
        TS_LOGIN_SERVER="https://control.example",
        TS_SSH="true",
        TS_SOCKS5_SERVER="127.0.0.1:2000",
        TS_EXTRA_ARGS="--accept-routes --advertise-tags='tag:a b'",
        TS_TAILSCALED_EXTRA_ARGS="--verbose=1",
        TS_NO_LOGS_NO_SUPPORT="0",
        TS_DISABLE_PORTMAPPER="1",
        TS_STATE_DIR="/somewhere/state",
        INVENTORY="/somewhere/inventory",
        VAULT="environment",
        VAULT_ITEM="the key",
        VAULT_IDENTITY="AGE-SECRET-KEY-1",
        PROGRAMS_SOURCE="go",
    )

    assert (loaded.tailnet, loaded.lab_by_default) == ("work", False)
    assert loaded.auth_key == Secret("tskey-auth-abc") == loaded.configured_key()
    assert (loaded.hostname, loaded.login_server, loaded.ssh) == ("box", "https://control.example", True)
    assert (loaded.proxy_host, loaded.proxy_port) == ("127.0.0.1", 2000)
    assert loaded.extra_args == ("--accept-routes", "--advertise-tags=tag:a b")
    assert loaded.tailscaled_extra_args == ("--verbose=1",)
    assert (loaded.upload_logs, loaded.daemon_knobs) == (True, (("TS_DISABLE_PORTMAPPER", "1"),))
    assert (loaded.state_folder, loaded.inventory) == (Path("/somewhere/state"), Path("/somewhere/inventory"))
    assert (loaded.vault, loaded.vault_item) == ("environment", "the key")
    assert (loaded.vault_identity, loaded.programs_source) == (Secret("AGE-SECRET-KEY-1"), "go")


@pytest.mark.parametrize(
    ("environ", "own", "shared", "chosen"),
    [
        ("e", "o", "s", "e"),
        ("e", "o", None, "e"),
        ("e", None, "s", "e"),
        ("e", None, None, "e"),
        (None, "o", "s", "o"),
        (None, "o", None, "o"),
        (None, None, "s", "s"),
        (None, None, None, ""),
        ("", "o", "s", "o"),
        ("", None, "s", "s"),
        (None, "", "s", ""),
    ],
)
def test_the_nearer_source_wins(
    tmp_path: Path, environ: str | None, own: str | None, shared: str | None, chosen: str
) -> None:
    """Environment over `.env.<tailnet>` over `.env`; a variable that is empty in the environment is not set there."""
    if own is not None:
        write(tmp_path / ".env.work", f"TS_HOSTNAME={own}\n")
    if shared is not None:
        write(tmp_path / ".env", f"TS_HOSTNAME={shared}\n")
    variables = {} if environ is None else {"TS_HOSTNAME": environ}

    assert load(tmp_path, TAILNET="work", **variables).hostname == chosen


def test_the_tailnet_of_the_environment_goes_over_that_of_the_file(tmp_path: Path) -> None:
    """And its own file is then the one that is read."""
    write(tmp_path / ".env", "TAILNET=home\n")
    write(tmp_path / ".env.home", "TS_HOSTNAME=at-home\n")
    write(tmp_path / ".env.work", "TS_HOSTNAME=at-work\n")

    assert (load(tmp_path).tailnet, load(tmp_path).hostname) == ("home", "at-home")
    assert (load(tmp_path, TAILNET="work").tailnet, load(tmp_path, TAILNET="work").hostname) == ("work", "at-work")


def test_a_tailnet_has_a_settings_file_in_its_state_folder(tmp_path: Path, home: Home) -> None:
    """What a lab writes there; a file of the checkout goes over it."""
    write(home.state / "platform-manager" / "lab" / "settings.env", "TS_HOSTNAME=by-lab\nTS_LOGIN_SERVER=http://lab\n")
    write(tmp_path / ".env.lab", "TS_HOSTNAME=by-hand\n")
    loaded = load(tmp_path, TAILNET="lab")

    assert (loaded.hostname, loaded.login_server) == ("by-hand", "http://lab")
    assert load(tmp_path).login_server == ""


@pytest.mark.parametrize("name", ["a", "lab", "my-net-2", "0", "a" * 32])
def test_a_tailnet_has_a_plain_name(tmp_path: Path, name: str) -> None:
    """It becomes a folder's name."""
    assert load(tmp_path, TAILNET=name).tailnet == name


@pytest.mark.parametrize("name", ["A", "-a", "a/b", "..", "a.b", "a b", "ü", "a" * 33, "a\n"])
def test_any_other_name_is_refused(tmp_path: Path, name: str) -> None:
    """It could lead out of the state folder."""
    assert failure(tmp_path, TAILNET=name) == (
        f"TAILNET: expected small letters, digits and dashes, 32 at most, got {name!r}"
    )


@pytest.mark.parametrize(
    "address",
    ["localhost:1055", "0.0.0.0:1055", ":1055", "[::1]:1055", "1055", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
     "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:x", "127.0.0.2:1055", "127.0.0.1:1055 ", "a:b@127.0.0.1:1"],
)  # fmt: skip
def test_the_proxy_listens_on_this_machine_alone(tmp_path: Path, address: str) -> None:
    """The literal address: `localhost` may be somebody else's on ::1."""
    assert failure(tmp_path, TS_SOCKS5_SERVER=address) == (
        f"TS_SOCKS5_SERVER: expected 127.0.0.1:PORT, got {address!r}: "
        "the proxy asks nobody for a password, so it listens on this machine alone"
    )


@pytest.mark.parametrize("kind", ["agee", "Age", "bw"])
def test_an_unknown_vault_is_refused_with_the_known_ones(tmp_path: Path, kind: str) -> None:
    """One sentence for whoever mistyped it."""
    assert failure(tmp_path, VAULT=kind) == f"VAULT: expected age or bitwarden or environment, got {kind!r}"


@pytest.mark.parametrize("port", [1, 1055, 65535])
def test_the_proxy_has_any_port(tmp_path: Path, port: int) -> None:
    """1 to 65535."""
    assert load(tmp_path, TS_SOCKS5_SERVER=f"127.0.0.1:{port}").proxy_port == port


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", True),
        ("TRUE", True),
        ("yes", True),
        ("on", True),
        ("0", False),
        ("False", False),
        ("no", False),
        ("off", False),
    ],
)
def test_a_flag_is_true_or_false(tmp_path: Path, text: str, value: bool) -> None:
    """In the usual words."""
    assert load(tmp_path, TS_SSH=text).ssh == value


def test_a_bitwarden_server_without_a_scheme_has_the_one_that_bw_gives_it(tmp_path: Path) -> None:
    assert load(tmp_path, BW_SERVER="vault.example:8443").bw_server == "https://vault.example:8443"
    assert load(tmp_path, BW_SERVER="http://vault.example").bw_server == "http://vault.example"


def test_any_other_flag_is_refused(tmp_path: Path) -> None:
    """A slip must not turn something off."""
    assert failure(tmp_path, TS_SSH="ture") == "TS_SSH: expected true or false, got 'ture'"


def test_words_that_cannot_be_split_are_refused(tmp_path: Path) -> None:
    """With shlex's reason."""
    assert (
        failure(tmp_path, TS_EXTRA_ARGS="--a='b") == "TS_EXTRA_ARGS: cannot be split into words: no closing quotation"
    )


@pytest.mark.parametrize(
    ("line", "value"),
    [
        pytest.param("TS_HOSTNAME='pa${HOME}ss'", "pa${HOME}ss", id="nothing is expanded in single quotes"),
        pytest.param('TS_HOSTNAME="pa${HOME}ss"', "pa${HOME}ss", id="nor in double quotes"),
        pytest.param("TS_HOSTNAME=pa${HOME}ss$1`id`", "pa${HOME}ss$1`id`", id="nor without"),
        pytest.param("export TS_HOSTNAME=box", "box", id="export"),
        pytest.param("TS_HOSTNAME = box # comment", "box", id="comment"),
        pytest.param("TS_HOSTNAME=a#b", "a#b", id="hash inside"),
        pytest.param("TS_HOSTNAME='a b # c'", "a b # c", id="quoted"),
        pytest.param("TS_HOSTNAME=", "", id="empty"),
        pytest.param("TS_HOSTNAME=a=b==", "a=b==", id="equals"),
        pytest.param("\n# comment\n\nTS_HOSTNAME=box\n\n", "box", id="blank lines"),
        pytest.param("TS_HOSTNAME=one\nTS_HOSTNAME=two", "two", id="the last of two"),
        pytest.param("\ufeffTS_HOSTNAME=box", "box", id="byte order mark"),
        pytest.param("TS_HOSTNAME=box\r\nTS_SSH=no\r\n", "box", id="CRLF"),
        pytest.param("TS_HOSTNAME=Zürich", "Zürich", id="UTF-8"),
    ],
)
def test_a_line_is_read_as_written(tmp_path: Path, line: str, value: str) -> None:
    """No expansion, no commands."""
    write(tmp_path / ".env", line)

    assert load(tmp_path).hostname == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("TS_HOSTNAME\n", 1),
        ("A=1\nthis is no setting\n", 2),
        ("A=1\n\n\n# comment\n\nB\n", 6),
        ("A=1\nB='open\nC=3\n", 2),
        ("A=1\r\n\r\nnot this\r\n", 3),
        ("=value\n", 1),
    ],
)
def test_a_line_that_is_no_setting_is_named(tmp_path: Path, text: str, line: int) -> None:
    """By file and line, never dropped."""
    path = write(tmp_path / ".env", text)

    assert failure(tmp_path) == f"{path}:{line}: expected NAME=value"


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """With the reason."""
    (tmp_path / ".env").write_bytes(b"TS_HOSTNAME=\xff\n")

    assert failure(tmp_path) == f"cannot read the settings file {tmp_path / '.env'}: it is not UTF-8 text"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """In the kernel's own words."""
    (tmp_path / ".env").mkdir()

    assert failure(tmp_path) == f"cannot read the settings file {tmp_path / '.env'}: is a directory"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
@pytest.mark.parametrize("name", [".env", ".env.default"])
def test_a_secret_is_read_from_a_file_of_the_users_own(tmp_path: Path, name: str, mode: int) -> None:
    """That nobody else may read."""
    write(tmp_path / name, "TS_AUTHKEY=tskey-auth-abc\n", mode)

    assert load(tmp_path).configured_key() == Secret("tskey-auth-abc")


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602, 0o666])
@pytest.mark.parametrize("variable", ["TS_AUTHKEY", "VAULT_IDENTITY"])
def test_a_secret_in_a_file_for_others_is_refused(tmp_path: Path, variable: str, mode: int) -> None:
    """By file and line, with the way to mend it and the better way; the secret itself is not shown."""
    path = write(tmp_path / ".env", f"# mine\n\nTS_HOSTNAME=box\n\n{variable}=swordfish\n", mode)

    assert failure(tmp_path) == (
        f"{path}:5: {variable} is a secret in a file that others may read\n"
        f"  next: chmod 600 {path}, or better: {variable}=file:PATH"
    )


@needs_root
def test_a_secret_in_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    """Its owner can read it, whatever its mode."""
    path = write(tmp_path / ".env", "TS_AUTHKEY=swordfish\n")
    os.chown(path, SOMEBODY, SOMEBODY)

    assert failure(tmp_path).startswith(f"{path}:1: TS_AUTHKEY is a secret in a file that others may read")


def test_a_secret_behind_a_symlink_is_refused(tmp_path: Path) -> None:
    """What it leads to may change."""
    target = write(tmp_path / "target", "TS_AUTHKEY=swordfish\n")
    (tmp_path / ".env").symlink_to(target)

    assert failure(tmp_path).startswith(f"{tmp_path / '.env'}:1: TS_AUTHKEY is a secret in a file")


@pytest.mark.parametrize("value", ["file:/run/key", "vault:key", ""])
def test_a_reference_may_stand_in_any_file(tmp_path: Path, value: str) -> None:
    """It is no secret."""
    write(tmp_path / ".env", f"TS_AUTHKEY={value}\n", 0o644)
    load(tmp_path)


def test_a_key_file_is_followed_when_the_key_is_asked_for(tmp_path: Path, home: Home) -> None:
    """Blanks around the key fall away; `~` is the home; the key is redacted from then on."""
    write(home.home / "key", "\n  swordfish-key \n")
    loaded = load(tmp_path, TS_AUTHKEY="file:~/key")

    assert loaded.configured_key() == Secret("swordfish-key")
    assert REDACTOR.clean("swordfish-key") == "****"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot read the auth key file {}: no such file or directory"),
        (b"", "the auth key file {} is empty"),
        (b" \n", "the auth key file {} is empty"),
        (b"\xff", "cannot read the auth key file {}: it is not UTF-8 text"),
    ],
)
def test_a_key_file_without_a_key_is_named(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    """When the key is asked for, not before: `net.status` needs none."""
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    loaded = load(tmp_path, TS_AUTHKEY=f"file:{path}")
    with pytest.raises(ConfigurationFailure) as caught:
        loaded.configured_key()

    assert str(caught.value) == sentence.format(path)


def test_a_vault_reference_names_the_item(tmp_path: Path) -> None:
    """Over VAULT_ITEM, and there is no key then."""
    loaded = load(tmp_path, TS_AUTHKEY="vault:another key", VAULT_ITEM="the key")

    assert (loaded.vault_item, loaded.auth_key, loaded.configured_key()) == ("another key", None, None)


@pytest.mark.parametrize("name", ["BW_PASSWORD", "BW_CLIENTSECRET", "BW_SESSION", "VAULT_IDENTITY"])
def test_what_opens_a_vault_is_no_reference_into_one(tmp_path: Path, name: str) -> None:
    """Else the reference itself would be tried as the secret. From a file or from the environment."""
    (tmp_path / ".env").write_text(f"{name}=vault:master\n")
    for variables in ({}, {name: "vault:master"}):
        with pytest.raises(ConfigurationFailure) as caught:
            load(tmp_path, **variables)

        assert str(caught.value) == (
            f"{name}: a reference `vault:…` does not work here, of references only `file:PATH` does: it is what opens "
            f"the vault\n  next: put the value into a file that is yours alone, and set {name}=file:PATH"
        )


def test_secrets_are_redacted_as_soon_as_they_are_read(tmp_path: Path) -> None:
    """And the record itself does not show them."""
    loaded = load(tmp_path, TS_AUTHKEY="swordfish-one", VAULT_IDENTITY="swordfish-two")

    assert REDACTOR.clean("swordfish-one swordfish-two") == "**** ****"
    assert "swordfish" not in repr(loaded)


def test_the_runtime_folder_is_private_to_the_boot_and_the_container(home: Home) -> None:
    """In XDG_RUNTIME_DIR, which is ours and 0700."""
    folder = settings.runtime_folder("work", {"XDG_RUNTIME_DIR": str(home.runtime)})

    assert folder.parent.parent == home.runtime / "platform-manager"
    assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]+", folder.parent.name)
    assert folder.name == "work"


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="not set"),
        pytest.param({"XDG_RUNTIME_DIR": ""}, id="empty"),
        pytest.param({"XDG_RUNTIME_DIR": "{}/missing"}, id="missing"),
        pytest.param({"XDG_RUNTIME_DIR": "{}/wide"}, id="0755"),
        pytest.param({"XDG_RUNTIME_DIR": "{}/foreign"}, id="foreign", marks=needs_root),
        pytest.param({"XDG_RUNTIME_DIR": "{}/" + "long" * 20}, id="too long for a socket"),
    ],
)
def test_without_a_private_one_it_lies_in_the_temporary_folder(home: Home, environ: Mapping[str, str]) -> None:
    """In a folder per user; this only names it, `files.private_folder` makes it."""
    for name, mode in (("wide", 0o755), ("foreign", 0o700), ("long" * 20, 0o700)):
        (home.folder / name).mkdir(mode=mode)
    (home.folder / "wide").chmod(0o755)
    if os.geteuid() == 0:
        os.chown(home.folder / "foreign", SOMEBODY, SOMEBODY)
    given = {name: value.format(home.folder) for name, value in environ.items()}

    assert settings.runtime_folder("work", given).parent.parent in {
        Path(tempfile.gettempdir()) / f"platform-manager-{os.geteuid()}",
        Path(f"/tmp/platform-manager-{os.geteuid()}"),
    }


@given(tailnet=st.from_regex(settings.TAILNET_NAME, fullmatch=True), given_folder=st.text("a/", min_size=1))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_socket_in_it_has_a_path_that_the_kernel_takes(tailnet: str, given_folder: str) -> None:
    """Under 108 bytes, whatever the tailnet is called."""
    folder = settings.runtime_folder(tailnet, {"XDG_RUNTIME_DIR": f"/{given_folder}"})

    assert len(os.fsencode(folder / "tailscaled.sock")) < 108


@pytest.fixture
def running_lab(home: Home) -> dict[str, str]:
    """Have something listen where the lab's headscale would, and return the environment that finds it."""
    return {"XDG_RUNTIME_DIR": str(home.runtime)}


def listen(environ: Mapping[str, str]) -> socket.socket:
    """Listen on the lab's socket."""
    path = settings.lab_socket(environ)
    path.parent.mkdir(parents=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def test_a_running_lab_is_taken_when_nobody_named_a_tailnet(tmp_path: Path, running_lab: dict[str, str]) -> None:
    """And the record says so."""
    with listen(running_lab):
        loaded = load(tmp_path, **running_lab)

    assert (loaded.tailnet, loaded.lab_by_default) == ("lab", True)


@pytest.mark.parametrize(
    ("environ", "tailnet"),
    [
        ({"TAILNET": "default"}, "default"),
        ({"TAILNET": "lab"}, "lab"),
        ({"TS_HOSTNAME": "box"}, "default"),
        ({"VAULT": "bitwarden"}, "default"),
    ],
)
def test_a_running_lab_is_not_taken_when_somebody_said_something(
    tmp_path: Path, running_lab: dict[str, str], environ: dict[str, str], tailnet: str
) -> None:
    """By TAILNET or any TS_ variable; or which vault it is, which has a person's own keys."""
    with listen(running_lab):
        loaded = load(tmp_path, **running_lab, **environ)

    assert (loaded.tailnet, loaded.lab_by_default) == (tailnet, False)


def test_an_empty_variable_says_nothing_about_a_tailnet(tmp_path: Path, running_lab: dict[str, str]) -> None:
    """It counts as unset."""
    with listen(running_lab):
        assert load(tmp_path, TAILNET="", TS_AUTHKEY="", **running_lab).tailnet == "lab"


def test_a_running_lab_is_not_taken_beside_an_env_file(tmp_path: Path, running_lab: dict[str, str]) -> None:
    """Even an empty one: somebody has settled here."""
    write(tmp_path / ".env", "")
    with listen(running_lab):
        assert load(tmp_path, **running_lab).tailnet == "default"


def test_a_running_lab_is_not_taken_when_default_has_a_node(
    tmp_path: Path, home: Home, running_lab: dict[str, str]
) -> None:
    """Its state is there."""
    write(home.state / "platform-manager" / "default" / "tailscaled.state", "{}")
    with listen(running_lab):
        assert load(tmp_path, **running_lab).tailnet == "default"


def test_a_lab_whose_socket_nobody_answers_is_not_taken(tmp_path: Path, running_lab: dict[str, str]) -> None:
    """The file that a killed lab leaves claims nothing."""
    listen(running_lab).close()

    assert settings.lab_socket(running_lab).exists()
    assert load(tmp_path, **running_lab).tailnet == "default"


def test_a_temporary_folder_too_deep_for_a_socket_is_no_failure(
    tmp_path: Path, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking for the lab asks the kernel about a socket there."""
    deep = home.folder / ("deep" * 30)
    deep.mkdir(mode=0o700)

    assert load(tmp_path, XDG_RUNTIME_DIR=str(deep)).tailnet == "default"


def test_the_example_lists_every_setting_with_its_default_commented() -> None:
    """The names that settings.py reads, and no other; uncommented, it changes nothing."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    listed = [match[1] for line in lines if (match := re.match(r"#([A-Z][A-Z0-9_]+)=", line))]

    assert [line for line in lines if line and not line.startswith("#")] == []
    assert sorted(listed) == sorted(_variables_of_settings() - GIVEN_BY_THE_SYSTEM)


def test_a_tailnet_of_a_runs_own_hears_nothing_of_what_a_person_has_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a key of theirs, nor their vault, nor their hosts; the rest of the environment stays."""
    ours = {"TS_AUTHKEY": "x", "TAILNET": "y", "VAULT": "bitwarden", "INVENTORY": "/z", "PROGRAMS_SOURCE": "go"}
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    loaded = settings.load(settings.environment_for("bench"), root=tmp_path)

    assert (loaded.auth_key, loaded.tailnet, loaded.vault) == (None, "bench", "age")
    assert (loaded.inventory, loaded.programs_source) == (tmp_path / "inventory", "go")


def test_the_example_uncommented_is_the_defaults(tmp_path: Path) -> None:
    """So that the defaults it shows are true."""
    text = (ROOT / ".env.example").read_text()
    write(tmp_path / ".env", re.sub(r"^#(?=[A-Z][A-Z0-9_]+=)", "", text, flags=re.MULTILINE), 0o644)
    by_example = load(tmp_path)
    (tmp_path / ".env").unlink()

    assert by_example == load(tmp_path)


def _variables_of_settings() -> set[str]:
    """Return the names that settings.py reads, by `….get("NAME")` or from a constant of names."""
    names = set(settings.DAEMON_KNOBS)
    for node in ast.walk(ast.parse(Path(settings.__file__).read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), *_]):
                names.add(name)
            case ast.Subscript(slice=ast.Constant(value=str(name)), value=ast.Name(id="values" | "environ" | "shared")):
                names.add(name)
    return names
