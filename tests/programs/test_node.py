"""The install of a program of Node's: by a fake npm what npm is told and what it says; the lock itself is read."""

import json
from pathlib import Path

import pytest

from tasks.errors import Unavailable
from tasks.programs.node import install, node_version, node_wanted_by, version_beside
from tasks.programs.pins import pinned
from tests.programs.conftest import put_program

NODE = "#!/bin/sh\necho v20.20.2\n"
NPM = """#!/bin/sh
mkdir -p node_modules/@bitwarden/cli/build node_modules/.bin
echo "$@" >npm.words
env >npm.environment
echo '{"version": "2026.6.0"}' >node_modules/@bitwarden/cli/package.json
printf '#!/bin/sh\\necho 2026.6.0\\n' >node_modules/@bitwarden/cli/build/bw.js
chmod 755 node_modules/@bitwarden/cli/build/bw.js
ln -s ../@bitwarden/cli/build/bw.js node_modules/.bin/bw
"""
NPM_FAILING = """#!/bin/sh
echo "npm error code EINTEGRITY" >&2
echo "npm error sha512-AAA integrity checksum failed" >&2
echo "npm error A complete log of this run can be found in: /home/x/_logs/1.log" >&2
exit 1
"""


def test_the_lock_has_a_sum_for_every_package_and_no_address() -> None:
    """Where packages come from is the machine's business; which ones is the lock's."""
    pin = pinned("bw")
    lock = json.loads((pin.recipe / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert packages["node_modules/@bitwarden/cli"]["version"] == pin.version
    assert [name for name, package in packages.items() if "sha512-" not in package["integrity"]] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []


def test_npm_installs_what_the_lock_says_and_runs_no_script(
    bin_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_program(bin_folder, "node", NODE)
    put_program(bin_folder, "npm", NPM)
    monkeypatch.setenv("BW_PASSWORD", "of no concern to npm")
    said: list[str] = []

    install(pinned("bw"), tmp_path, said.append)

    assert said == ["installing bw 2026.6.0 by npm (half a minute)"]
    assert (tmp_path / "npm.words").read_text() == "ci --ignore-scripts --no-audit --no-fund --no-update-notifier\n"
    assert "BW_PASSWORD" not in (tmp_path / "npm.environment").read_text()
    assert version_beside(tmp_path / "bw") == "2026.6.0"


def test_npms_own_words_say_why_it_failed(bin_folder: Path, tmp_path: Path) -> None:
    put_program(bin_folder, "node", NODE)
    put_program(bin_folder, "npm", NPM_FAILING)

    with pytest.raises(Unavailable) as caught:
        install(pinned("bw"), tmp_path, print)

    assert str(caught.value) == "npm could not install bw 2026.6.0: sha512-AAA integrity checksum failed"


def test_an_old_node_is_refused(bin_folder: Path, tmp_path: Path) -> None:
    put_program(bin_folder, "node", "#!/bin/sh\necho v18.19.1\n")
    put_program(bin_folder, "npm", NPM)

    with pytest.raises(Unavailable) as caught:
        install(pinned("bw"), tmp_path, print)

    assert str(caught.value) == f"bw 2026.6.0 needs Node 20 or newer, {bin_folder / 'node'} is v18.19.1"


def test_a_program_that_npm_did_not_bring_tells_no_version(tmp_path: Path) -> None:
    (tmp_path / "bw").write_text("")

    assert version_beside(tmp_path / "bw") == ""


def test_what_a_program_of_npms_wants_of_node_is_read_and_node_is_asked(bin_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "package.json").write_text('{"version": "2026.9.0", "engines": {"node": ">=22"}}')
    put_program(bin_folder, "node", NODE)

    assert (node_wanted_by(tmp_path / "bw"), node_version()) == (">=22", "20.20.2")
    (tmp_path / "package.json").write_text('{"version": "2026.9.0"}')
    assert node_wanted_by(tmp_path / "bw") == ""
