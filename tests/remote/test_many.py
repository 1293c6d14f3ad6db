"""One run over many hosts as a person or a program sees it: on the descriptors, in files, as one document."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from tasks.remote import many
from tasks.remote.fanout import Limits
from tasks.remote.hostkeys import HostKey
from tasks.remote.reporting import Form
from tests.remote import servers
from tests.remote.crowd import Crowd
from tests.remote.servers import says

Serve = Callable[..., servers.SSHServer]


@pytest.fixture
def crowd(proxy: servers.Socks, host_key: paramiko.PKey, tmp_path: Path, serve: Serve) -> Crowd:
    """Return three hosts: two say the same, one fails with bytes that are no text."""
    crowd = Crowd(proxy, tmp_path, HostKey(host_key.get_name(), host_key.get_base64()))
    crowd.add("web1", serve({"work": says(b"same\n")}).port)
    crowd.add("web2", serve({"work": says(b"same\n")}).port)
    crowd.add("db", serve({"work": says(b"\x1b[2J\xff\n", b"oops", 3)}).port)
    return crowd


def run(crowd: Crowd, form: Form, names: tuple[str, ...] = ("web1", "web2", "db")) -> int:
    """Run the command on them."""
    return many.run(names, many.Request("work", crowd.ways(), Limits(), form, coloured=False))


def test_lines_arrive_behind_the_names_and_the_summary_follows(crowd: Crowd, capfd: pytest.CaptureFixture[str]) -> None:
    """What hosts wrote on stdout is on stdout, all else on stderr; the status is the worst."""
    status = run(crowd, Form())
    shown = capfd.readouterr()

    assert status == 3
    assert sorted(shown.out.splitlines()) == ["db   | \\x1b[2J\\xff", "web1 | same", "web2 | same"]
    assert sorted(shown.err.splitlines()[:2]) == ["db   | exit 3", "db   | oops"]
    assert shown.err.splitlines()[3].split() == ["host", "result", "seconds", "why"]
    assert shown.err.splitlines()[4].startswith("db    exit 3  ")
    assert shown.err.splitlines()[-1].startswith("2 of 3 done, 1 failed in ")


def test_what_the_inventory_says_in_vain_is_told(crowd: Crowd, capfd: pytest.CaptureFixture[str]) -> None:
    """On stderr, with the host's name."""
    crowd.hosts["web1"] = replace(crowd.hosts["web1"], not_applied=("ansible_timeout",))
    run(crowd, Form(), ("web1",))

    assert capfd.readouterr().err.splitlines()[0] == "web1: not applied: ansible_timeout"


def test_equal_output_is_shown_once(crowd: Crowd, capfd: pytest.CaptureFixture[str]) -> None:
    """Under the hosts that wrote it."""
    run(crowd, Form(fold=True))

    assert capfd.readouterr().out == "── web1, web2 (2 hosts) ──\nsame\n── db ──\n\\x1b[2J\\xff\noops\n"


def test_json_is_one_document_that_loses_nothing(crowd: Crowd, capfd: pytest.CaptureFixture[str]) -> None:
    """And stderr says nothing."""
    status = run(crowd, Form(json=True), ("web1", "db", "nosuch"))
    shown = capfd.readouterr()
    document = json.loads(shown.out)

    assert (shown.err, document["exit_status"], status) == ("", 69, 69)
    assert document["counts"] == {"hosts": 3, "done": 1, "cancelled": 0, "unknown": 0, "failed": 2}
    assert [host["host"] for host in document["hosts"]] == ["web1", "db", "nosuch"]
    assert (document["hosts"][0]["stdout"], document["hosts"][0]["ok"]) == ("same\n", True)
    assert document["hosts"][1]["stdout_base64"] == "G1sySv8K"
    assert (document["hosts"][2]["cause"], "stdout" in document["hosts"][2]) == ("unavailable", False)


def test_a_folder_has_every_output_and_the_list_of_those_that_failed(crowd: Crowd, tmp_path: Path) -> None:
    """Byte for byte."""
    folder = tmp_path / "out"
    run(crowd, Form(folder=folder))

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "web1.out": b"same\n",
        "web2.out": b"same\n",
        "db.out": b"\x1b[2J\xff\n",
        "db.err": b"oops",
        "failed.txt": b"db\n",
    }


def test_a_folder_keeps_nothing_of_an_earlier_run_of_a_host_that_is_not_reached_now(
    crowd: Crowd, tmp_path: Path
) -> None:
    """What it wrote then would pass for what it writes now; files of hosts that were not chosen are their owner's."""
    folder = tmp_path / "out"
    run(crowd, Form(folder=folder))
    for name in ("web1", "db"):
        crowd.proxy.routes[f"{name}.tail.test:22"] = servers.REFUSED
        crowd.refused[f"{name}.tail.test"] = "connection was refused"
    run(crowd, Form(folder=folder), ("web1", "db"))

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "web2.out": b"same\n",
        "failed.txt": b"web1\ndb\n",
    }


def test_a_reader_that_goes_away_ends_the_run(crowd: Crowd) -> None:
    """As with every program in a pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    kept = os.dup(1)
    os.dup2(writer, 1)
    try:
        with pytest.raises(BrokenPipeError):
            run(crowd, Form())
    finally:
        os.dup2(kept, 1)
        for descriptor in (kept, writer):
            os.close(descriptor)
