"""Owns what stands for a host whose files are copied: a real shell in a folder, and what a hostile one would send."""

import io
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tasks.remote.feeding import Feed
from tasks.remote.following import Ended
from tasks.remote.output import Sink

ODD = ["plain", "a b", "-dash", "new\nline", "back\\slash", "$(id)", "é", "\udcff"]


@dataclass
class Shell:
    """A host whose commands run here, in a folder. `tamper` changes what a command reads, or what it says."""

    folder: Path
    commands: list[str] = field(default_factory=list)
    fed: int = 0
    tamper_in: Callable[[bytes], bytes] = bytes
    tamper_out: Callable[[bytes], bytes] = bytes

    def run(self, command: str, out: Sink, err: Sink, feed: Feed | None = None) -> Ended:
        """Run a shell line."""
        self.commands.append(command)
        read = bytearray()
        if feed:
            feed(read.extend)
        self.fed += len(read)
        ended = subprocess.run(
            ["sh", "-c", command], input=self.tamper_in(bytes(read)), capture_output=True, cwd=self.folder, check=False
        )
        out(self.tamper_out(ended.stdout))
        err(ended.stderr)
        return Ended(ended.returncode)


def answers(*contents: bytes) -> Callable[[bytes], bytes]:
    """Return what a lying host makes of its answers, one after the other: it begins them as it was asked to."""
    rest = iter(contents)
    return lambda said: said[: said.index(b"\n") + 1] + next(rest)


def ignore(_: int) -> None:
    """Hear no progress."""


def content(folder: Path) -> dict[str, bytes | None]:
    """Return every file of a folder with its bytes, and every folder."""
    paths = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def archive(*entries: tuple[str, bytes, bytes]) -> bytes:
    """Return an archive as a hostile host would send it: names, types and contents."""
    stream = io.BytesIO()
    with tarfile.open(mode="w", fileobj=stream) as packing:
        for name, kind, data in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(data), "/etc/passwd"
            packing.addfile(entry, io.BytesIO(data))
    return stream.getvalue()
