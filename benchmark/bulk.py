"""Owns the comparisons of much data: output into a file, output without end in view, files there and back."""

import os
from dataclasses import replace
from pathlib import Path

from benchmark.place import HOST, Comparison, Place

OUTPUT, MOST_OUTPUT, FILE = 100_000_000, 1_000_000_000, 200_000_000  # bytes
PIECE = 10_000_000
DATA = "data"
MOST_TIME = 1.3  # of theirs
MOST_MEMORY = 100_000_000  # bytes, however much a host says


def comparisons(place: Place) -> list[Comparison]:
    """Return what is compared; the host is this machine, so that what was copied can be held against what was meant."""
    data = place.folder / DATA
    return [_output_to_file(place, data), _much_output(place), _put(place, data), _get(place, data)]


def _output_to_file(place: Place, data: Path) -> Comparison:
    line = f"head -c {OUTPUT} {data}"
    ours, theirs = (place.folder / name for name in ("output.ours", "output.theirs"))
    return Comparison(
        "100 MB of output into a file; ssh and nc",
        replace(place.inv("remote.run", f"--host={HOST}", f"--command={line}"), output=ours),
        replace(place.ssh(line), output=theirs),
        MOST_TIME,
        same=(ours, theirs),
    )


def _much_output(place: Place) -> Comparison:
    line = f"head -c {MOST_OUTPUT} /dev/zero"
    ours = place.inv("remote.run", f"--host={HOST}", f"--command={line}")
    return Comparison("1 GB of output; ssh and nc", ours, place.ssh(line), None, most_memory=MOST_MEMORY, once=True)


def _put(place: Place, data: Path) -> Comparison:
    ours, theirs = (place.folder / name for name in ("put.ours", "put.theirs"))
    words = ("remote.put", f"--host={HOST}", f"--file={data}", f"--to={ours}")
    # What is there already would not be copied again.
    side = place.inv(*words, before=lambda: ours.unlink(missing_ok=True))
    return Comparison(
        "put of 200 MB; scp", side, place.scp(str(data), f"{HOST}:{theirs}"), MOST_TIME, same=(data, ours, theirs)
    )


def _get(place: Place, data: Path) -> Comparison:
    ours, theirs = (place.folder / name for name in ("get.ours", "get.theirs"))
    words = ("remote.get", f"--host={HOST}", f"--file={data}", f"--to={ours}")
    side = place.inv(*words, before=lambda: ours.unlink(missing_ok=True))
    return Comparison(
        "get of 200 MB; scp", side, place.scp(f"{HOST}:{data}", str(theirs)), MOST_TIME, same=(data, ours, theirs)
    )


def write_data(place: Place) -> None:
    """Write what is copied: bytes that nothing can make smaller."""
    with (place.folder / DATA).open("wb") as file:
        file.writelines(os.urandom(PIECE) for _ in range(FILE // PIECE))
