"""The loop of a login: where the key comes from, when a person is asked, what is saved, and what never asks."""

import os
import signal
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from tasks.errors import Busy, ConfigurationFailure, Failure, NotSaved, Refused, TimedOut, Unavailable
from tasks.interrupting import Interrupted, interruptions, raise_interrupted
from tasks.net.accepted import Save
from tasks.net.joining import PROMPT, Source, StoredKey, Ways, failure_of, join
from tasks.net.login import KEY_IS_GOOD, State
from tasks.net.terminal import Attempt
from tasks.secret import Secret
from tasks.tailnet import TailnetStatus
from tests.test_tailnet import UP

NEEDS_LOGIN = replace(UP, state="NeedsLogin", has_node_key=False, self_peer=None, peers=(), health=("Logged out.",))
STOPPED = replace(UP, state="Stopped", self_peer=None)
ITEM = "the item 'Tailscale auth key' of the age vault"
MEND = f"set TS_AUTHKEY, or put a new key into {ITEM}: `inv vault.set`"
GOOD, OTHER = "tskey-auth-good", "tskey-auth-other"
REFUSED = Attempt(State.KEY_REFUSED, "authkey expired")
ACCEPTED = Attempt(State.ACCEPTED)


@dataclass
class World:
    """A scripted world: what each key leads to, what a person types, what the vault holds; and what then happened."""

    outcomes: dict[str, Attempt] = field(default_factory=lambda: {GOOD: ACCEPTED})
    without_key: Attempt = field(default_factory=lambda: Attempt(State.NOT_SIGNED_IN, "nobody came"))
    by_node_key: Attempt = field(default_factory=lambda: ACCEPTED)
    typed: Iterable[str] | None = None
    held: str | Failure | None = None
    replaced: list[str | Failure] = field(default_factory=list)
    accepted: str = ""
    save_fails: Failure | None = None
    after: TailnetStatus = UP
    said: list[str] = field(default_factory=list)
    tried: list[str | None] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)
    quieted: int = 0
    reads: int = 0
    resumed: int = 0

    def ways(self) -> Ways:
        """Return this world as the loop sees it."""
        self._lines = iter(self.typed) if self.typed is not None else None
        return Ways(
            attempt=self._attempt,
            resume=self._resume,
            status=lambda: self.after,
            quiet=self._quiet,
            ask=self._ask if self._lines is not None else None,
            read=self._read,
            reread=self._reread,
            keep=self._keep,
            where=lambda _save: "it is kept in a safe",
            tell=self.said.append,
        )

    def join(self, status: TailnetStatus = NEEDS_LOGIN, configured: str | None = None) -> TailnetStatus:
        """Run the loop."""
        source = Source(Secret(configured), "the key in TS_AUTHKEY") if configured is not None else None
        return join(self.ways(), status, source, ITEM)

    def _attempt(self, key: Secret | None, taken: Callable[[], None]) -> Attempt:
        self.tried.append(key.reveal() if key else None)
        outcome = self.outcomes.get(key.reveal(), REFUSED) if key else self.without_key
        if outcome.state in KEY_IS_GOOD:
            taken()
        return outcome

    def _resume(self) -> Attempt:
        self.resumed += 1
        return self.by_node_key

    def _quiet(self) -> None:
        self.quieted += 1

    def _ask(self, prompt: str) -> Secret:
        assert prompt == PROMPT
        assert self._lines is not None
        line = next(self._lines, None)
        if line is None:
            raise EOFError
        return Secret(line)

    def _read(self) -> StoredKey | None:
        self.reads += 1
        if isinstance(self.held, Failure):
            raise self.held
        return StoredKey(Secret(self.held), self.accepted) if self.held else None

    def _reread(self) -> StoredKey | None:
        if self.replaced:
            self.held = self.replaced.pop(0)
        return self._read()

    def _keep(self, key: Secret) -> Save:
        self.kept.append(key.reveal())
        return lambda: self._save(key)

    def _save(self, key: Secret) -> str:
        if self.save_fails is not None:
            raise self.save_fails
        self.saved.append(key.reveal())
        return ITEM


def failure(world: World, status: TailnetStatus = NEEDS_LOGIN, configured: str | None = None) -> Failure:
    """Return how the loop fails."""
    with pytest.raises(Failure) as caught:
        world.join(status, configured)
    return caught.value


def test_a_node_that_is_up_is_left_alone() -> None:
    world = World()

    assert world.join(UP) is UP
    assert (world.tried, world.reads, world.resumed) == ([], 0, 0)


