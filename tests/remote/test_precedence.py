"""Which value wins: Ansible's order, weakest first, each step proved against the one below it."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ConfigurationFailure
from tasks.remote import ansible, precedence
from tasks.remote.document import Scalar
from tasks.remote.precedence import Merged


def merged(folder: Path, **texts: str) -> Merged:
    """Write files, `__` for the slash and no ending, and merge what they say."""
    for name, text in texts.items():
        file = folder / (name.replace("__", "/") + ".yml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return precedence.merge(ansible.read(folder), folder)


def value(result: Merged, host: str, name: str = "x") -> str:
    """Return the variable of a host."""
    node = next(entry for entry in result.entries if entry.name == host).variables[name]
    assert isinstance(node, Scalar)
    return node.text


LADDER = {
    "all in the inventory": ("hosts", "all: {vars: {x: v}, children: {top: {children: {web: {hosts: {h: }}}}}}"),
    "a group above": (
        "hosts",
        "all: {vars: {x: no}, children: {top: {vars: {x: v}, children: {web: {hosts: {h: }}}}}}",
    ),
    "the group": ("hosts", "all: {children: {top: {vars: {x: no}, children: {web: {vars: {x: v}, hosts: {h: }}}}}}"),
    "group_vars/all": ("group_vars__all", "x: v"),
    "group_vars of a group above": ("group_vars__top", "x: v"),
    "group_vars of the group": ("group_vars__web", "x: v"),
    "the folder of the group": ("group_vars__web__z", "x: v"),
    "the host in the inventory": ("hosts", "all: {children: {top: {children: {web: {hosts: {h: {x: v}}}}}}}"),
    "host_vars": ("host_vars__h", "x: v"),
}


def test_each_step_wins_over_the_one_before(tmp_path: Path) -> None:
    """From `all` up to host_vars/; a group's file wins over everything in the inventory but the host itself."""
    files: dict[str, str] = {}
    for step, (name, text) in LADDER.items():
        # A folder is read before the file of the same name: `web/` sorts before `web.yml`.
        files.pop("group_vars__web" if name == "group_vars__web__z" else "", None)
        files[name] = (
            text.replace("v", step.replace(" ", "-")) if name != "hosts" else text.replace("x: v", f"x: {step!r}")
        )

        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        assert value(merged(folder, **files), "h").replace("-", " ") == step


def test_among_equals_the_priority_decides_then_the_name(tmp_path: Path) -> None:
    """ansible_group_priority, then the alphabet."""
    text = "a: {vars: {x: a, y: a, ansible_group_priority: 9}, hosts: {h: }}\nb: {vars: {x: b}, hosts: {h: }}\n"
    result = merged(tmp_path, hosts=text + "c: {vars: {x: c, z: c}, hosts: {h: }}\n")

    assert [value(result, "h", name) for name in "xyz"] == ["a", "a", "c"]
    assert result.entries[0].groups == ("b", "c", "a")


def test_a_priority_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    """It would sort somewhere."""
    with pytest.raises(ConfigurationFailure, match=r"expected a whole number for ansible_group_priority, got a text$"):
        merged(tmp_path, hosts="a: {vars: {ansible_group_priority: high}, hosts: {h: }}")


def test_a_host_in_no_group_is_ungrouped(tmp_path: Path) -> None:
    """As Ansible calls it; group_vars/ungrouped.yml holds for it."""
    result = merged(tmp_path, hosts="all: {hosts: {h: }}", group_vars__ungrouped="x: lone")

    assert (result.entries[0].groups, value(result, "h")) == (("ungrouped",), "lone")


def test_an_encrypted_file_of_variables_is_noted_once(tmp_path: Path) -> None:
    """Two hosts share it."""
    secret = "$ANSIBLE_VAULT;1.1;AES256\n61\n"
    result = merged(tmp_path, hosts="web: {hosts: {a: , b: }}", group_vars__all__vault=secret)

    assert result.unread == (tmp_path / "group_vars/all/vault.yml",)


def test_a_circle_is_named() -> None:
    """From one of its groups round to itself."""
    with pytest.raises(ConfigurationFailure, match=r"^the inventory's groups go in a circle: a → b → c → a$"):
        precedence.depths({"all": set(), "a": {"c", "all"}, "b": {"a"}, "c": {"b"}, "below": {"c"}})


def test_a_long_chain_of_groups_is_no_problem() -> None:
    """Nothing here calls itself."""
    chain = {"all": set(), **{f"g{n}": {f"g{n - 1}" if n else "all"} for n in range(5000)}}

    assert precedence.depths(chain)["g4999"] == 5000


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=2)))
def test_every_graph_has_depths_or_a_circle(graph: dict[str, set[str]]) -> None:
    """A group lies deeper than every group above it."""
    parents = {name: graph.get(name, set()) for name in "abcdef"}
    try:
        depths = precedence.depths(parents)
    except ConfigurationFailure as circle:
        steps = circle.why.split(" → ")
        assert steps[0] == steps[-1]
        assert all(above in parents[below] for above, below in pairwise(steps))
    else:
        assert all(depths[name] > depths[above] for name in parents for above in parents[name])
