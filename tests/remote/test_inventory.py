"""The hosts: the inventory's and the tailnet's as one list, each value checked before anything is dialled."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigurationFailure, Failure, Unavailable
from tasks.remote import inventory
from tasks.remote.inventory import Host, Inventory
from tasks.tailnet import Peer
from tests.conftest import ROOT
from tests.remote.conftest import WEB, tailnet


def load(folder: Path, hosts: str) -> Inventory:
    """Load an inventory whose hosts are these, in a folder inventory/ of the project."""
    (folder / "inventory").mkdir(exist_ok=True)
    (folder / "inventory" / "hosts.yml").write_text(f"all: {{hosts: {{{hosts}}}}}")
    return inventory.load(folder / "inventory")


def test_no_inventory_is_fine(tmp_path: Path) -> None:
    """The tailnet has hosts of its own."""
    assert inventory.load(tmp_path / "nothing") == Inventory({})


def test_the_connection_variables_make_a_host(tmp_path: Path) -> None:
    """Both spellings of each; a relative key lies beside the inventory folder."""
    old = "b: {ansible_ssh_host: db, ansible_ssh_port: 23, ansible_ssh_user: u, ansible_ssh_private_key_file: /k}"
    new = "a: {ansible_host: 100.64.0.7, ansible_port: 2222, ansible_user: deploy, ansible_private_key_file: keys/id}"

    assert load(tmp_path, f"{new}, {old}, c: ").hosts == {
        "a": Host("a", "100.64.0.7", 2222, "deploy", tmp_path / "keys/id", ("ungrouped",)),
        "b": Host("b", "db", 23, "u", Path("/k"), ("ungrouped",)),
        "c": Host("c", "c", groups=("ungrouped",)),
    }


def test_a_key_in_the_home_folder_is_found(tmp_path: Path) -> None:
    """`~` is the person's."""
    host = load(tmp_path, "a: {ansible_ssh_private_key_file: ~/.ssh/id}").host("a")

    assert host.identity == Path.home() / ".ssh/id"


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ("ansible_port: 022", "ansible_port: expected a port from 1 to 65535, got '022'"),
        ("ansible_port: 99999", "ansible_port: expected a port from 1 to 65535, got '99999'"),
        ("ansible_port: yes", 'expected a text for ansible_port, got a boolean; quote it: "yes"'),
        ("ansible_port: [1]", "expected a text for ansible_port, got a list"),
        ("ansible_host: 1.5", 'expected a text for ansible_host, got a number; quote it: "1.5"'),
        ("ansible_host: -x", "ansible_host: expected a host name or an address, got '-x'"),
        ("ansible_user: 1000", 'expected a text for ansible_user, got a number; quote it: "1000"'),
        ("ansible_user: $(id)", "ansible_user: expected a user name, got '$(id)'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_an_error_with_its_place(tmp_path: Path, variables: str, why: str) -> None:
    """Before anything is dialled, for the whole inventory."""
    where = f"{tmp_path}/inventory/hosts.yml:1:"
    column = 19 + len(variables.split(" ")[0]) + 1

    with pytest.raises(ConfigurationFailure) as caught:
        load(tmp_path, f"a: {{{variables}}}")
    assert str(caught.value) == f"{where}{column}: {why}"


@pytest.mark.parametrize("path", ['"~nobodyatall/x"', '"a\\0b"'])
def test_a_path_that_is_none_is_an_error(tmp_path: Path, path: str) -> None:
    """An unknown user's home, a character that no path has."""
    with pytest.raises(ConfigurationFailure, match=r"^expected the path of a private key, got "):
        load(tmp_path, f"a: {{ansible_ssh_private_key_file: {path}}}")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ("ansible_host: '{{ ip }}'", "ansible_host is a Jinja expression, which only Ansible can read"),
        ("ansible_user: '{% raw %}'", "ansible_user is a Jinja expression, which only Ansible can read"),
        ("ansible_user: !vault x", "ansible_user is an ansible-vault secret, which only Ansible can read"),
        ("ansible_connection: winrm", "ansible_connection is 'winrm'; only ssh is spoken here"),
    ],
)
def test_a_value_that_only_ansible_can_read_is_refused_when_the_host_is_used(
    tmp_path: Path, variables: str, problem: str
) -> None:
    """It is listed all the same; other hosts are not held up."""
    loaded = load(tmp_path, f"a: {{{variables}}}, b: ")

    assert loaded.hosts["a"].problem.endswith(problem)
    assert loaded.host("b").name == "b"
    with pytest.raises(ConfigurationFailure, match=r"^host a cannot be used: "):
        loaded.host("a")


def test_a_jinja_value_that_we_do_not_use_harms_nothing(tmp_path: Path) -> None:
    """Playbooks have many."""
    assert load(tmp_path, "a: {app_url: '{{ x }}', secret: !vault x}").host("a").problem == ""


def test_what_ansible_would_obey_and_we_do_not_is_named(tmp_path: Path) -> None:
    """A ProxyJump that nobody applies must not go unsaid."""
    names = "ansible_ssh_common_args: -J x, ansible_become: true, ansible_password: x, ansible_python_interpreter: p"
    host = load(tmp_path, f"a: {{{names}, ansible_connection: ssh, ansible_ssh_host: b}}").host("a")

    assert host.not_applied == ("ansible_become", "ansible_password", "ansible_ssh_common_args")