def test_a_node_with_its_node_key_needs_no_auth_key() -> None:
    """It is neither read from the vault nor asked for."""
    world = World(held=GOOD, typed=[])

    assert world.join(STOPPED, configured=GOOD) is UP
    assert (world.resumed, world.tried, world.reads) == (1, [], 0)


@pytest.mark.parametrize("end", [State.KEY_REFUSED, State.NOT_SIGNED_IN])
def test_a_node_key_that_no_longer_serves_gives_way_to_the_vaults_key(end: State) -> None:
    """As after the node was deleted or expired at the control server."""
    world = World(by_node_key=Attempt(end, "node not found"), held=GOOD)

    assert world.join(STOPPED) is UP
    assert world.tried == [GOOD]
    assert world.said == ["the node's own key no longer serves: node not found"]


def test_an_expired_node_key_is_not_even_tried() -> None:
    """The daemon then says NeedsLogin although it has one."""
    world = World(held=GOOD)

    assert world.join(replace(NEEDS_LOGIN, has_node_key=True)) is UP
    assert (world.resumed, world.tried) == (0, [GOOD])


def test_a_node_key_that_gets_no_answer_never_leads_to_a_key() -> None:
    world = World(by_node_key=Attempt(State.NO_ANSWER, "timeout"), held=GOOD, typed=[GOOD], after=NEEDS_LOGIN)

    assert failure(world, STOPPED).cause == "unavailable"
    assert (world.tried, world.reads) == ([], 0)


def test_the_configured_key_goes_before_the_vaults_and_is_never_saved() -> None:
    world = World(held=OTHER)

    assert world.join(configured=GOOD) is UP
    assert (world.tried, world.reads, world.saved) == ([GOOD], 0, [])


def test_the_vaults_key_is_used_without_a_question_and_not_saved_again() -> None:
    world = World(held=GOOD, typed=[])

    assert world.join() is UP
    assert (world.tried, world.saved, world.said) == ([GOOD], [], [])


def test_a_bad_key_then_a_good_one_typed_by_hand_is_saved_once() -> None:
    """Each refusal is said in the server's words, and the daemon is told to stop trying the refused key."""
    world = World(held="tskey-auth-old", typed=["tskey-auth-bad", f" '{GOOD}' "])

    assert world.join() is UP
    assert world.tried == ["tskey-auth-old", "tskey-auth-bad", GOOD]
    assert (world.saved, world.quieted) == ([GOOD], 2)
    assert world.said == [
        f"{ITEM} was refused: authkey expired",
        "the key you typed was refused: authkey expired",
        f"the accepted key is saved: {ITEM}",
    ]


def test_a_refused_key_that_was_accepted_before_may_be_a_spent_one() -> None:
    """The refusal says when and by whom; a person and a log get the same."""
    accepted = "2026-11-24T15:04:05Z by Tailscale as box\x1b[2J; if it was a single-use key, it is spent"
    told = "authkey expired; it was accepted on 2026-11-24T15:04:05Z by Tailscale as box\\x1b[2J; "
    told += "if it was a single-use key, it is spent"
    world = World(held=OTHER, accepted=accepted, typed=["tskey-auth-bad", GOOD])

    assert world.join() is UP
    assert world.said[:2] == [f"{ITEM} was refused: {told}", "the key you typed was refused: authkey expired"]
    assert failure(World(held=OTHER, accepted=accepted)).why == told


def test_a_key_that_was_replaced_in_the_vault_meanwhile_is_tried_before_anybody_is_asked() -> None:
    """As by a colleague, within the minute for which a copy counts as fresh."""
    world = World(held="tskey-auth-old", replaced=["tskey-auth-newer", GOOD])

    assert world.join() is UP
    assert (world.tried, world.saved) == (["tskey-auth-old", "tskey-auth-newer", GOOD], [])
    told = f"{ITEM} was refused: authkey expired; it was replaced meanwhile, trying the new key"
    assert world.said == [told, told]


def test_a_vault_without_news_leaves_the_refusal_to_be_told() -> None:
    """So does one whose server cannot be asked for any."""
    for news in (OTHER, Unavailable("the server is away")):
        world = World(held=OTHER, replaced=[news])

        assert failure(world).cause == "key-refused"
        assert (world.tried, world.said) == ([OTHER], [])


def test_a_configured_key_that_is_refused_does_not_lead_to_the_vault() -> None:
    world = World(held=GOOD)

    assert failure(world, configured=OTHER).cause == "key-refused"
    assert world.reads == 0


