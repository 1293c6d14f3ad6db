"""Owns the way from a function to a command: Invoke's task plus the place where a failure becomes a sentence.

The only shared file that knows Invoke.
"""

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import Task

from tasks import console, options, settings
from tasks.errors import Failure, NotSaved, RemoteExit, UsageFailure
from tasks.interrupting import Interrupted, interruptions, raise_interrupted

INTERRUPTED = 130  # 128 + SIGINT, as a shell says it
COMMANDS: set[str] = set()
TAKERS_OF_WORDS: set[str] = set()
BECOMING: set[str] = set()

__all__ = ["Context", "command", "is_dry", "is_last", "load_settings"]


def command(
    *,
    name: str | None = None,
    words: bool = False,
    becomes: bool = False,
    iterable: Iterable[str] = (),
    options_help: dict[str, str] | None = None,
) -> Callable[[Callable[..., None]], Task[Any]]:
    """Make a function an Invoke task whose failures end as one sentence on stderr and an exit status.

    `words`: it takes the words after `--`. `becomes`: always its program, so that it must be a chain's last. The other
    arguments are Invoke's own.
    """

    def decorate(body: Callable[..., None]) -> Task[Any]:
        own = _full_name(body, name)
        COMMANDS.add(own)
        if words:
            TAKERS_OF_WORDS.add(own)
        if becomes:
            BECOMING.add(own)
        return Task(_guarded(body), name=name, auto_shortflags=False, iterable=list(iterable), help=options_help or {})

    return decorate


def is_dry(context: Context) -> bool:
    """Whether Invoke's `--dry` asks to say what would be done and to do nothing."""
    return bool(context.config.run.dry)


def is_last(own: str) -> bool:
    """Whether surely no other command of this chain follows the one of that name."""
    return options.is_last(own, COMMANDS)


def load_settings() -> settings.Settings:
    """Read the settings; if the running lab was taken because nobody named a tailnet, say so, once per chain.

    Read anew by each command: `lab.up net.up` changes what is there.
    """
    loaded = settings.load()
    if loaded.lab_by_default:
        _tell_lab()
    return loaded


@functools.cache
def _tell_lab() -> None:
    console.step("tailnet: lab (it is up, and no other is set; TAILNET=default would be yours)")


def _guarded(body: Callable[..., None]) -> Callable[..., None]:
    parameters = list(inspect.signature(body).parameters.values())[1:]
    positional = {parameter.name for parameter in parameters if parameter.default is inspect.Parameter.empty}

    @functools.wraps(body)
    def run(context: Context, *args: object, **options_given: object) -> None:
        _reopen_closed()
        try:
            options.check_words(TAKERS_OF_WORDS)
            options.check_last(BECOMING, COMMANDS)
            _refuse_flags_as_values(positional, options_given)
            with interruptions(raise_interrupted):
                body(context, *args, **options_given)
            sys.stdout.flush()
        except BaseException as error:  # noqa: BLE001 - this is the one boundary
            _end(error, as_json=bool(options_given.get("json")))

    return run


def _reopen_closed() -> None:
    """Stand /dev/null in for a stdin, stdout or stderr that is closed: no file of ours shall get its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _refuse_flags_as_values(positional: set[str], given: dict[str, object]) -> None:
    # Invoke hands `vault.set --help` the name "--help" (its parser fills positionals first).
    for name, value in given.items():
        if name in positional and isinstance(value, str) and value.startswith("-"):
            raise UsageFailure(
                f"{name}: expected a value, got the option {value!r}",
                next_step="`inv --help COMMAND` shows its options",
            )


def _end(error: BaseException, *, as_json: bool) -> NoReturn:
    if os.environ.get("PLATFORM_DEBUG") == "1":
        console.step("".join(traceback.format_exception(error)))
    match error:
        case Exit() | SystemExit():
            raise error
        case RemoteExit():
            raise Exit(code=error.ours) from None
        case KeyboardInterrupt():
            console.step(": ".join(["interrupted", *error.args]))
            raise Exit(code=error.exit_status if isinstance(error, Interrupted) else INTERRUPTED) from None
        case BrokenPipeError():
            console.drop(1)
            raise Exit(code=0) from None
        case Failure():
            _tell(error, as_json=as_json)
            raise Exit(code=error.exit_status) from None
    bug = Failure(
        f"a bug in the Platform Manager: {type(error).__name__}: {error}",
        next_step="run it again with PLATFORM_DEBUG=1 and report what it prints",
    )
    _tell(bug, as_json=as_json)
    raise Exit(code=bug.exit_status) from None


def _tell(failure: Failure, *, as_json: bool) -> None:
    if as_json and not failure.documented:
        try:
            console.document(_as_record(failure))
        except (NotSaved, BrokenPipeError):
            console.drop(1)  # nobody gets the document; the sentence and the exit status stay those of the failure
    console.step(f"error: {failure}")


def _as_record(failure: Failure) -> dict[str, object]:
    return {
        "error": failure.what,
        "why": failure.why,
        "next": failure.next_step,
        "cause": failure.cause,
        "exit_status": failure.exit_status,
    }


def _full_name(body: Callable[..., None], name: str | None) -> str:
    own = name or body.__name__.replace("_", "-")
    module = sys.modules[body.__module__]
    return f"{module.__name__.removeprefix('tasks.')}.{own}" if hasattr(module, "__path__") else own
