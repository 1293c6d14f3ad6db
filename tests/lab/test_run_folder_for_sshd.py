"""Root's sshd gets the folder that it insists on, and it is gone with the last sshd."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.lab.run_folder_for_sshd import FOLDER, make, remove_if_unused
from tests.conftest import Home
from tests.waiting import until

needs_it = pytest.mark.skipif(
    os.geteuid() != 0 or FOLDER.exists(), reason="only root's sshd needs the folder, and here it is there already"
)


@contextmanager
def running_sshd(folder: Path) -> Iterator[None]:
    """Run something that the kernel calls sshd."""
    program = folder / "sshd"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([program, "60"]) as child:
        until(lambda: os.readlink(f"/proc/{child.pid}/exe") == str(program), what="start")  # noqa: PTH115
        yield
        child.kill()


@needs_it
def test_what_a_lab_made_stays_while_any_sshd_runs(home: Home) -> None:
    """Another lab's would refuse every connection from then on."""
    make()
    with running_sshd(home.folder):
        make()
        remove_if_unused()
        assert FOLDER.is_dir()
    remove_if_unused()

    assert not FOLDER.exists()


@needs_it
def test_a_folder_of_the_machines_own_is_left_alone() -> None:
    FOLDER.mkdir(mode=0o755)
    try:
        make()
        remove_if_unused()
        assert FOLDER.is_dir()
    finally:
        FOLDER.rmdir()


def test_without_the_folder_there_is_nothing_to_remove() -> None:
    if not FOLDER.exists():
        remove_if_unused()

        assert not FOLDER.exists()
