"""Owns the start of other programs: run() for a short one, detach() for one that outlives us.

The only user of Popen. argv tuples, never a shell; environments are given whole, never inherited by default.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tasks import conversing
from tasks.errors import Failure, TimedOut, Unavailable, reason
from tasks.interrupting import Interrupted, interruptions

# What any program of ours may see of our environment; whatever else it needs is named where it is started.
PLAIN_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
PR_SET_PDEATHSIG = 1  # linux/prctl.h
CHILD_LOCALE = {"LC_ALL": "C.UTF-8", "TERM": "dumb", "NO_COLOR": "1"}


@dataclass(frozen=True)
class Completed:
    """How a short program ended: its exit status (128 + n for a signal) and what it printed."""

    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it printed on stdout, as text."""
        return self.stdout.decode(errors="replace")

    @property
    def complaint(self) -> str:
        """Its last line on stderr that is not empty."""
        lines = [line for line in self.stderr.decode(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""


def plain_environment(extra: Mapping[str, str] | None = None, *, also: Sequence[str] = ()) -> dict[str, str]:
    """Return the few variables that any program may see, those named in `also`, and `extra` over them."""
    chosen = {name: os.environ[name] for name in (*PLAIN_VARIABLES, *also) if name in os.environ}
    return {**chosen, **(extra or {})}


def run(
    *argv: str,
    deadline: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    ends_with_us: bool = False,
) -> Completed:
    """Run a short program to its end, within `deadline` seconds, with nothing on stdin.

    The environment is exactly the one given, else `plain_environment()`. With `ends_with_us` the kernel kills it when
    we end, however that happens: for a program that holds a secret.
    """
    how = {
        "env": dict(plain_environment() if environment is None else environment),
        "cwd": folder,
        "preexec_fn": _ending_with_us(signal.SIGKILL) if ends_with_us else None,
    }
    return _completed(argv, deadline, lambda child: child.communicate(timeout=deadline), how)


def converse(*argv: str, deadline: float, environment: Mapping[str, str], reply: Callable[[bytes], bytes]) -> Completed:
    """Run a short program that asks on stderr while it runs, to its end, or ours, however that happens.

    Whenever it has said more there, `reply` gets all of it and returns what to type, mostly nothing. The time that
    `reply` takes may be a person's, and does not count against the deadline.
    """
    how = {"env": dict(environment), "preexec_fn": _ending_with_us(signal.SIGKILL)}
    return _completed(argv, deadline, lambda child: _conversation(child, reply, deadline), how)


def _completed(
    argv: Sequence[str],
    deadline: float,
    to_its_end: "Callable[[subprocess.Popen[bytes]], tuple[bytes, bytes]]",
    how: Mapping[str, Any],
) -> Completed:
    try:
        with (
            _started(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                **how,
            ) as child,
            _killed_on_failure(child),
        ):
            stdout, stderr = to_its_end(child)
    except (subprocess.TimeoutExpired, TimeoutError):
        raise TimedOut(f"{Path(argv[0]).name} did not end within {deadline:g} s") from None
    except OSError as error:
        raise cannot_start(argv[0], error) from None
    status = child.returncode if child.returncode >= 0 else 128 - child.returncode
    return Completed(status, stdout, stderr)


def _conversation(
    child: "subprocess.Popen[bytes]", reply: Callable[[bytes], bytes], deadline: float
) -> tuple[bytes, bytes]:
    if not (child.stdin and child.stdout and child.stderr):
        raise AssertionError("it is started with three pipes")
    pipes = (child.stdin.fileno(), child.stdout.fileno(), child.stderr.fileno())
    said, complained, left = conversing.talk(pipes, reply, deadline)
    child.wait(left)
    return said, complained


def _started(argv: Sequence[str], **how: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401 - as Popen has them
    """Start a program; an interruption meanwhile ends it too. In the middle of Popen nobody could, nor know of it."""
    heard: list[int] = []
    with interruptions(heard.append):
        child = subprocess.Popen(argv, **how)
    if heard:
        Detached(child).kill()
        raise Interrupted(heard[0])
    return child


@contextmanager
def _killed_on_failure(child: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Its children too: they are in its session, where neither Ctrl-C nor anybody else would reach them.
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        raise


def attach(*argv: str, environment: Mapping[str, str], folder: Path | None = None) -> int:
    """Run a program on our own stdin, stdout and stderr to its end, and return its exit status (128 + n for a signal).

    Ctrl-C reaches it as it reaches us; what that means is the program's to say. Other signals to us are passed on.
    """
    # A handler that does nothing, not SIG_IGN: the program starts with the default, and we do not end before it.
    before = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        child = subprocess.Popen(argv, cwd=folder, env=dict(environment))
        try:
            status = child.wait()
        except BaseException:
            child.terminate()
            child.wait()
            raise
    except OSError as error:
        raise cannot_start(argv[0], error) from None
    finally:
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


def become(*argv: str, environment: Mapping[str, str]) -> NoReturn:
    """Become another program: its signals, terminal and exit status are its own, and nothing of ours is left."""
    # Python ignores these two; a program takes over what is ignored, and `… | head` would not end it.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, dict(environment))
    except OSError as error:
        raise Unavailable(f"cannot start {argv[0]}", why=reason(error)) from None


def detach(
    argv: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path, ends_with_us: bool = False
) -> "Detached":
    """Start a program that outlives us: own session, no descriptor of ours, output appended to the 0600 log.

    With `ends_with_us` the kernel asks it to end (SIGTERM) when we do, however that happens.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with _default_signals():
            child = _started(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                close_fds=True,
                cwd=folder,
                env=dict(environment),
                umask=0o077,
                start_new_session=True,
                preexec_fn=_ending_with_us(signal.SIGTERM) if ends_with_us else None,
            )
    except OSError as error:
        raise cannot_start(argv[0], error) from None
    finally:
        os.close(descriptor)
    return Detached(child)


def accompany(argv: Sequence[str], *, environment: Mapping[str, str], listening: int, complaints: int) -> "Detached":
    """Start a program that lives no longer than we do: the kernel kills it when we end, however that happens.

    It inherits the descriptor `listening`; what it says goes to the descriptor `complaints`. Ctrl-C does not reach it.
    """
    try:
        child = _started(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            env=dict(environment),
            pass_fds=(listening,),
            start_new_session=True,
            preexec_fn=_ending_with_us(signal.SIGKILL),
        )
    except OSError as error:
        raise cannot_start(argv[0], error) from None
    return Detached(child)


def _ending_with_us(number: signal.Signals) -> Callable[[], None]:
    """Return what a child does before it becomes its program, so that the kernel sends it the signal when we end.

    The kernel means the thread that starts it: that must go on for as long as we do, or wait for it.
    """
    import ctypes

    libc, us = ctypes.CDLL(None, use_errno=True), os.getpid()

    def end_with_us() -> None:
        libc.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != us:  # we ended before the kernel knew
            os.kill(os.getpid(), number)

    return end_with_us


@contextmanager
def _default_signals() -> Iterator[None]:
    """Let a child start with the default SIGHUP and SIGINT, though `nohup` or a shell's `&` had us ignore them."""
    ignored = [number for number in (signal.SIGHUP, signal.SIGINT) if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


class Detached:
    """A program just started: its pid, and whether it is still there, for as long as we wait for it."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self.pid = child.pid

    def exit_status(self) -> int | None:
        """Return how it ended (128 + n for a signal), or None while it runs; reaps it."""
        return self.wait(0)

    def wait(self, seconds: float) -> int | None:
        """Return how it ended (128 + n for a signal), or None when it still runs after that many seconds."""
        try:
            status = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return status if status >= 0 else 128 - status

    def kill(self) -> None:
        """End it at once with all that it has started, as a wrapper script does, and reap it."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._child.wait()

    def let_go(self) -> None:
        """Leave it to itself: it is up, and whoever adopts it will reap it. Keeps Popen from warning about that."""
        self._child.returncode = 0


def cannot_start(program: str, error: OSError) -> Failure:
    """Return the failure for a program that the kernel did not start."""
    return Unavailable(
        f"cannot start {program}",
        why=reason(error),
        next_step="`./inv programs.list` shows what is installed",
    )
