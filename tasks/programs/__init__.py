"""Commands of the programs that the suite runs: install, list."""

from typing import TYPE_CHECKING

from tasks import console
from tasks.command import Context, command, is_dry, load_settings

if TYPE_CHECKING:
    from tasks.programs.pins import Pin
    from tasks.programs.provision import Program


@command(options_help={"name": "tailscale, headscale or bw; without it, the first two"})
def install(context: Context, name: str = "") -> None:
    """Install the pinned tailscale and headscale, unless they are here already."""
    from tasks.programs.pins import pinned, read_pins
    from tasks.programs.provision import ensure

    settings = load_settings()
    for pin in [pinned(name)] if name else read_pins().values():
        if is_dry(context) and _here(pin) is None:
            console.say(f"would install {pin} (PROGRAMS_SOURCE={settings.programs_source})")
            continue
        program = ensure(pin, source=settings.programs_source, cache=settings.cache_folder, say=console.step)
        console.say(f"{program.name} {program.version}: {_places(program)} ({program.source})")


@command(name="list", options_help={"json": "print one JSON document"})
def list_(_context: Context, json: bool = False) -> None:
    """Show which programs are wanted, which are here, and where."""
    from tasks.programs.pins import read_npm_pins, read_pins

    rows = [_row(pin, _here(pin)) for pin in (*read_pins().values(), *read_npm_pins().values())]
    if json:
        console.document(rows)
        return
    head = [name.upper() for name in rows[0]]
    console.say(console.table([head, *([value or "-" for value in row.values()] for row in rows)]))


def _here(pin: "Pin") -> "Program | None":
    from tasks.programs.provision import find

    settings = load_settings()
    return find(pin, source=settings.programs_source, cache=settings.cache_folder)


def _row(pin: "Pin", program: "Program | None") -> dict[str, str | None]:
    row: dict[str, str | None] = {"program": pin.name, "wanted": pin.version}
    if program is None:
        return {**row, "here": None, "from": None, "executables": None}
    return {**row, "here": program.version, "from": program.source, "executables": _places(program)}


def _places(program: "Program") -> str:
    return ", ".join(str(path) for _, path in program.executables)