def test_a_vault_that_cannot_be_read_gives_way_to_a_person() -> None:
    world = World(held=Unavailable("the vault is locked", next_step="`inv vault.unlock`"), typed=[GOOD])

    assert world.join() is UP
    assert world.said == [
        "the vault is locked\n  next: `inv vault.unlock`",
        f"the accepted key is saved: {ITEM}",
    ]


def test_a_vault_that_cannot_be_read_is_the_failure_when_nobody_can_be_asked() -> None:
    locked = Unavailable("the vault is locked")

    assert failure(World(held=locked)) is locked


def test_without_a_key_and_a_person_the_names_of_both_places_are_said() -> None:
    """That is all that somebody who reads a CI log needs."""
    found = failure(World())

    assert isinstance(found, ConfigurationFailure)
    assert (found.cause, found.next_step) == ("no-key", MEND)
    assert found.what == "there is no auth key, and nobody to ask"
    assert found.why == f"TS_AUTHKEY is not set and {ITEM} holds none"


@pytest.mark.parametrize(
    ("configured", "held", "name"),
    [(OTHER, None, "the key in TS_AUTHKEY"), (None, OTHER, ITEM)],
)
def test_a_refused_key_without_a_person_is_named_by_its_place(
    configured: str | None, held: str | None, name: str
) -> None:
    world = World(held=held)
    found = failure(world, configured=configured)

    assert isinstance(found, Refused)
    assert (found.cause, found.what, found.why) == ("key-refused", f"{name} was refused", "authkey expired")
    assert found.next_step == MEND
    assert (world.tried, world.quieted, world.saved) == ([OTHER], 1, [])


# What is none of the key's fault: (how the attempt ended, the failure, its exit status, its cause).
NOT_THE_KEY = (
    (State.RATE_LIMITED, Busy, 75, "busy"),
    (State.NEEDS_APPROVAL, TimedOut, 75, "needs-approval"),
    (State.LOCKED_OUT, Refused, 77, "locked-out"),
    (State.TAGS_REFUSED, ConfigurationFailure, 78, "tags"),
    (State.MISCONFIGURED, ConfigurationFailure, 78, "configuration"),
    (State.DAEMON_FAILED, Unavailable, 69, "unavailable"),
    (State.NOT_SIGNED_IN, TimedOut, 75, "timed-out"),
)


@pytest.mark.parametrize(("end", "kind", "exit_status", "cause"), NOT_THE_KEY)
def test_what_no_key_can_mend_never_asks_for_one(end: State, kind: type[Failure], exit_status: int, cause: str) -> None:
    """Though a person is there."""
    world = World(outcomes={OTHER: Attempt(end, "as the server says")}, held=OTHER, typed=[GOOD])
    found = failure(world)

    assert type(found) is kind
    assert (found.exit_status, found.cause, found.why) == (exit_status, cause, "as the server says")
    assert found.next_step != ""
    assert (world.tried, world.saved, world.quieted) == ([OTHER], [], 0)


def test_every_end_of_the_table_is_told_apart() -> None:
    """No two of them end in the same words."""
    said = {failure_of(Attempt(end, "x")).what for end, *_ in NOT_THE_KEY}

    assert len(said) == len(NOT_THE_KEY)


@pytest.mark.parametrize(
    "health",
    [
        "You are logged out. The last login error was: fetch control key: dial tcp 127.0.0.1:9: connection refused",
        "You are logged out. The last login error was: lookup nowhere.invalid: no such host",
        "You are logged out. The last login error was: register request: http 500: oops",
    ],
)
@pytest.mark.parametrize("end", [State.NO_ANSWER, State.FAILED])
def test_no_answer_is_explained_by_the_daemon_and_never_asks(end: State, health: str) -> None:
    """A server that is down, DNS, HTTP 5xx: `tailscale up` says nothing of them, the daemon's health does."""
    world = World(
        outcomes={OTHER: Attempt(end, "timeout")},
        held=OTHER,
        typed=[GOOD],
        after=replace(NEEDS_LOGIN, health=("Logged out.", health)),
    )
    found = failure(world)

    assert (found.exit_status, found.what) == (69, "the login did not come through")
    assert found.why == health.partition("error was: ")[2]
    assert world.tried == [OTHER]


@pytest.mark.parametrize(
    ("health", "text", "why"),
    [
        (("the network is down",), "timeout", "the network is down"),
        ((), "some last words", "some last words"),
        ((), "", "the daemon stays in NeedsLogin"),
    ],
)
def test_the_best_explanation_at_hand_is_given(health: tuple[str, ...], text: str, why: str) -> None:
    world = World(
        outcomes={OTHER: Attempt(State.NO_ANSWER, text)}, held=OTHER, after=replace(NEEDS_LOGIN, health=health)
    )

    assert failure(world).why == why


