"""Owns what this process may have of descriptors and threads: all it can get, and what is said when that ran out."""

import contextlib
import errno
import resource
import sys
import threading
from collections.abc import Callable, Iterator

from tasks.errors import Fleeting, reason

# A host has its connection, two files of --output-dir, and for a moment one to the daemon or the agent; the others are
# what we have open ourselves, or load meanwhile.
DESCRIPTORS_OF_HOST = 4
DESCRIPTORS_OF_OURS = 28
NO_THREAD = "can't start new thread"  # threading.Thread.start has no exception of its own


@contextlib.contextmanager
def most_descriptors() -> Iterator[None]:
    """Within, as many descriptors may be open as are allowed at most; programs started later get the usual number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    _limit_descriptors(hard, hard)
    try:
        yield
    finally:
        _limit_descriptors(soft, hard)


def start_threads(target: Callable[[], None], count: int, name: str) -> list[threading.Thread]:
    """Start so many threads that run `target`, or fewer; Fleeting when there is no room for even one.

    Never more than there may be descriptors for. When threads run out, only half of those that were started run it:
    each starts another for its host.
    """
    count = min(count, max(1, (_descriptors() - DESCRIPTORS_OF_OURS) // DESCRIPTORS_OF_HOST))
    all_there, too_many = threading.Event(), set[threading.Thread]()

    def run() -> None:
        all_there.wait()
        if threading.current_thread() not in too_many:
            target()

    threads: list[threading.Thread] = []
    try:
        while len(threads) < count:
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        if not threads:
            raise lack(error) or error from None
        too_many.update(threads[: len(threads) // 2])
    all_there.set()
    return threads


def lack(error: BaseException) -> Fleeting | None:
    """Return the failure for an error that means that descriptors or threads ran out; None for any other.

    Fleeting, because other hosts give back what they have.
    """
    if isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}:
        return _too_many("files", reason(error), "n")
    if isinstance(error, RuntimeError) and NO_THREAD in str(error):
        return _too_many("threads", str(error), "u")
    return None


def _too_many(things: str, why: str, limit: str) -> Fleeting:
    return Fleeting(
        f"this machine gives us no more {things}",
        why=why,
        next_step=f"fewer hosts at once, such as --forks=8, or a higher `ulimit -{limit}`",
    )


def _descriptors() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _limit_descriptors(soft: int, hard: int) -> None:
    with contextlib.suppress(OSError, ValueError):  # the kernel's own limit may have become lower meanwhile
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
