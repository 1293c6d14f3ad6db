"""The download: an official file becomes executables in a folder, or nothing does."""

from hashlib import sha256
from pathlib import Path

import pytest

from tasks.errors import Refused, Unavailable
from tasks.programs.download import download
from tasks.programs.pins import Pin
from tests.conftest import Home
from tests.programs.servers import Site, archive, pin, program


@pytest.fixture
def folder(home: Home) -> Path:
    """Return the empty folder that the program goes into."""
    path = home.folder / "work"
    path.mkdir()
    return path


def test_bare_file_becomes_the_executable(site: Site, folder: Path, said: list[str]) -> None:
    site.content["/alpha"] = program()

    download(pin(site.url("/alpha"), program()), folder, said.append)

    assert [path.name for path in folder.iterdir()] == ["alpha"]
    assert (folder / "alpha").read_bytes() == program()
    assert (folder / "alpha").stat().st_mode & 0o777 == 0o755
    assert said == ["downloading alpha 1.2.3 from 127.0.0.1"]


def test_only_the_executables_leave_an_archive(site: Site, folder: Path, said: list[str]) -> None:
    content = archive(alpha=program(), alphad=program(), **{"../../evil": b"no", "systemd": b"no"})
    site.content["/alpha.tgz"] = content

    download(pin(site.url("/alpha.tgz"), content, executables=("alpha", "alphad")), folder, said.append)

    assert sorted(path.name for path in folder.iterdir()) == ["alpha", "alphad"]
    assert not (folder.parent / "evil").exists()


def test_file_with_another_sum_is_refused_before_it_is_unpacked(site: Site, folder: Path, said: list[str]) -> None:
    site.content["/alpha.tgz"] = b"not even an archive"
    wanted = pin(site.url("/alpha.tgz"), b"another content")

    with pytest.raises(Refused) as caught:
        download(wanted, folder, said.append)

    assert str(caught.value) == (
        f"{site.url('/alpha.tgz')} is not the file that is pinned: "
        f"expected sha256 {sha256(b'another content').hexdigest()}, "
        f"got {sha256(b'not even an archive').hexdigest()}\n"
        "  next: nothing of it was kept; find out who changed the file before you trust it"
    )
    assert not (folder / "alpha").exists()


def test_cut_connection_is_told_with_how_much_came(site: Site, folder: Path, said: list[str]) -> None:
    site.content["/alpha"] = program()
    site.cut_after = 5

    assert _reason(pin(site.url("/alpha"), program()), folder, said) == (
        f"cannot download {site.url('/alpha')}: the connection was cut after 5 of {len(program())} bytes"
    )


def test_missing_file_is_told_in_the_servers_words(site: Site, folder: Path, said: list[str]) -> None:
    assert _reason(pin(site.url("/gone"), program()), folder, said) == (
        f"cannot download {site.url('/gone')}: http error 404: not found"
    )


def test_nobody_at_the_address_is_told(folder: Path, said: list[str]) -> None:
    assert _reason(pin("http://127.0.0.1:9/alpha", program()), folder, said) == (
        "cannot download http://127.0.0.1:9/alpha: connection refused"
    )


def test_server_that_falls_silent_is_left(site: Site, folder: Path, said: list[str]) -> None:
    site.content["/alpha"] = program()
    site.open_gate.clear()

    with pytest.raises(Unavailable) as caught:
        download(pin(site.url("/alpha"), program()), folder, said.append, stall=0.2)

    assert str(caught.value) == f"cannot download {site.url('/alpha')}: timed out"


def test_architecture_without_an_official_file_is_told(folder: Path, said: list[str]) -> None:
    wanted = Pin("alpha", "1.2.3", {}, ("example.com/cmd/alpha",), (), folder)

    assert _reason(wanted, folder, said).startswith("there is no official file of alpha 1.2.3 for ")


def _reason(wanted: Pin, folder: Path, said: list[str]) -> str:
    with pytest.raises(Unavailable) as caught:
        download(wanted, folder, said.append)
    assert not (folder / "alpha").exists()
    return str(caught.value)