def test_a_silent_end_is_a_success_when_the_daemon_is_up() -> None:
    """The daemon has the last word, not what was printed."""
    world = World(outcomes={GOOD: Attempt(State.NO_ANSWER, "timeout")}, typed=[GOOD])

    assert world.join() is UP
    assert world.saved == [GOOD]


def test_success_is_only_believed_when_the_daemon_confirms_it() -> None:
    """`up` ends well as soon as the state is Running, before the control server has answered."""
    waiting = [NEEDS_LOGIN, replace(UP, self_peer=None), UP]
    world = World(typed=[GOOD])
    ways = replace(world.ways(), status=lambda: waiting.pop(0))

    assert join(ways, NEEDS_LOGIN, None, ITEM) is UP
    assert waiting == []


# The control server took the key, and the login fails all the same: (how the attempt ended, the exit status).
TAKEN_IN_VAIN = ((State.ACCEPTED, 69), (State.NEEDS_APPROVAL, 75), (State.LOCKED_OUT, 77))


def silent(world: World) -> Ways:
    """Return ways to a daemon that answers nothing after the attempt, when the key must be kept already."""

    def status() -> TailnetStatus:
        assert world.kept == [GOOD]
        raise Unavailable("the daemon does not answer")

    return replace(world.ways(), status=status)


@pytest.mark.parametrize(("end", "exit_status"), TAKEN_IN_VAIN)
def test_a_good_key_is_kept_at_once_and_saved_though_the_login_fails(end: State, exit_status: int) -> None:
    """It may be spent: an admin, a signature or a working daemon is all that is missing."""
    world = World(outcomes={GOOD: Attempt(end, "as it says")}, typed=[GOOD])
    with pytest.raises(Failure) as caught:
        join(silent(world), NEEDS_LOGIN, None, ITEM)

    assert caught.value.exit_status == exit_status
    assert (world.kept, world.saved) == ([GOOD], [GOOD])
    assert world.said == [f"the accepted key is saved: {ITEM}"]


@pytest.mark.parametrize(("end", "exit_status"), TAKEN_IN_VAIN)
def test_a_save_that_fails_does_not_hide_how_the_login_failed(end: State, exit_status: int) -> None:
    """The network is not up, so it is not said to be, as where the save alone fails."""
    full = NotSaved("cannot write it", why="no space left", next_step="mend that")
    world = World(outcomes={GOOD: Attempt(end, "as it says")}, typed=[GOOD], save_fails=full)
    with pytest.raises(Failure) as caught:
        join(silent(world), NEEDS_LOGIN, None, ITEM)

    assert caught.value.exit_status == exit_status
    assert world.said == ["the accepted key could not be saved: cannot write it: no space left\n  next: mend that"]


def interrupting(world: World) -> Callable[[], TailnetStatus]:
    """Return a daemon's status that asks us to end before it answers."""

    def status() -> TailnetStatus:
        os.kill(os.getpid(), signal.SIGTERM)
        return world.after

    return status


def test_an_interruption_that_comes_while_a_key_is_being_kept_waits_until_it_is() -> None:
    """It may be spent; and `interrupted` alone would sound like a loss."""
    world = World(typed=[GOOD])
    status = interrupting(world)

    def keep(key: Secret) -> Save:
        status()
        return world.ways().keep(key)

    with pytest.raises(Interrupted) as caught, interruptions(raise_interrupted):
        join(replace(world.ways(), keep=keep), NEEDS_LOGIN, None, ITEM)

    assert (caught.value.exit_status, world.kept, world.saved) == (143, [GOOD], [])
    assert world.said == ["it is kept in a safe"]


def test_an_interruption_after_an_accepted_key_was_kept_tells_where_it_is() -> None:
    world = World(typed=[GOOD])
    with pytest.raises(Interrupted), interruptions(raise_interrupted):
        join(replace(world.ways(), status=interrupting(world)), NEEDS_LOGIN, None, ITEM)

    assert (world.kept, world.said) == ([GOOD], ["it is kept in a safe"])


def test_an_interruption_before_a_key_was_accepted_has_nothing_to_tell() -> None:
    world = World(outcomes={GOOD: Attempt(State.NO_ANSWER)}, typed=[GOOD])
    with pytest.raises(Interrupted), interruptions(raise_interrupted):
        join(replace(world.ways(), status=interrupting(world)), NEEDS_LOGIN, None, ITEM)

    assert (world.kept, world.said) == ([], [])


