"""What is shown meanwhile, and where a terminal is there."""

import json
import signal
from pathlib import Path

import pytest

from tasks.errors import RemoteExit, Unavailable, UsageFailure
from tasks.remote.fanout import CANCELLED, Outcome, Results, Started
from tasks.remote.progress import TICK
from tasks.remote.reporting import Form, Report, Screen, form

PLAIN = Screen(coloured=False, live=False, columns=lambda: 80)
TERMINAL = Screen(coloured=True, live=True, columns=lambda: 80)


def test_a_failure_is_told_when_it_happens(capfd: pytest.CaptureFixture[str]) -> None:
    """But for hosts that had no turn, which all have the same reason."""
    report = Report(["web", "mail"], Form(), PLAIN)
    report.hear(Outcome("web", Unavailable("web is offline", next_step="`inv net.status`"), 1.0, 1))
    report.hear(Outcome("mail", RemoteExit(3), 1.0, 1))
    report.hear(Outcome("mail", Unavailable("not tried", cause=CANCELLED), 0.0, 0))

    assert capfd.readouterr().err.splitlines() == [
        "web  | error: web is offline",
        "web  |   next: `inv net.status`",
        "mail | exit 3",
    ]
    assert report.tick is None


def test_a_terminal_has_colours_and_a_line_of_progress(capfd: pytest.CaptureFixture[str]) -> None:
    """Which is gone before the summary."""
    report = Report(["web"], Form(), TERMINAL)
    report.hear(Started("web"))
    report.takers("web")[0](b"hello\n")
    outcome = Outcome("web", None, 1.0, 1)
    report.hear(outcome)
    report.finish(Results((outcome,), interrupted=0), 1.0)
    shown = capfd.readouterr()

    assert report.tick == TICK
    assert shown.out.startswith("\x1b[")
    assert shown.err.startswith("\r\x1b[K0 of 1 done, 1 running, 0 failed")
    assert shown.err.endswith("\r\x1b[K\nhost  result  seconds  why\nweb   ok      1.0\n1 of 1 done in 1.0 s\n")


def test_an_interrupted_run_says_so_in_its_document(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With the status that it ends with."""
    report = Report(["web"], Form(json=True, folder=tmp_path), PLAIN)
    failure = Unavailable("web was interrupted", cause=CANCELLED)
    report.finish(Results((Outcome("web", failure, 1.0, 1),), interrupted=signal.SIGINT), 1.0)
    shown = capfd.readouterr().out

    assert '"exit_status": 130,\n  "interrupted": true' in shown
    assert f'"output_folder": "{tmp_path}"' in shown


def test_a_very_long_name_does_not_push_every_line_away(capfd: pytest.CaptureFixture[str]) -> None:
    """The others are aligned to forty columns."""
    report = Report(["web", "x" * 80], Form(), PLAIN)
    report.takers("web")[0](b"hello\n")

    assert capfd.readouterr().out == f"{'web':40} | hello\n"


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (b"welcome\nplatform-report:system=Testix 1\nplatform-report:load=0.5\n", "web | Testix 1, load 0.50\n"),
        (b"no such shell", "web | it does not say how it is\n"),
    ],
)
def test_a_report_is_one_line_for_each_host(answer: bytes, line: str, capfd: pytest.CaptureFixture[str]) -> None:
    """However its answer comes."""
    taker, _ = Report(["web"], Form(facts=True), PLAIN).takers("web")
    taker(answer[:20])
    taker(answer[20:])
    taker.close()

    assert capfd.readouterr().out == line


def test_a_report_can_be_read_in_every_form(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Hosts that are equal fold, and files and documents have the line too, not what the script said."""
    for asked in (Form(fold=True, facts=True), Form(json=True, facts=True), Form(folder=tmp_path, facts=True)):
        report = Report(["web1", "web2"], asked, PLAIN)
        for name, noise in (("web1", b"welcome\n"), ("web2", b"")):
            out, err = report.takers(name)
            out(noise + b"platform-report:system=Testix 1\n")
            out.close()
            err.close()
        outcomes = tuple(Outcome(name, None, 1.0, 1) for name in ("web1", "web2"))
        report.finish(Results(outcomes, interrupted=False), 1.0)
    groups, brace, document = capfd.readouterr().out.partition("{")

    assert groups == "── web1, web2 (2 hosts) ──\nTestix 1\n"
    assert [host["stdout"] for host in json.loads(brace + document)["hosts"]] == ["Testix 1\n"] * 2
    assert [(tmp_path / f"web{number}.out").read_text() for number in (1, 2)] == ["Testix 1\n"] * 2


def test_the_options_mean_a_form() -> None:
    """A document names the folder that has its outputs."""
    assert form("out", fold=False, json=True, facts=True) == Form(json=True, folder=Path("out"), facts=True)
    assert form("", fold=True, json=False, facts=False) == Form(fold=True)


@pytest.mark.parametrize(("folder", "json_too"), [("out", False), ("", True), ("out", True)])
def test_output_that_goes_elsewhere_cannot_be_folded(folder: str, json_too: bool) -> None:
    """And is not left unfolded in silence."""
    with pytest.raises(UsageFailure) as failure:
        form(folder, fold=True, json=json_too, facts=False)

    assert str(failure.value) == (
        "--fold shows equal output once on the screen: expected neither --json nor --output-dir beside it"
    )
