"""From the settings to a network that is up: which arguments, whose daemon, what is said when nobody answers."""

from dataclasses import replace
from pathlib import Path

import pytest

from tasks import settings
from tasks.connecting import current_status, daemon_of, up_arguments, with_folder
from tasks.errors import Unavailable


@pytest.fixture
def here() -> settings.Settings:
    """Return the settings of a place where nothing is set."""
    return settings.load({}, root=Path("/nowhere"))


def test_the_shields_are_up_unless_tailscale_ssh_is_offered(here: settings.Settings) -> None:
    assert up_arguments(here) == ("--reset", "--shields-up")
    assert up_arguments(replace(here, ssh=True)) == ("--reset", "--ssh")


def test_every_setting_is_named_at_every_login_and_extra_words_come_last(here: settings.Settings) -> None:
    """What a person adds by TS_EXTRA_ARGS wins over ours."""
    chosen = replace(here, hostname="box", login_server="https://hs.example.org", extra_args=("--accept-routes",))

    assert up_arguments(chosen) == (
        *("--reset", "--login-server=https://hs.example.org", "--hostname=box", "--shields-up", "--accept-routes"),
    )


def test_a_network_that_is_down_says_what_brings_it_up(here: settings.Settings) -> None:
    with pytest.raises(Unavailable) as caught:
        current_status(here)

    assert (str(caught.value), caught.value.cause) == ("the network 'default' is down\n  next: `inv net.up`", "down")


def test_the_folder_of_sockets_and_locks_is_private(here: settings.Settings) -> None:
    daemon = with_folder(daemon_of(here))

    assert daemon.runtime_folder.stat().st_mode & 0o777 == 0o700
