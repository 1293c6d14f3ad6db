"""What is said of a copy while it goes on."""

from pathlib import Path

import pytest

from tasks import copying
from tasks.copying import Meter
from tasks.remote.places import Storage
from tests.conftest import Inv
from tests.remote.copies import Shell


def test_progress_has_a_rate_and_what_is_left() -> None:
    meter = Meter(30_000_000)
    meter.hear(10_000_000)

    assert meter.line(2.0) == "10.0 MB, 5.0 MB/s, 4 s left"


def test_without_a_total_nothing_is_said_of_the_rest() -> None:
    meter = Meter(None)
    meter.hear(1_000_000)

    assert meter.line(2.0) == "1.0 MB, 0.5 MB/s"
    assert Meter(10).line(0.0) == "0.0 MB, 0.0 MB/s"


def test_what_is_to_come_may_be_known_later() -> None:
    """A host tells the size of a file when it is asked for it."""
    meter = Meter(None)
    meter.expect(2_000_000)
    meter.hear(1_000_000)

    assert meter.line(2.0) == "1.0 MB, 0.5 MB/s, 2 s left"


@pytest.mark.parametrize(("to", "path"), [("new", "new"), ("new/", "new/log"), ("deep/new/", "deep/new/log")])
def test_a_target_with_a_slash_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str, path: str) -> None:
    (tmp_path / "log").write_text("x")
    monkeypatch.chdir(tmp_path)
    copy = copying.from_hosts(str(tmp_path / "log"), to, many=False)

    assert copy.make(Storage(Shell(tmp_path), "web"), "web", Meter(None)).path == path
    assert (tmp_path / path).read_text() == "x"


def test_nothing_is_drawn_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    meter = Meter(10)
    meter.hear(10)
    meter.end()

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (200_000_000, "200.0 MB")])
def test_a_size_is_told_in_the_unit_that_fits_it(count: int, text: str) -> None:
    assert copying.size_text(count) == text


@pytest.mark.parametrize(("given", "target"), [("/srv/x", "/srv/x"), ("", "./site")])
def test_the_target_is_the_given_one_or_the_name_at_home(given: str, target: str) -> None:
    assert copying.target_there(given, Path("/here/site/")) == target


def test_dry_says_what_would_be_copied(inv: Inv) -> None:
    put = inv("--dry", "remote.put", "--host=web", "--file=/etc/hosts")
    got = inv("--dry", "remote.get", "--host=web", "--file=/etc/hosts")

    assert put.stderr == "would copy /etc/hosts to ./hosts on web\n"
    assert got.stderr == "would copy /etc/hosts from web to .\n"
    assert inv("remote.put", "--host=web").stderr == "error: --file: expected a file or a folder of this machine\n"


def test_both_a_host_and_many_is_a_mistake(inv: Inv) -> None:
    assert inv("remote.put", "--host=a", "--hosts=b", "--file=/etc/hosts").exit_status == 64
