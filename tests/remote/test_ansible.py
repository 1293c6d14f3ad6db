"""Ansible's inventory files: which are read, what stands in them, and what is an error instead of a warning."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigurationFailure
from tasks.remote import ansible
from tasks.remote.ansible import ALL


def write(folder: Path, **texts: str) -> Path:
    """Write files, named with _ for the dot, and return their folder."""
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def refusal(folder: Path) -> str:
    """Return why the inventory is refused, without the folder."""
    with pytest.raises(ConfigurationFailure) as caught:
        ansible.read(folder)
    return str(caught.value).replace(f"{folder}/", "")


def test_groups_hosts_and_children_are_read(tmp_path: Path) -> None:
    """A group may be described in several places."""
    write(
        tmp_path,
        hosts_yml="""
all:
  hosts: {lone: }
  children:
    site:
      children: {web: }
web:
  hosts:
    web[01:02]:
      ansible_port: 2222
  vars: {x: 1}
""",
    )

    source = ansible.read(tmp_path)

    assert list(source.hosts) == ["lone", "web01", "web02"]
    assert set(source.groups["web"].hosts) == {"web01", "web02"}
    assert {name: group.parents for name, group in source.groups.items()} == {
        ALL: set(),
        "site": {ALL},
        "web": {"site"},
    }
    assert list(source.groups["web"].variables) == ["x"]


def test_every_yaml_file_of_the_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """What is no inventory is passed over: notes, backups, dotfiles, folders."""
    write(
        tmp_path,
        a_yml="all: {hosts: {one: }}",
        b_yaml="all: {hosts: {two: }}",
        c_json='{"all": {"hosts": {"three": {}}}}',
    )
    write(tmp_path, README_md="# hi", hosts_bak="[web]", hosts_cfg="x")
    (tmp_path / ".hidden").write_text("- x")
    (tmp_path / "hosts.yml~").write_text("- x")
    (tmp_path / "group_vars").mkdir()

    assert list(ansible.read(tmp_path).hosts) == ["one", "two", "three"]


def test_one_file_is_an_inventory_too(tmp_path: Path) -> None:
    """INVENTORY may name it."""
    write(tmp_path, my_yml="all: {hosts: {one: }}")

    assert list(ansible.read(tmp_path / "my.yml").hosts) == ["one"]


@pytest.mark.parametrize("name", ["hosts", "hosts.ini", "aws.py"])
def test_another_kind_of_inventory_is_an_error_that_tells_how_to_convert_it(tmp_path: Path, name: str) -> None:
    """Passing over it would lose hosts."""
    (tmp_path / name).write_text("[web]\nweb1\n")
    what = Path(name).suffix or "a file without an ending"

    assert refusal(tmp_path) == (
        f"{name}: expected an inventory in YAML (.yml), got {what}\n"
        f"  next: ansible-inventory -i {name} --list --yaml > {name}.yml; mv {name} {name}.orig"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("- web", "hosts.yml:1:1: expected groups at the top, got a list"),
        ("web", "hosts.yml:1:1: expected groups at the top, got a text"),
        ("all: {host: {a: }}", "hosts.yml:1:7: expected hosts, got 'host'"),
        ("all: {wat: {a: }}", "hosts.yml:1:7: expected one of hosts, children, vars, got 'wat'"),
        ("all: {hosts: [a]}", "hosts.yml:1:14: expected hosts as keys, such as `web1:`, got a list"),
        ("all: {hosts: a}", "hosts.yml:1:14: expected hosts as keys, such as `web1:`, got a text"),
        ("all: {children: [a]}", "hosts.yml:1:17: expected groups as keys, such as `web:`, got a list"),
        ("all: {vars: [a]}", "hosts.yml:1:13: expected variables as keys, got a list"),
        ("all: {hosts: {no: }}", 'hosts.yml:1:15: expected a host\'s name, got a boolean; quote it: "no"'),
        ("all: {hosts: {10: }}", 'hosts.yml:1:15: expected a host\'s name, got a number; quote it: "10"'),
        ("12: {hosts: {a: }}", 'hosts.yml:1:1: expected a group\'s name, got a number; quote it: "12"'),
        ("all: {hosts: {'-x': }}", "hosts.yml:1:15: expected a host name or an address, got '-x'"),
        ("all: {hosts: {'a[1:': }}", "hosts.yml:1:15: expected a range such as [01:20] or [a:f], got 'a[1:'"),
        ("web: {children: {all: }}", "hosts.yml:1:18: expected a group, got `all`, which every group is in"),
        ("plugin: aws_ec2\nregions: [x]", "hosts.yml:1:1: expected groups, got the settings of an inventory plugin"),
    ],
)
def test_what_is_no_inventory_is_refused_with_its_place(tmp_path: Path, text: str, why: str) -> None:
    """Ansible warns and goes on with what is left."""
    write(tmp_path, hosts_yml=text)

    assert refusal(tmp_path) == why


def test_the_number_of_hosts_has_an_end(tmp_path: Path) -> None:
    """Eleven ranges of ten thousand are a mistake."""
    hosts = "".join(f"    h{letter}[1:10000]:\n" for letter in "abcdefghijk")
    write(tmp_path, hosts_yml=f"all:\n  hosts:\n{hosts}")

    assert refusal(tmp_path) == "hosts.yml:13:5: expected at most 100000 hosts, got more"


def test_an_encrypted_file_is_noted_and_not_read(tmp_path: Path) -> None:
    """Only Ansible has its password."""
    write(tmp_path, secret_yml="$ANSIBLE_VAULT;1.1;AES256\n61\n")

    assert ansible.read(tmp_path).unread == [tmp_path / "secret.yml"]
    assert ansible.read_variables(tmp_path / "secret.yml") is None


def test_variable_files_go_by_the_name_that_they_are_for(tmp_path: Path) -> None:
    """NAME, NAME.yml and everything below NAME/; a dot in a host's name is no ending."""
    write(tmp_path, web_yml="", all="", db_bak="")
    (tmp_path / "web1.tail.test").write_text("")
    (tmp_path / "web").mkdir()
    write(tmp_path / "web", b_yml="", a_yml="")

    assert ansible.variable_files(tmp_path) == {
        "all": [tmp_path / "all"],
        "web": [tmp_path / "web" / "a.yml", tmp_path / "web" / "b.yml", tmp_path / "web.yml"],
        "web1.tail.test": [tmp_path / "web1.tail.test"],
    }
    assert ansible.variable_files(tmp_path / "missing") == {}


WORDS = st.sampled_from(
    ["all", "hosts", "children", "vars", "a", "b", "w[1:3]", "no", "-x", "ansible_host", "{{ x }}", "1"]
)
TREES = st.recursive(
    st.none() | WORDS | st.text(max_size=5) | st.integers(),
    lambda inner: st.dictionaries(WORDS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tree=TREES, cut=st.integers(min_value=0, max_value=400))
def test_no_file_ends_in_anything_but_hosts_or_a_failure(tmp_path: Path, tree: object, cut: int) -> None:
    """Whatever somebody writes, and however much of it was saved."""
    import json

    (tmp_path / "hosts.yml").write_text(json.dumps({"all": tree}, indent=1)[: cut or None])
    try:
        source = ansible.read(tmp_path)
    except ConfigurationFailure:
        return

    assert {name for group in source.groups.values() for name in group.hosts} == set(source.hosts)
