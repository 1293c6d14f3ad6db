"""Provision: the order of the ways, one install at a time, and no half-done one ever used."""

import threading
from pathlib import Path

import pytest

from tasks import process
from tasks.errors import ConfigurationFailure, Refused, Unavailable
from tasks.programs.pins import pinned
from tasks.programs.provision import ensure, find
from tests.conftest import Home
from tests.programs.conftest import put_program
from tests.programs.servers import Site, archive, pin, program
from tests.programs.test_build import FAKE_GO
from tests.waiting import until

THREE_WAYS = (
    "  next: one of three: put alpha 1.2.3 or newer on PATH; "
    "let this machine reach {host} (PROGRAMS_SOURCE=download); "
    "install Go 1.26.6 or newer and let it reach its module proxy (PROGRAMS_SOURCE=go)"
)


@pytest.fixture
def recipe(home: Home) -> Path:
    """Return a folder with a go.mod that wants Go 1.26.6."""
    folder = home.folder / "recipe"
    folder.mkdir()
    (folder / "go.mod").write_text("module example\n\ngo 1.26.6\n")
    return folder


@pytest.mark.parametrize("version", ["1.2.3", "1.2.10", "v2.0.0"])
@pytest.mark.parametrize("source", ["auto", "path"])
def test_pinned_or_newer_program_on_path_is_used(
    site: Site, home: Home, bin_folder: Path, said: list[str], source: str, version: str
) -> None:
    on_path = put_program(bin_folder, "alpha", f"#!/bin/sh\necho alpha version {version}\n")

    got = ensure(pin(site.url("/alpha"), b""), source=source, cache=home.cache, say=said.append)

    assert (got.version, got.source, got.executable("alpha")) == (version.lstrip("v"), "path", on_path)
    assert said == site.asked == []


@pytest.mark.parametrize("text", ["echo 1.2.2", "echo no version here", "exit 1", "echo 9.9.9; exit 1"])
def test_older_or_broken_program_on_path_is_passed_over(
    site: Site, home: Home, bin_folder: Path, said: list[str], text: str
) -> None:
    put_program(bin_folder, "alpha", f"#!/bin/sh\n{text}\n")
    site.content["/alpha"] = program()

    got = ensure(pin(site.url("/alpha"), program()), source="auto", cache=home.cache, say=said.append)

    assert got.source == "download"


def test_half_of_a_program_on_path_is_passed_over(site: Site, home: Home, bin_folder: Path, said: list[str]) -> None:
    put_program(bin_folder, "alpha", "#!/bin/sh\necho 1.2.3\n")
    content = archive(alpha=program(), alphad=program())
    site.content["/alpha.tgz"] = content
    wanted = pin(site.url("/alpha.tgz"), content, executables=("alpha", "alphad"))

    assert ensure(wanted, source="auto", cache=home.cache, say=said.append).source == "download"


@pytest.mark.parametrize(
    ("text", "why"),
    [(None, "there is no alpha"), ("echo 1.2.2", "{path} is 1.2.2"), ("exit 1", "{path} is not telling its version")],
)
def test_path_alone_says_why_nothing_on_it_will_do(
    site: Site, home: Home, bin_folder: Path, said: list[str], text: str | None, why: str
) -> None:
    if text is not None:
        put_program(bin_folder, "alpha", f"#!/bin/sh\n{text}\n")

    with pytest.raises(Unavailable) as caught:
        ensure(pin(site.url("/alpha"), b""), source="path", cache=home.cache, say=said.append)

    assert str(caught.value).splitlines() == [
        f"there is no alpha 1.2.3 or newer on PATH: {why.format(path=bin_folder / 'alpha')}",
        THREE_WAYS.format(host=site.address.removeprefix("http://")),
    ]
    assert site.asked == []


def test_downloaded_program_is_kept_and_used_again(site: Site, home: Home, bin_folder: Path, said: list[str]) -> None:
    assert bin_folder.exists()
    site.content["/alpha"] = program()
    wanted = pin(site.url("/alpha"), program())

    first = ensure(wanted, source="auto", cache=home.cache, say=said.append)
    again = ensure(wanted, source="download", cache=home.cache, say=said.append)

    assert first == again
    assert site.asked == ["/alpha"]
    assert first.executable("alpha") == home.cache / "programs" / "alpha-1.2.3-download" / "alpha"
    assert process.run(str(first.executable("alpha")), deadline=5.0).text == "1.2.3\n"
    assert find(wanted, source="go", cache=home.cache) is None


def test_go_is_taken_where_the_address_cannot_be_reached(
    home: Home, recipe: Path, bin_folder: Path, said: list[str]
) -> None:
    put_program(bin_folder, "go", FAKE_GO % "1.26.6")

    got = ensure(pin("http://127.0.0.1:9/alpha", b"", recipe=recipe), source="auto", cache=home.cache, say=said.append)

    assert got.source == "go"
    assert said == [
        "downloading alpha 1.2.3 from 127.0.0.1",
        "  not by download: cannot download http://127.0.0.1:9/alpha: connection refused",
        "building alpha 1.2.3 with Go 1.26.6 (some minutes)",
        f"  alpha 1.2.3 is in {home.cache}/programs/alpha-1.2.3-go (0 s)",
    ]


