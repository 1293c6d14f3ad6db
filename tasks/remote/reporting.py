"""Owns what a run over many hosts shows, and when: labelled lines and progress meanwhile, or groups, files, JSON after.

stdout has the hosts' output or the one document, stderr all that is ours.
"""

import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.console import visible
from tasks.errors import RemoteExit, UsageFailure
from tasks.remote import report, summary
from tasks.remote.fanout import CANCELLED, Event, Outcome, Results
from tasks.remote.fleet import Taker
from tasks.remote.gathering import Kept, OutputFolder, Pair, folded
from tasks.remote.labels import Labels, width_for
from tasks.remote.output import write_all
from tasks.remote.progress import TICK, Progress

RULE = "──"


@dataclass(frozen=True)
class Form:
    """What was asked for: lines as they arrive, when it is none of these. `facts`: the command asks for a report."""

    fold: bool = False
    json: bool = False
    folder: Path | None = None
    facts: bool = False


def form(folder: str, *, fold: bool, json: bool, facts: bool) -> Form:
    """Return the form that the options mean; no folder is an empty text."""
    if fold and (json or folder):
        raise UsageFailure(
            "--fold shows equal output once on the screen: expected neither --json nor --output-dir beside it"
        )
    return Form(fold, json, Path(folder) if folder else None, facts)


@dataclass(frozen=True)
class Screen:
    """What people see with: whether stdout may be coloured, whether stderr is a terminal, and how wide it is."""

    coloured: bool
    live: bool
    columns: Callable[[], int]


class Report:
    """Takes what hosts write and what becomes of them; `finish()` says the rest."""

    def __init__(self, names: Sequence[str], form: Form, screen: Screen) -> None:
        self._form = form
        self._kept: dict[str, Pair] = {}
        self._progress = Progress(len(names), write_all, screen.columns) if screen.live else None
        self._write = self._progress.write if self._progress else write_all
        self._labels = Labels(width_for(names), self._write, coloured=screen.coloured)
        self._folder = OutputFolder(form.folder) if form.folder else None
        if self._folder:
            for name in names:
                self._sinks(name)  # removes what an earlier run left: a host that is not reached writes nothing over it
        self.tick = TICK if screen.live else None

    def takers(self, name: str) -> tuple[Taker, Taker]:
        """Return what takes a host's stdout and stderr."""
        out, err = self._sinks(name)
        return Facts(out) if self._form.facts else out, err

    def say(self, name: str, text: str) -> None:
        """Say something about a host, on stderr."""
        self._labels.say(name, text)

    def note(self, text: str) -> None:
        """Say something that names its host itself, on stderr."""
        self._write(2, f"{visible(text)}\n".encode(errors="backslashreplace"))

    def hear(self, event: Event | None) -> None:
        """Take an event: a failure is said at once, unless the document will say it."""
        if isinstance(event, Outcome) and event.failure and event.failure.cause != CANCELLED and not self._form.json:
            failure = event.failure
            self.say(event.name, failure.what if isinstance(failure, RemoteExit) else f"error: {failure}")
        if self._progress:
            self._progress.hear(event)

    def finish(self, results: Results, seconds: float) -> None:
        """Show what was kept, write the list of failed hosts, and sum up."""
        if self._progress:
            self._progress.end()
        if self._folder:
            self._folder.write_failed(summary.failed(results.outcomes))
        if self._form.json:
            self._put(1, self._document(results, seconds))
            return
        if self._form.fold:
            in_order = [outcome.name for outcome in results.outcomes if outcome.name in self._kept]
            self._put(1, _groups(folded({name: self._kept[name] for name in in_order})))
        self._put(2, [f"\n{summary.as_table(results.outcomes, seconds)}\n"])

    def _sinks(self, name: str) -> tuple[Taker, Taker]:
        if self._folder:
            return self._folder.sink(name, "out"), self._folder.sink(name, "err")
        if self._form.fold or self._form.json:
            pair = self._kept[name] = Pair(Kept(), Kept())
            return pair.out, pair.err
        return self._labels.sink(name, 1), self._labels.sink(name, 2)

    def _put(self, descriptor: int, texts: "Iterator[str] | Sequence[str]") -> None:
        for text in texts:
            write_all(descriptor, text.encode(errors="backslashreplace"))

    def _document(self, results: Results, seconds: float) -> Iterator[str]:
        """Yield the document in pieces, one host at a time in memory."""
        status = 128 + results.interrupted if results.interrupted else summary.exit_status(results.outcomes)
        head = {
            "exit_status": status,
            "interrupted": bool(results.interrupted),
            "seconds": round(seconds, 3),
            "counts": summary.counts(results.outcomes),
            "output_folder": str(self._form.folder) if self._form.folder else None,
        }
        yield json.dumps(head, indent=2)[:-2] + ',\n  "hosts": ['
        for position, outcome in enumerate(results.outcomes):
            record = summary.as_record(outcome, self._kept.get(outcome.name))
            yield (",\n    " if position else "\n    ") + json.dumps(record)
        yield "\n  ]\n}\n"


class Facts:
    """Takes the answer of a report's script and gives the one line on, without the noise before it."""

    def __init__(self, taker: Taker) -> None:
        self._taker = taker
        self._answer = bytearray()

    def __call__(self, data: bytes) -> None:
        """Take bytes, as many as an answer may have."""
        self._answer += data[: report.LONGEST_ANSWER - len(self._answer)]

    def close(self) -> None:
        """Give the line on."""
        facts = report.parse(bytes(self._answer))
        line = report.one_line(facts) if facts else "it does not say how it is"
        self._taker(f"{line}\n".encode())
        self._taker.close()


def _groups(groups: Sequence[tuple[tuple[str, ...], Pair]]) -> Iterator[str]:
    for names, pair in groups:
        many = f" ({len(names)} hosts)" if len(names) > 1 else ""
        yield f"{RULE} {visible(', '.join(names))}{many} {RULE}\n"
        for kept in (pair.out, pair.err):
            yield from _readable(kept)


def _readable(kept: Kept) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
    last = "\n"
    for piece in kept.pieces():
        last = visible(decoder.decode(piece).replace("\r\n", "\n")) or last
        yield last
    rest = decoder.decode(b"", final=True)
    yield rest if (rest or last).endswith("\n") else f"{rest}\n"
