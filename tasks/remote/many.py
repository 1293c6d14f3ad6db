"""Owns one run over many hosts, from the first connection to the summary and the one exit status."""

import dataclasses
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.interrupting import Interrupted
from tasks.remote import fanout, summary
from tasks.remote.fleet import Command
from tasks.remote.reporting import Form, Report, Screen
from tasks.remote.ways import Ways

if TYPE_CHECKING:
    from tasks.remote.feeding import Feed


@dataclass(frozen=True)
class Request:
    """What was asked for: a shell line, the ways to the hosts, how many at once, and how it is shown."""

    line: str
    ways: Ways
    limits: fanout.Limits
    form: Form
    coloured: bool
    feed: "Feed | None" = None


def run(names: Sequence[str], request: Request) -> int:
    """Run the line on every host, show what comes of it, and return the exit status of the whole.

    Raises Interrupted after the summary when it was interrupted.
    """
    screen = Screen(request.coloured, os.isatty(2), lambda: shutil.get_terminal_size().columns)
    report = Report(names, request.form, screen)
    # Of many hosts at once nobody is asked anything: an unknown host key is that host's failure.
    dialler = dataclasses.replace(request.ways.dialler, say=report.note)
    ways = dataclasses.replace(request.ways, ask=None, say=report.note, dialler=dialler)
    command = Command(request.line, ways, report.takers, report.say, request.feed)
    started = time.monotonic()
    results = fanout.run(names, command.run, request.limits, report.hear, tick=report.tick)
    report.finish(results, time.monotonic() - started)
    if results.interrupted:
        raise Interrupted(results.interrupted)
    return summary.exit_status(results.outcomes)
