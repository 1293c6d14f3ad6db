"""Events arrive in order, and Ctrl-C among them, however unlucky its moment."""

import os
import signal
import threading
from contextlib import closing

import pytest

from tasks.remote.mailbox import Mailbox


def test_items_come_in_the_order_they_were_put() -> None:
    """From whatever thread."""
    with closing(Mailbox[int]()) as box:
        for number in range(3):
            box.put(number)

        assert [box.get(1.0) for _ in range(3)] == [0, 1, 2]


def test_an_item_put_later_ends_the_wait() -> None:
    """At once."""
    with closing(Mailbox[int]()) as box:
        threading.Timer(0.02, box.put, [7]).start()

        assert box.get(None) == 7


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_without_an_item_the_wait_ends_with_its_time(seconds: float) -> None:
    """Also when there is no time at all."""
    with closing(Mailbox[int]()) as box, pytest.raises(TimeoutError):
        box.get(seconds)


def test_more_items_than_the_socket_has_room_for_are_kept() -> None:
    """Nobody who puts one ever waits."""
    with closing(Mailbox[int]()) as box:
        for number in range(3000):
            box.put(number)

        assert [box.get(1.0) for _ in range(3000)] == list(range(3000))


def test_the_first_ctrl_c_is_an_item_and_the_second_an_exception() -> None:
    """And afterwards all is as it was."""
    before = signal.getsignal(signal.SIGINT)
    box = Mailbox[str]()
    with pytest.raises(KeyboardInterrupt), closing(box), box.interrupts(lambda _: box.put("interrupt")):
        signal.raise_signal(signal.SIGINT)
        assert box.get(20.0) == "interrupt"
        signal.raise_signal(signal.SIGINT)
        box.get(1.0)

    assert signal.getsignal(signal.SIGINT) is before


def test_a_ctrl_c_at_any_moment_ends_the_wait() -> None:
    """Also just before it begins: three hundred times, whenever the other thread happens to run."""
    for _ in range(300):
        with closing(Mailbox[str]()) as box, box.interrupts(lambda _: box.put("interrupt")):
            thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
            thread.start()
            assert box.get(20.0) == "interrupt"
            thread.join()


def test_putting_into_a_closed_one_is_no_error() -> None:
    """A thread that was given up may still have something to say."""
    box = Mailbox[int]()
    box.close()
    box.put(1)
