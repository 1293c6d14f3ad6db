"""The way to hosts as every command composes it: names are checked, a network that is down is told."""

import sys

import pexpect
import pytest

from tasks import reach, settings
from tasks.errors import Unavailable, UsageFailure
from tests.conftest import ROOT


@pytest.mark.parametrize("text", ["", "-oProxyCommand=id", "a b", "$(id)"])
def test_what_is_no_host_name_goes_nowhere(text: str) -> None:
    with pytest.raises(UsageFailure) as failure:
        reach.host_name(text)

    assert str(failure.value).startswith("--host: expected ")


def test_a_network_that_is_down_is_told_with_the_command_that_brings_it_up() -> None:
    with pytest.raises(Unavailable) as failure:
        reach.ways_of(settings.load())

    assert str(failure.value).startswith("the network 'default' is down: no tailscaled listens at /")
    assert (failure.value.next_step, failure.value.cause) == ("`inv net.up`", "down")


ASKS = """
from tasks import errors, reach
from tasks.remote.lines import Frame
try:
    reach.feed_of(Frame(sudo=True))(lambda data: print("fed", data))
except errors.Refused as refused:
    print(refused)
"""


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("\x04", "no password was typed for sudo\n  next: run it again; Enter alone, if it wants none\n"),
        ("\r", "fed b'\\n'\n"),
        ("open sesame\r", "fed b'open sesame\\n'\n"),
    ],
)
def test_sudo_gets_what_is_typed_and_ctrl_d_is_no_answer(typed: str, said: str) -> None:
    with pexpect.spawn(sys.executable, ["-c", ASKS], cwd=str(ROOT), encoding="utf-8", timeout=30) as child:
        child.expect_exact("sudo's password there (Enter: it wants none): ")
        child.send(typed)
        child.expect(pexpect.EOF)

        assert (child.before or "").replace("\r\n", "\n").lstrip("\n") == said
