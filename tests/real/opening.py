"""Owns the count of how often a file is opened, by whom ever: the kernel's inotify tells."""

import ctypes
import os
import select
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

IN_OPEN = 0x20
EVENT = struct.Struct("iIII")  # struct inotify_event: watch, mask, cookie, length of the name


@contextmanager
def counted_opens(path: Path) -> Iterator[Callable[[], int]]:
    """Count opens of the file from now to the end of the context; the result is the count's reader.

    Equal events that nobody has read yet are one to the kernel, so they are read as they come.
    """
    descriptor = ctypes.CDLL(None, use_errno=True).inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert descriptor >= 0
    assert ctypes.CDLL(None).inotify_add_watch(descriptor, os.fsencode(path), IN_OPEN) >= 0
    counts = [0]
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set() or select.select([descriptor], [], [], 0)[0]:
            if select.select([descriptor], [], [], 0.05)[0]:
                counts[0] += len(os.read(descriptor, 65536)) // EVENT.size

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield lambda: counts[0]
    finally:
        ended.set()
        reader.join()
        os.close(descriptor)