def test_every_peer_is_a_host_and_its_tags_are_groups() -> None:
    """Even with no inventory at all."""
    phone = Peer("phone", "phone.tail.test", ("100.64.0.2",), online=False, tags=("tag:a-b", "tag:c"))

    assert inventory.with_tailnet(Inventory({}), tailnet(WEB, phone)).hosts == {
        "web": Host("web", "web.tail.test", groups=("tag_web",), peer=WEB),
        "phone": Host("phone", "phone.tail.test", groups=("tag_a_b", "tag_c"), peer=phone),
    }


def test_a_host_of_the_inventory_is_joined_with_its_peer(tmp_path: Path) -> None:
    """By short name, full name or address; it is not listed twice."""
    loaded = load(tmp_path, "shop: {ansible_host: web.tail.test, ansible_user: u}, byip: {ansible_host: 100.64.0.1}")

    joined = inventory.with_tailnet(loaded, tailnet(WEB)).hosts

    assert {name: (host.groups, host.peer) for name, host in joined.items()} == {
        "shop": (("tag_web",), WEB),
        "byip": (("tag_web",), WEB),
    }


@pytest.mark.parametrize("name", ["web.tail.test", "100.64.0.1"])
def test_of_several_hosts_on_one_machine_its_names_mean_the_one_on_the_usual_port(tmp_path: Path, name: str) -> None:
    """As in the ssh configuration; where all have ports of their own, the first."""
    ports = "box: {ansible_host: web, ansible_port: 2222}, other: {ansible_host: web, ansible_port: 2223}"
    behind = inventory.with_tailnet(load(tmp_path, ports), tailnet(WEB))
    beside = inventory.with_tailnet(load(tmp_path, f"{ports}, web: "), tailnet(WEB))

    assert behind.host(name, tailnet(WEB)).name == "box"
    assert beside.host(name, tailnet(WEB)).name == "web"


def test_two_peers_of_one_short_name_are_two_hosts() -> None:
    """A machine shared from another tailnet keeps its full name."""
    other = dataclasses.replace(WEB, dns_name="web.other.test", addresses=("100.64.0.3",))

    assert list(inventory.with_tailnet(Inventory({}), tailnet(WEB, other)).hosts) == ["web", "web.other.test"]


def test_a_peer_whose_name_is_no_name_is_left_out() -> None:
    """Names come from other people's machines."""
    hostile = Peer("-oX", "-oX", (), online=True)

    assert inventory.with_tailnet(Inventory({}), tailnet(hostile)).hosts == {}


def test_a_host_is_found_by_every_name_it_has(tmp_path: Path) -> None:
    """The inventory's settings hold whichever name is used."""
    joined = inventory.with_tailnet(load(tmp_path, "web: {ansible_user: u}"), tailnet(WEB))

    for name in ("web", "WEB", "web.tail.test", "100.64.0.1"):
        assert joined.host(name, tailnet(WEB)).user == "u"
    assert joined.host("10.0.0.1", tailnet(WEB)) == Host("10.0.0.1", "10.0.0.1")
    assert joined.host("controller", tailnet(WEB)) == Host("controller", "controller")


def test_an_unknown_host_is_named_with_its_near_misses() -> None:
    """No resolver is asked about a bare name: it would tell the world."""
    joined = inventory.with_tailnet(Inventory({}), tailnet(WEB))

    with pytest.raises(Unavailable) as near:
        joined.host("wbe", tailnet(WEB))
    with pytest.raises(Unavailable) as far:
        joined.host("printer", tailnet(WEB))
    assert str(near.value) == "unknown host wbe: did you mean web?\n  next: `inv remote.hosts`"
    assert str(far.value) == (
        "unknown host printer: it is neither in the inventory nor on the tailnet\n  next: `inv remote.hosts`"
    )


READ_AND_TIME = """
import sys, time
from pathlib import Path
from tasks.remote import inventory
taken = []
for _ in range(3):
    started = time.process_time()
    count = len(inventory.load(Path(sys.argv[1])).hosts)
    taken.append(time.process_time() - started)
print(count, min(taken))
"""


def test_ten_thousand_hosts_are_read_within_a_second(tmp_path: Path) -> None:
    """The least CPU time of three, because the machine may be busy, and of a process that no coverage slows down."""
    lines = (f"h{n}.x: {{ansible_host: 100.64.{n // 250}.{n % 250}, ansible_port: 22}}" for n in range(10_000))
    text = ", ".join(lines)
    assert len(load(tmp_path, text).hosts) == 10_000
    plain = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    argv = [sys.executable, "-c", READ_AND_TIME, str(tmp_path / "inventory")]
    ended = subprocess.run(argv, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=50, check=True)
    hosts, seconds = ended.stdout.split()

    assert hosts == "10000"
    assert float(seconds) < 1.0


VALUES = st.sampled_from(["a", "-x", "{{ x }}", "22", "no", "~", "[1]", "'$(id)'", "!vault x", '"\\0"', "1:30", "{}"])
NAMES = st.sampled_from(
    ["ansible_host", "ansible_port", "ansible_user", "ansible_ssh_private_key_file", "ansible_connection"]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(variables=st.dictionaries(NAMES, VALUES, max_size=3), asked=st.text(max_size=20))
def test_no_variables_and_no_name_end_in_a_traceback(tmp_path: Path, variables: dict[str, str], asked: str) -> None:
    """A host or a failure, nothing else."""
    text = ", ".join(f"{name}: {value}" for name, value in variables.items())
    try:
        loaded = load(tmp_path, f"h: {{{text}}}")
        loaded.host("h")
        loaded.host(asked)
    except Failure:
        return


def test_the_example_in_the_project_is_valid() -> None:
    """A fresh clone lists the tailnet's hosts."""
    example = Path(__file__).resolve().parents[2] / "inventory"

    assert inventory.load(example) == Inventory({})
