"""The sums of files, as sha256sum reads and writes them."""

import subprocess
from pathlib import Path

from tasks.remote import sums
from tests.remote.copies import ODD


def test_sums_are_what_sha256sum_reads_and_writes(here: Path) -> None:
    """Names with a backslash or a line end are escaped."""
    digests = {name: sums.digest_of(here / name) for name in ODD}
    checked = subprocess.run(
        ["sha256sum", "-c", "--quiet"], input=sums.as_text(digests), capture_output=True, cwd=here, check=False
    )

    assert (checked.returncode, checked.stdout) == (0, b"")
