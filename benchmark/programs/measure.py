"""Run a program and write what it took to stdout, as JSON; by a small process, for nothing can be measured as smaller.

Arguments: the file for the program's stdout, the deadline in seconds, the program's words. Linux counts to a program's
memory what the process that started it had (exec_mmap, setmax_mm_hiwater_rss), so this one imports next to nothing.
"""

import os
import select
import sys
import time

IGNORED = (13, 25)  # SIGPIPE and SIGXFSZ, which Python ignores and a program would inherit so; `signal` is not small
LOOK = 0.02  # seconds between two looks at the threads; one costs some microseconds


def main() -> None:
    """Measure it; its stderr is ours."""
    output, deadline, *argv = sys.argv[1:]
    into = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
    started = time.perf_counter()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, into, 1)]
        pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=actions, setsigdef=IGNORED)
    except OSError as error:
        sys.exit(f"cannot start {argv[0]}: {error.strerror}")
    threads = follow(pid, started + float(deadline))
    _, status, usage = os.wait4(pid, 0)
    seconds, cpu = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    sys.stdout.write(
        f'{{"exit_status": {os.waitstatus_to_exitcode(status)}, "seconds": {seconds}, "cpu": {cpu},'
        f' "memory": {usage.ru_maxrss * 1024}, "threads": {threads}}}'
    )


def follow(pid: int, end: float) -> int:
    """Wait for its end, or kill it then; return the most threads that were seen."""
    ended, threads = os.pidfd_open(pid), 0
    while not select.select([ended], [], [], LOOK)[0]:
        try:
            threads = max(threads, len(os.listdir(f"/proc/{pid}/task")))  # noqa: PTH208 - pathlib is not small
        except OSError:
            continue  # it has just ended
        if time.perf_counter() > end:
            os.kill(pid, 9)
    return threads


if __name__ == "__main__":
    main()