def test_source_go_never_asks_the_address(
    site: Site, home: Home, recipe: Path, bin_folder: Path, said: list[str]
) -> None:
    put_program(bin_folder, "go", FAKE_GO % "1.26.6")
    site.content["/alpha"] = program()

    got = ensure(pin(site.url("/alpha"), program(), recipe=recipe), source="go", cache=home.cache, say=said.append)

    assert got.source == "go"
    assert site.asked == []


def test_no_way_open_is_one_error_that_names_all_three(
    home: Home, recipe: Path, bin_folder: Path, said: list[str]
) -> None:
    assert bin_folder.exists()
    wanted = pin("http://127.0.0.1:9/alpha", b"", recipe=recipe)

    with pytest.raises(Unavailable) as caught:
        ensure(wanted, source="auto", cache=home.cache, say=said.append)

    assert str(caught.value).splitlines() == [
        "cannot get alpha 1.2.3: cannot download http://127.0.0.1:9/alpha: connection refused; there is no go on PATH",
        THREE_WAYS.format(host="127.0.0.1:9"),
    ]


def test_wrong_sum_ends_it_and_nothing_is_kept(
    site: Site, home: Home, recipe: Path, bin_folder: Path, said: list[str]
) -> None:
    """Go would be a way, but a file that somebody changed is not a closed way: it must be heard of."""
    put_program(bin_folder, "go", FAKE_GO % "1.26.6")
    site.content["/alpha"] = program()
    wanted = pin(site.url("/alpha"), b"another content", recipe=recipe)

    with pytest.raises(Refused):
        ensure(wanted, source="auto", cache=home.cache, say=said.append)

    assert [path.name for path in (home.cache / "programs").iterdir()] == ["alpha-1.2.3.lock"]


@pytest.mark.parametrize("content", [program("1.2.4"), b"\x7fELF nothing that runs"])
def test_program_that_does_not_run_as_its_version_is_not_kept(
    site: Site, home: Home, bin_folder: Path, said: list[str], content: bytes
) -> None:
    assert bin_folder.exists()
    site.content["/alpha"] = content

    with pytest.raises(Unavailable) as caught:
        ensure(pin(site.url("/alpha"), content), source="download", cache=home.cache, say=said.append)

    assert str(caught.value).startswith(
        "cannot get alpha 1.2.3: the new alpha does not run as 1.2.3: asked for its version it said "
    )
    assert [path.name for path in (home.cache / "programs").iterdir()] == ["alpha-1.2.3.lock"]


def test_what_a_killed_install_left_is_never_used_and_swept(
    site: Site, home: Home, bin_folder: Path, said: list[str]
) -> None:
    assert bin_folder.exists()
    site.content["/alpha"] = program()
    left = home.cache / "programs" / ".alpha-1.2.3-download.x1y2"
    left.mkdir(parents=True)
    (left / "alpha").write_text("half")

    got = ensure(pin(site.url("/alpha"), program()), source="auto", cache=home.cache, say=said.append)

    assert got.executable("alpha").read_bytes() == program()
    assert not left.exists()


def test_two_at_once_install_it_once_and_the_second_says_that_it_waits(
    site: Site, home: Home, bin_folder: Path, said: list[str]
) -> None:
    assert bin_folder.exists()
    site.content["/alpha"] = program()
    site.open_gate.clear()
    wanted = pin(site.url("/alpha"), program())
    got = []

    def install() -> None:
        got.append(ensure(wanted, source="auto", cache=home.cache, say=said.append))

    threads = [threading.Thread(target=install) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: any(line.startswith("waiting for another install of alpha 1.2.3: ") for line in said), what="wait")
    site.open_gate.set()
    for thread in threads:
        thread.join()

    assert len(got) == 2
    assert got[0] == got[1]
    assert site.asked == ["/alpha"]


def test_unknown_source_is_a_configuration_failure(home: Home) -> None:
    with pytest.raises(ConfigurationFailure) as caught:
        find(pin("http://127.0.0.1/", b""), source="brew", cache=home.cache)

    assert str(caught.value) == "PROGRAMS_SOURCE: expected one of auto, path, download, go, got 'brew'"


@pytest.mark.real
@pytest.mark.parametrize("name", ["tailscale", "headscale"])
def test_real_program_reports_the_pinned_version_or_newer(programs_cache: Path, name: str) -> None:
    """Each executable of it runs here; tailscale's stamps are the pinned version, not the builder's guess."""
    found = find(pinned(name), source="auto", cache=programs_cache)

    assert found is not None, f"`./inv programs.install --name={name}` puts it in place"
    for executable, path in found.executables:
        word = "version" if executable == "headscale" else "--version"
        assert found.version in process.run(str(path), word, deadline=10.0).text.splitlines()[0]