def test_a_key_that_was_taken_while_the_answer_came_late_is_kept_and_saved() -> None:
    """The daemon has a node key by then, but is not up yet."""
    starting = replace(STOPPED, state="Starting")
    world = World(outcomes={GOOD: Attempt(State.NO_ANSWER, "timeout")}, typed=[GOOD], after=starting)

    assert failure(world).exit_status == 69
    assert (world.kept, world.saved) == ([GOOD], [GOOD])


def test_an_older_node_key_is_no_sign_that_an_auth_key_was_taken() -> None:
    expired = replace(NEEDS_LOGIN, has_node_key=True)
    world = World(outcomes={GOOD: Attempt(State.NO_ANSWER, "timeout")}, typed=[GOOD], after=expired)

    assert failure(world, expired).exit_status == 69
    assert world.kept == []


def test_no_key_but_a_typed_one_is_kept() -> None:
    """The vault's own and TS_AUTHKEY's are where they belong."""
    held, configured = World(held=GOOD), World()
    held.join()
    configured.join(configured=GOOD)

    assert (held.kept, configured.kept) == ([], [])


def test_a_key_that_cannot_be_saved_leaves_the_network_up_and_says_so() -> None:
    world = World(typed=[GOOD], save_fails=Unavailable("no space left"))
    found = failure(world)

    assert isinstance(found, NotSaved)
    assert found.exit_status == 74
    assert found.what == "the network is up, but the new key could not be saved"
    assert (found.why, world.tried) == ("no space left", [GOOD])
    assert found.next_step == "mend the vault, then `inv vault.set` with the same key"


def test_a_key_that_was_kept_elsewhere_is_said_to_be_there() -> None:
    """Whoever kept it knows best how it gets where it belongs."""
    kept = NotSaved("safe in x", why="it is down", next_step="wait; `inv net.up` offers it", cause="rescued")
    found = failure(World(typed=[GOOD], save_fails=kept))

    assert (found.exit_status, found.cause, found.why) == (74, "rescued", "safe in x: it is down")
    assert found.next_step == "wait; `inv net.up` offers it"


def test_enter_alone_signs_in_with_a_browser() -> None:
    """Nothing is saved: there is no key."""
    world = World(without_key=ACCEPTED, typed=[""])

    assert world.join() is UP
    assert (world.tried, world.saved, world.said) == ([None], [], [])


def test_a_key_typed_while_the_browser_has_the_word_is_tried() -> None:
    """The interruption is not called a refusal."""
    world = World(without_key=Attempt(State.TYPED), typed=["", GOOD])

    assert world.join() is UP
    assert (world.tried, world.saved) == ([None, GOOD], [GOOD])
    assert world.said == [f"the accepted key is saved: {ITEM}"]


def test_ctrl_d_at_the_prompt_is_no_key() -> None:
    found = failure(World(typed=[]))

    assert isinstance(found, Refused)
    assert str(found) == "no key given\n  next: `inv net.up` asks again; the daemon is up, but logged out"


def test_ctrl_c_at_the_prompt_passes_through() -> None:
    def interrupted(_prompt: str) -> Secret:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        join(replace(World().ways(), ask=interrupted), NEEDS_LOGIN, None, ITEM)


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("tskey-auth-" + "x" * 600, "it has 611 characters, no key has more than 512"),
        ("two words", "it holds blanks or characters that no key has"),
        ("tskey\x00auth", "it holds blanks or characters that no key has"),
        ("schlüssel", "it holds blanks or characters that no key has"),
    ],
)
def test_what_can_be_no_key_is_refused_before_anybody_is_asked(typed: str, reason: str) -> None:
    """And is not repeated in the refusal."""
    world = World(typed=[typed, GOOD])

    assert world.join() is UP
    assert world.tried == [GOOD]
    assert world.said[0] == f"the key you typed was refused: {reason}"


def test_a_thousand_wrong_keys_take_no_more_memory_than_ten() -> None:
    """Any number of tries, each at once."""
    assert growth(1000) < growth(10) + 100_000


def growth(count: int) -> int:
    """Return the peak of the bytes that so many refusals take."""
    world = World(typed=(f"tskey-auth-{number}" for number in range(count)))
    ways = replace(world.ways(), attempt=lambda _key, _taken: REFUSED, tell=lambda _text: None, quiet=lambda: None)
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            join(ways, NEEDS_LOGIN, None, ITEM)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
