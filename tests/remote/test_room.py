"""Descriptors and threads: all that can be had, and what is said when they run out. Each in a process of its own."""

import os
import subprocess
import sys

from tests.conftest import ROOT

SCARCE = """
import contextlib, os, re, resource, sys, threading
from pathlib import Path
from tasks.errors import Failure
from tasks.remote import fanout, room

STACK = 512 * 2**20

def descriptors(soft, hard):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

def room_for_threads(count):
    # A thread takes its stack's size of the address space; 100 MB more are for everything else.
    threading.stack_size(STACK)
    used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    most = used + count * STACK + 100 * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
"""


def scarce(program: str) -> str:
    """Return what a program prints that has little of something."""
    argv = [sys.executable, "-c", SCARCE + program]
    # By itself malloc takes address space for each thread.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    ended = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def test_as_many_descriptors_as_are_allowed_and_afterwards_as_before() -> None:
    said = scarce("""
descriptors(50, 300)
fanout.run(["a"], lambda _: print(resource.getrlimit(resource.RLIMIT_NOFILE)), fanout.Limits(), lambda _: None)
print(resource.getrlimit(resource.RLIMIT_NOFILE))
""")

    assert said == "(300, 300)\n(50, 300)\n"


def test_without_a_descriptor_a_host_fails_with_what_helps_and_is_tried_again() -> None:
    """Others give theirs back; it is no bug of ours."""
    said = scarce("""
descriptors(40, 40)
def work(turn):
    held = []
    tries[turn.name] = tries.get(turn.name, 0) + 1
    while turn.name == "hopeless" or tries[turn.name] < 3:
        held.append(open("/dev/null"))
tries = {}
results = fanout.run(["hopeless", "web"], work, fanout.Limits(forks=1), lambda _: None)
for outcome in results.outcomes:
    print(outcome.failure, outcome.tries, outcome.failure and outcome.failure.exit_status)
""")

    assert said == (
        "this machine gives us no more files: too many open files\n"
        "  next: fewer hosts at once, such as --forks=8, or a higher `ulimit -n` 5 69\n"
        "None 3 None\n"
    )


def test_no_more_hosts_run_at_once_than_there_are_descriptors_for() -> None:
    """What is loaded while descriptors have run out may be missing for good."""
    said = scarce("""
descriptors(50, 60)
held, most = {}, []
def work(turn):
    held[turn.name] = [open("/dev/null") for _ in range(4)]
    most.append(len(held))
    turn.halt.sleep(0.05)
    del held[turn.name]
results = fanout.run([str(n) for n in range(60)], work, fanout.Limits(forks=60), lambda _: None)
print({str(outcome.failure) for outcome in results.outcomes}, {outcome.tries for outcome in results.outcomes})
print(max(most) <= 8)
""")

    assert said == "{'None'} {1}\nTrue\n"


def test_where_not_all_threads_can_be_had_fewer_hosts_run_at_once() -> None:
    """Each host takes another thread, for which there is room left."""
    said = scarce("""
room_for_threads(6)
there, most = [], []
def speak():
    most.append(len(there))
def work(turn):
    there.append(turn.name)
    try:
        thread = threading.Thread(target=speak)
        thread.start()
        thread.join()
    finally:
        there.remove(turn.name)
results = fanout.run([str(n) for n in range(12)], work, fanout.Limits(forks=12), lambda _: None)
print([str(outcome.failure) for outcome in results.outcomes if outcome.failure], max(most) <= 3)
""")

    assert said == "[] True\n"


def test_without_a_thread_no_host_is_tried() -> None:
    said = scarce("""
room_for_threads(0)
try:
    fanout.run(["a", "b"], print, fanout.Limits(), lambda _: None)
except Failure as failure:
    print(failure, failure.exit_status)
""")

    assert said == (
        "this machine gives us no more threads: can't start new thread\n"
        "  next: fewer hosts at once, such as --forks=8, or a higher `ulimit -u` 69\n"
    )


def test_any_other_error_is_none_of_these() -> None:
    said = scarce("""
print([room.lack(error) for error in (OSError(2, "gone"), RuntimeError("odd"), ValueError(24, "x"))])
""")

    assert said == "[None, None, None]\n"
