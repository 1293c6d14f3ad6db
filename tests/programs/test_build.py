"""The build by Go: which words it gets, which Go is enough, and what is said when it fails. `go` is a fake program."""

from pathlib import Path

import pytest

from tasks.errors import Unavailable
from tasks.programs.build import build, go_argv
from tests.conftest import Home
from tests.programs.conftest import put_program
from tests.programs.servers import pin

FAKE_GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go%s linux/amd64"; exit; fi
env >"$HOME/go.environment"
pwd >"$HOME/go.folder"
while [ "$1" != -o ]; do shift; done
for package; do
    case $package in
        example.com/*) printf '#!/bin/sh\\necho 1.2.3\\n' >"$2/${package##*/}"; chmod +x "$2/${package##*/}" ;;
    esac
done
"""
FAILING_GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.26.6 linux/amd64"; exit; fi
seq 1 20
echo 'go: module lookup disabled' >&2
exit 1
"""


@pytest.fixture
def recipe(home: Home) -> Path:
    """Return a folder with a go.mod that wants Go 1.26.6."""
    folder = home.folder / "recipe"
    folder.mkdir()
    (folder / "go.mod").write_text("module example\n\ngo 1.26.6\n")
    return folder


@pytest.fixture
def folder(home: Home) -> Path:
    """Return the empty folder that the program goes into."""
    path = home.folder / "work"
    path.mkdir()
    return path


def test_words_fetch_nothing_unpinned_and_stamp_the_version(recipe: Path) -> None:
    wanted = pin("http://127.0.0.1/", b"", executables=("alpha", "alphad"), recipe=recipe)

    assert go_argv("/go", wanted, Path("/out")) == (
        *("/go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
        "-ldflags=-s -w -X example.com/version.stamp=1.2.3",
        *("-o", "/out/", "example.com/cmd/alpha", "example.com/cmd/alphad"),
    )


def test_executables_are_built_in_the_recipes_folder(
    home: Home, recipe: Path, folder: Path, bin_folder: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is Go's own variables and ours: nothing that could change what is built, and no secret."""
    put_program(bin_folder, "go", FAKE_GO % "1.27")
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.setenv("GOPROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("TS_AUTHKEY", "tskey-auth-secret")

    build(pin("http://127.0.0.1/", b"", recipe=recipe), folder, said.append)

    assert [path.name for path in folder.iterdir()] == ["alpha"]
    assert (home.home / "go.folder").read_text().strip() == str(recipe)
    seen = (home.home / "go.environment").read_text().splitlines()
    assert {"CGO_ENABLED=0", "GOTOOLCHAIN=local", "GOFLAGS=", "GOPROXY=http://127.0.0.1:9"} <= set(seen)
    assert not [line for line in seen if "secret" in line]
    assert said == ["building alpha 1.2.3 with Go 1.27 (some minutes)"]


def test_long_build_says_that_it_still_works(
    home: Home, recipe: Path, folder: Path, bin_folder: Path, said: list[str]
) -> None:
    gate = home.home / "gate"
    put_program(bin_folder, "go", FAKE_GO.replace("env >", f"until [ -e {gate} ]; do sleep 0.01; done; env >") % "1.27")

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("  still"):
            gate.touch()

    build(pin("http://127.0.0.1/", b"", recipe=recipe), folder, say, pace=0.05)

    assert said[1] == "  still building alpha, 0 s"
    assert (folder / "alpha").exists()


def test_without_go_it_is_unavailable(recipe: Path, folder: Path, bin_folder: Path, said: list[str]) -> None:
    assert bin_folder.exists()

    assert _reason(recipe, folder, said) == "there is no go on PATH"


def test_older_go_is_told(recipe: Path, folder: Path, bin_folder: Path, said: list[str]) -> None:
    go = put_program(bin_folder, "go", FAKE_GO % "1.26.5")

    assert _reason(recipe, folder, said) == f"Go 1.26.5 at {go} is older than 1.26.6, which alpha 1.2.3 needs"


def test_go_that_tells_no_version_is_told(recipe: Path, folder: Path, bin_folder: Path, said: list[str]) -> None:
    go = put_program(bin_folder, "go", "#!/bin/sh\necho broken >&2\nexit 2\n")

    assert _reason(recipe, folder, said) == f"{go} does not tell its version: broken"


def test_failing_go_is_quoted_with_its_last_lines(
    recipe: Path, folder: Path, bin_folder: Path, said: list[str]
) -> None:
    put_program(bin_folder, "go", FAILING_GO)

    assert _reason(recipe, folder, said) == "\n    ".join(
        ["go could not build alpha 1.2.3: it said", *map(str, range(14, 21)), "go: module lookup disabled"]
    )


def _reason(recipe: Path, folder: Path, said: list[str]) -> str:
    with pytest.raises(Unavailable) as caught:
        build(pin("http://127.0.0.1/", b"", recipe=recipe), folder, said.append)
    return str(caught.value)
