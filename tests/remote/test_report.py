"""The one-line report: recorded answers of several systems, and the script itself run by this machine's shell."""

import re
import subprocess

import pytest

from tasks.remote import report

DEBIAN = b"""Welcome to Debian, have a nice day
platform-report:system=Debian GNU/Linux 12 (bookworm)
platform-report:machine=x86_64
platform-report:uptime=277384.93
platform-report:load=0.42
platform-report:processors=4
platform-report:memory=8048560
platform-report:available=6442450
platform-report:disk=20509264
platform-report:used=5127316
"""
MACOS = b"""platform-report:system=Darwin 24.5.0
platform-report:machine=arm64
platform-report:processors=10
platform-report:disk=482797652
platform-report:used=11078088
"""


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            DEBIAN,
            "Debian GNU/Linux 12 (bookworm) x86_64, up 3 d 5 h, load 0.42 on 4 CPUs, "
            "memory 1.5 of 7.7 GiB (20 %), disk 4.9 of 19.6 GiB (25 %)",
        ),
        (MACOS, "Darwin 24.5.0 arm64, disk 10.6 of 460.4 GiB (2 %)"),
        (b"platform-report:uptime=4000\nplatform-report:load=1", "up 1 h 6 min, load 1.00"),
        (
            b"platform-report:uptime=59.9\nplatform-report:disk=0\nplatform-report:used=0",
            "up 0 min, disk 0.0 of 0.0 GiB (0 %)",
        ),
        (b"platform-report:load=x; rm -rf /\nplatform-report:uptime=-1\n", ""),
        (b"sh: not found\n", ""),
    ],
)
def test_the_answer_is_read(answer: bytes, line: str) -> None:
    """What is missing is left out; noise and nonsense are passed over."""
    assert report.one_line(report.parse(answer)) == line


def test_the_script_runs_in_a_posix_shell() -> None:
    """On this machine, by /bin/sh, without a word on stderr."""
    ended = subprocess.run(["/bin/sh", "-c", report.COMMAND], capture_output=True, check=True)

    assert ended.stderr == b""
    assert re.fullmatch(
        r".+ \w+, up [\dhdmin ]+, load \d+\.\d\d on \d+ CPUs, memory [\d.]+ of [\d.]+ GiB \(\d+ %\), "
        r"disk [\d.]+ of [\d.]+ GiB \(\d+ %\)",
        report.one_line(report.parse(ended.stdout)),
    )
