"""Owns a key from the moment that its acceptance is read: kept at once, whatever asks us to end meanwhile.

It may be good for one login alone, and exist nowhere else.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.interrupting import put_off
from tasks.secret import Secret

Save = Callable[[], str]  # saves what is kept already, and says where it is then
Keep = Callable[[Secret], Save]


class Accepted:
    """A key that may be accepted. `save` is there once it is kept; without a key nothing ever is."""

    def __init__(self, key: Secret | None, keep: Keep) -> None:
        self.save: Save | None = None
        self._key = key
        self._keep = keep

    def keep(self) -> None:
        """Keep the key, once, and heed an interruption afterwards."""
        if self._key is None or self.save is not None:
            return
        with put_off():
            self.save = self._keep(self._key)

    @contextmanager
    def told_when_interrupted(self, where: Callable[[Save], str], tell: Callable[[str], None]) -> Iterator[None]:
        """Have whoever interrupts know where a kept key is: `interrupted` alone sounds like a loss."""
        try:
            yield
        except KeyboardInterrupt:
            if self.save is not None:
                tell(where(self.save))
            raise
