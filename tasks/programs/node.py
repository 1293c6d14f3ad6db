"""Owns the install of a program of Node's, each package pinned by a committed lock. The only file that knows npm."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from tasks import process
from tasks.errors import Unavailable
from tasks.programs.pins import Pin

OLDEST_NODE = 20
LONGEST = 600.0  # seconds for all packages; 22 are usual
ASK_DEADLINE = 15.0  # seconds for a version
# What npm may see beside the plain variables: where its packages come from and how it gets there.
NPM_VARIABLES = (
    *("NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_USERCONFIG", "NPM_CONFIG_CACHE", "XDG_CONFIG_HOME"),
    *("NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
)


def install(pin: Pin, folder: Path, say: Callable[[str], None]) -> None:
    """Put the program into the folder: the very packages of its lock, none of whose scripts run; else `Unavailable`."""
    node, npm = (shutil.which(name) for name in ("node", "npm"))
    if node is None or npm is None:
        raise Unavailable("there is no node and npm on PATH")
    _check_version(node, pin)
    say(f"installing {pin} by npm (half a minute)")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(pin.recipe / name, folder / name)
    environment = process.plain_environment(also=NPM_VARIABLES)
    words = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
    ended = process.run(npm, *words, deadline=LONGEST, environment=environment, folder=folder)
    if ended.exit_status != 0:
        raise Unavailable(f"npm could not install {pin}", why=_complaint(ended.stderr.decode(errors="replace")))
    for name in pin.executables:
        (folder / name).symlink_to(Path("node_modules/.bin") / name)


def version_beside(executable: Path) -> str:
    """Return the version in the package.json of an executable that npm put there; empty for any other.

    Asking `bw` itself takes 0.7 s, and makes its data folder.
    """
    return str(_package_beside(executable).get("version", ""))


def node_wanted_by(executable: Path) -> str:
    """Return the Node that an executable's package.json asks for, such as `>=22`; empty where it says nothing."""
    engines = _package_beside(executable).get("engines")
    return str(engines.get("node", "")) if isinstance(engines, dict) else ""


def node_version() -> str:
    """Return the version of the node on PATH, such as 20.20.2; empty where there is none that tells it."""
    node = shutil.which("node")
    match = re.search(r"\bv(\d+\.\d+\.\d+)", _asked(node).text) if node else None
    return match[1] if match else ""


def _package_beside(executable: Path) -> dict[str, object]:
    for folder in executable.resolve().parents[:3]:
        try:
            content = json.loads((folder / "package.json").read_text())
        except (OSError, ValueError):
            continue
        return content if isinstance(content, dict) else {}
    return {}


def _asked(node: str) -> process.Completed:
    return process.run(node, "--version", deadline=ASK_DEADLINE)


def _check_version(node: str, pin: Pin) -> None:
    answer = _asked(node)
    match = re.search(r"\bv(\d+)\.", answer.text)
    if match is None or int(match[1]) < OLDEST_NODE:
        said = answer.text.strip() or answer.complaint
        raise Unavailable(f"{pin} needs Node {OLDEST_NODE} or newer, {node} is {said or 'not telling its version'}")


def _complaint(said: str) -> str:
    """Return npm's error without its last lines, which say only where its log is."""
    lines = [line.removeprefix("npm error ").strip() for line in said.splitlines() if line.startswith("npm error ")]
    telling = [line for line in lines if line and not line.startswith(("A complete log", "code "))]
    return "; ".join(telling[:3]) or said.strip().rpartition("\n")[2]
