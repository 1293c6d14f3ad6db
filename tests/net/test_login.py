"""The table of the login: every state can be reached, ends are ends, each recorded text means its event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.net.login import TRANSITIONS, Event, Sign, State, following, is_end, recognise

# What follows "backend error: " when the control server refuses a key: Tailscale's own, then headscale 0.29's.
KEY_REFUSALS = (
    "invalid key: API key does not exist",
    "invalid key: API key kXSkPB6CNTRL not valid",
    "invalid key: unable to validate API key",
    "register request: http 400: invalid key: invalid API token",
    "key cannot be used for node auth: {id: 1}",
    "invalid pre auth key",
    "authkey expired",
    "authkey already used",
    "authkey revoked",
    "invalid authkey",
    "failed to parse auth-key",
    "handling register with auth key: failed to parse auth-key: key too short, expected at least 77 chars after prefix",
    "handling register with auth key: invalid auth key: crypto/bcrypt: hashedPassword is not the hash of the given one",
    "a wording that nobody has seen yet",
)
TAGS = "requested tags [tag:x] are invalid or not permitted"
LOGGING = "tailnet requires logging to be enabled. Remove --no-logs-no-support from tailscaled command line."
LIMIT = "node registration rate limited; will retry after 10s"
LOCKED = "this node is locked out; it will not have connectivity until it is signed. For more information, see URL"
TIMEOUT = 'timeout waiting for Tailscale service to enter a Running state; check health with "tailscale status"'
NO_DAEMON = "failed to connect to local tailscaled; it doesn't appear to be running"
STORE = "500 Internal Server Error: cannot start backend when state store is unhealthy"
NOT_REPEATED = "changing settings via 'tailscale up' requires mentioning all"
APPROVE = "To approve your machine, visit (as admin):"
URL = "http://127.0.0.1:8080/register/hskey-authreq-abc"
# (the line as printed, its event, the words that say why)
RECORDED = (
    *((f"backend error: {text}", Event.KEY_REFUSAL, text) for text in KEY_REFUSALS),
    (f"backend error: {LIMIT}", Event.RATE_LIMIT, LIMIT),
    (f"backend error: {LOGGING}", Event.SETTINGS_REFUSAL, LOGGING),
    (f"backend error: {TAGS}", Event.TAGS_REFUSAL, TAGS),
    (
        f"backend error: handling register with auth key: creating new node: {TAGS}",
        Event.TAGS_REFUSAL,
        f"handling register with auth key: creating new node: {TAGS}",
    ),
    (f"\t{URL}", Event.SIGN_IN_URL, URL),
    (APPROVE, Event.APPROVAL_REQUEST, APPROVE),
    (LOCKED, Event.LOCK_OUT, LOCKED),
    (TIMEOUT, Event.DEADLINE, TIMEOUT),
    (f"Error: {NOT_REPEATED}", Event.SETTINGS_REFUSAL, NOT_REPEATED),
    (NOT_REPEATED, Event.SETTINGS_REFUSAL, NOT_REPEATED),
    (
        "can't change --login-server without --force-reauth",
        Event.SETTINGS_REFUSAL,
        "can't change --login-server without --force-reauth",
    ),
    ("flag provided but not defined: -x", Event.SETTINGS_REFUSAL, "flag provided but not defined: -x"),
    (
        "Access denied: checkprefs access denied",
        Event.SETTINGS_REFUSAL,
        "Access denied: checkprefs access denied",
    ),
    (NO_DAEMON, Event.DAEMON_FAILURE, NO_DAEMON),
    (
        "failed to connect to local tailscaled (which appears to be running as tailscaled, pid 7). Got error: EOF",
        Event.DAEMON_FAILURE,
        "failed to connect to local tailscaled (which appears to be running as tailscaled, pid 7). Got error: EOF",
    ),
    (STORE, Event.DAEMON_FAILURE, STORE),
)
# Lines that are no business of ours: blanks, titles, warnings, texts of ours inside others' words.
IGNORED = (
    "",
    "To authenticate, visit:",
    "Success.",
    "Warning: client version differs",
    "the server said backend error: invalid key",
    " backend error: indented",
    URL,
    f"see {URL}",
    f"\t{URL} and more",
    "auth key: ",
    "Backend Error: authkey expired",
    "# this node is locked out",
)


@pytest.mark.parametrize(("line", "event", "text"), RECORDED)
def test_each_recorded_text_means_its_event(line: str, event: Event, text: str) -> None:
    assert recognise(line) == Sign(event, text)


@pytest.mark.parametrize("line", IGNORED)
def test_other_lines_mean_nothing(line: str) -> None:
    assert recognise(line) is None


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("\x1b[31mbackend error: authkey expired\x1b[0m", id="colours"),
        pytest.param("\x1b]0;a title\x07backend error: authkey expired", id="title ended by BEL"),
        pytest.param("\x1b]0;a title\x1b\\backend error: authkey expired", id="title ended by ST"),
        pytest.param("\rbackend error: authkey expired\r", id="carriage returns"),
        pytest.param("\x1b[2K\x1b[1Gbackend error: authkey expired  \r", id="a redrawn line"),
    ],
)
def test_decoration_is_taken_off_first(line: str) -> None:
    assert recognise(line) == Sign(Event.KEY_REFUSAL, "authkey expired")


def test_a_refusal_that_quotes_another_message_stays_a_refusal() -> None:
    """The patterns are anchored: what the server writes cannot become an address or an approval."""
    sign = recognise(f"backend error: To approve your machine, visit \t{URL}")

    assert sign is not None
    assert sign.event is Event.KEY_REFUSAL


@given(st.text(max_size=200))
def test_no_line_is_too_odd(line: str) -> None:
    """It means something or nothing, and is never an exception."""
    sign = recognise(line)

    assert sign is None or sign.event in Event


def test_every_state_can_be_reached() -> None:
    reached = {State.TRYING}
    while grown := {after for state in reached for after in TRANSITIONS.get(state, {}).values()} - reached:
        reached |= grown

    assert reached == set(State)


def test_every_event_matters_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Event))
def test_an_event_out_of_place_changes_nothing(state: State, event: Event) -> None:
    """An end stays one whatever is printed after it."""
    expected = TRANSITIONS[state].get(event, state) if state in TRANSITIONS else state

    assert following(state, event) is expected
    assert is_end(state) is (state not in TRANSITIONS)


@pytest.mark.parametrize("state", list(TRANSITIONS))
def test_whatever_goes_on_ends_by_the_deadline_and_with_the_program(state: State) -> None:
    """So no attempt can hang."""
    assert all(is_end(following(state, event)) for event in (Event.DEADLINE, Event.ENDED_WELL, Event.ENDED_BADLY))


def test_only_a_refusal_of_the_key_is_an_end_that_asks_for_another() -> None:
    """Silence, limits, approval, lock, tags and settings each have an end of their own."""
    leading = {event for row in TRANSITIONS.values() for event, after in row.items() if after is State.KEY_REFUSED}

    assert leading == {Event.KEY_REFUSAL}
