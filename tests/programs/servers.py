"""Owns the web server on loopback that plays the makers' download address, and pins that name it."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tasks.programs.pins import OfficialFile, Pin, architecture

VERSION = "1.2.3"


def program(version: str = VERSION) -> bytes:
    """Return a program that tells its version however it is asked."""
    return f"#!/bin/sh\necho {version}\n".encode()


def archive(**members: bytes) -> bytes:
    """Return a .tgz as tailscale's: the members in a folder named by version."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(f"tailscale_{VERSION}_amd64/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@dataclass
class Site:
    """A web server: what it serves by path, how it misbehaves, and which paths it was asked for."""

    address: str
    content: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    cut_after: int | None = None
    open_gate: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        """Return the address of that path."""
        return f"{self.address}{path}"


@contextmanager
def serving() -> Iterator[Site]:
    """Run the web server; a closed gate holds every answer back after its head."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            content = site.content.get(self.path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.flush()
            site.open_gate.wait(10)
            self.wfile.write(content[: site.cut_after])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site = Site(f"http://127.0.0.1:{server.server_port}")
        site.open_gate.set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            site.open_gate.set()
            server.shutdown()
            thread.join()


def pin(url: str, content: bytes, *, executables: tuple[str, ...] = ("alpha",), recipe: Path = Path("/nowhere")) -> Pin:
    """Return a pin on this machine's official file at that address, with the sum of that content."""
    file = OfficialFile(url, hashlib.sha256(content).hexdigest())
    packages = tuple(f"example.com/cmd/{name}" for name in executables)
    return Pin("alpha", VERSION, {architecture(): file}, packages, ("example.com/version.stamp",), recipe)
