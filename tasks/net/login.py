"""Owns the login as a table: (state, event) → state. Pure: no pexpect, no clock, no print.

`recognise` turns one printed line of `tailscale up` into an event; `TRANSITIONS` says what follows. An event that a
state does not know changes nothing: a terminal prints much that is none of our business.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto


class State(Enum):
    """Where one attempt stands. All but the first three are ends."""

    TRYING = auto()
    SIGNING_IN = auto()  # a browser has the word
    AWAITING_APPROVAL = auto()  # the key is good; an admin has the word
    ACCEPTED = auto()
    KEY_REFUSED = auto()
    NO_ANSWER = auto()
    NOT_SIGNED_IN = auto()
    RATE_LIMITED = auto()
    NEEDS_APPROVAL = auto()
    LOCKED_OUT = auto()
    TAGS_REFUSED = auto()
    MISCONFIGURED = auto()
    DAEMON_FAILED = auto()
    FAILED = auto()
    TYPED = auto()  # a person typed while the browser had the word


# Where the control server took the key, whatever follows: one for a single use is spent by then.
KEY_IS_GOOD = frozenset({State.AWAITING_APPROVAL, State.ACCEPTED, State.NEEDS_APPROVAL, State.LOCKED_OUT})


class Event(Enum):
    """What can happen during one attempt."""

    KEY_REFUSAL = auto()
    RATE_LIMIT = auto()
    TAGS_REFUSAL = auto()
    SETTINGS_REFUSAL = auto()
    SIGN_IN_URL = auto()
    APPROVAL_REQUEST = auto()
    LOCK_OUT = auto()
    DAEMON_FAILURE = auto()
    DEADLINE = auto()
    ENDED_WELL = auto()
    ENDED_BADLY = auto()
    LINE_TYPED = auto()
    NOBODY_TO_SIGN_IN = auto()  # the server wants a browser, but this attempt was to do without


# Every attempt can end in these ways, whatever was printed before.
_ENDS = {
    Event.KEY_REFUSAL: State.KEY_REFUSED,
    Event.RATE_LIMIT: State.RATE_LIMITED,
    Event.TAGS_REFUSAL: State.TAGS_REFUSED,
    Event.SETTINGS_REFUSAL: State.MISCONFIGURED,
    Event.LOCK_OUT: State.LOCKED_OUT,
    Event.DAEMON_FAILURE: State.DAEMON_FAILED,
    Event.ENDED_WELL: State.ACCEPTED,
    Event.ENDED_BADLY: State.FAILED,
}

TRANSITIONS: dict[State, dict[Event, State]] = {
    State.TRYING: {
        **_ENDS,
        Event.SIGN_IN_URL: State.SIGNING_IN,
        Event.NOBODY_TO_SIGN_IN: State.NOT_SIGNED_IN,
        Event.APPROVAL_REQUEST: State.AWAITING_APPROVAL,
        Event.DEADLINE: State.NO_ANSWER,
    },
    State.SIGNING_IN: {
        **_ENDS,
        Event.APPROVAL_REQUEST: State.AWAITING_APPROVAL,
        Event.DEADLINE: State.NOT_SIGNED_IN,
        Event.LINE_TYPED: State.TYPED,
    },
    State.AWAITING_APPROVAL: {**_ENDS, Event.DEADLINE: State.NEEDS_APPROVAL},
}

# Seen in tailscale 1.102's cmd/tailscale/cli/up.go and diag.go; what follows "backend error: " is the server's own.
# Order matters: a refusal of the key is whatever else the server has to say.
PATTERNS: tuple[tuple[Event, re.Pattern[str]], ...] = (
    # control/controlclient/direct.go, on HTTP 429
    (Event.RATE_LIMIT, re.compile(r"^backend error: (?P<text>.*rate limited.*)$")),
    # the tailnet demands flow logs (ipn/ipnlocal/local.go); another daemon flag mends it, no key
    (Event.SETTINGS_REFUSAL, re.compile(r"^backend error: (?P<text>.*requires logging to be enabled.*)$")),
    # Tailscale and headscale: "requested tags [tag:x] are invalid or not permitted"
    (Event.TAGS_REFUSAL, re.compile(r"^backend error: (?P<text>.*requested tags.*)$")),
    (Event.KEY_REFUSAL, re.compile(r"^backend error: (?P<text>.*)$")),
    (Event.APPROVAL_REQUEST, re.compile(r"^(?P<text>To approve your machine, visit.*)$")),
    (Event.SIGN_IN_URL, re.compile(r"^\s+(?P<text>https?://\S+)$")),
    (Event.LOCK_OUT, re.compile(r"^(?P<text>this node is locked out.*)$")),
    (Event.DEADLINE, re.compile(r"^(?P<text>timeout waiting for Tailscale service.*)$")),
    (Event.SETTINGS_REFUSAL, re.compile(r"^(?:Error: )?(?P<text>changing settings via 'tailscale up' requires.*)$")),
    (Event.SETTINGS_REFUSAL, re.compile(r"^(?P<text>can't change --login-server.*)$")),
    (Event.SETTINGS_REFUSAL, re.compile(r"^(?P<text>flag provided but not defined.*|invalid value .* for flag.*)$")),
    (Event.SETTINGS_REFUSAL, re.compile(r"^(?P<text>Access denied.*)$")),
    # the corrupt state file: ipn/ipnlocal/local.go, HTTP 500 to `start`
    (Event.DAEMON_FAILURE, re.compile(r"^(?P<text>.*state store is unhealthy.*)$")),
    (Event.DAEMON_FAILURE, re.compile(r"^(?P<text>failed to connect to local tailscaled.*)$")),
)
# ANSI colours and OSC titles, and the carriage returns of progress lines.
_DECORATION = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\r")


@dataclass(frozen=True)
class Sign:
    """An event that a line announced, and the part of the line that says why."""

    event: Event
    text: str


def recognise(line: str) -> Sign | None:
    """Return what a printed line announces, or None for one that is no business of ours."""
    plain = _DECORATION.sub("", line).rstrip()
    for event, pattern in PATTERNS:
        match = pattern.match(plain)
        if match:
            return Sign(event, match["text"])
    return None


def following(state: State, event: Event) -> State:
    """Return the state after the event; the same one if the event means nothing there."""
    return TRANSITIONS.get(state, {}).get(event, state)


def is_end(state: State) -> bool:
    """Whether nothing follows any more."""
    return state not in TRANSITIONS
