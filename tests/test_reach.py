"""The way to hosts as every command composes it: names are checked, a network that is down is told."""

import pytest

from tasks import reach, settings
from tasks.errors import Unavailable, UsageFailure


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
