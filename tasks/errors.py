"""Owns the kinds of failure, the exit status of each, and the words for what the system refused. Imports nothing.

The numbers follow sysexits.h where it has a name for the case (64 usage, 69 unavailable, 70 software, 74 I/O error,
75 temporary failure, 77 no permission, 78 configuration); README's table is the same list.
"""


class Failure(Exception):  # noqa: N818 - a name in the words of the reader
    """Something foreseeable went wrong: what failed, why in the other program's words, what to run next.

    `cause` names the kind in JSON; an instance may narrow its class's. `documented`: the command's own JSON document
    tells it already, and stdout holds one document only.
    """

    exit_status = 70
    cause = "bug"

    def __init__(
        self, what: str, *, why: str = "", next_step: str = "", cause: str = "", documented: bool = False
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.next_step = next_step
        self.cause = cause or type(self).cause
        self.documented = documented

    @property
    def sentence(self) -> str:
        """What failed and why, without what to run next."""
        return f"{self.what}: {self.why}" if self.why else self.what

    def __str__(self) -> str:
        """Everything a person needs, in one to three lines."""
        return f"{self.sentence}\n  next: {self.next_step}" if self.next_step else self.sentence


class UsageFailure(Failure):
    """The command was given words that it cannot take."""

    exit_status = 64
    cause = "usage"


class Unavailable(Failure):
    """Something is not there or cannot be reached: a daemon, a host, a program, an item."""

    exit_status = 69
    cause = "unavailable"


class Fleeting(Unavailable):
    """It failed for a reason that the same attempt would most likely not meet again; nothing had been begun."""


class NotSaved(Failure):
    """The work is done, but what had to be kept could not be kept."""

    exit_status = 74
    cause = "not-saved"


class TimedOut(Failure):
    """A deadline passed before the other side answered."""

    exit_status = 75
    cause = "timed-out"


class Busy(Failure):
    """Somebody else holds what this command needs; trying again later helps."""

    exit_status = 75
    cause = "busy"


class Refused(Failure):
    """The other side said no: a key, a password, a host key, a login."""

    exit_status = 77
    cause = "refused"


class ConfigurationFailure(Failure):
    """A setting, a file or the place itself is not as it must be."""

    exit_status = 78
    cause = "configuration"


class RemoteExit(Failure):
    """A remote command ended with a status of its own, which becomes ours; nothing is printed about it."""

    cause = "remote"
    highest = 255  # of SSH's 32 bits a process here can end with eight

    def __init__(self, exit_status: int, *, signal: str = "") -> None:
        super().__init__(f"the remote command was killed by SIG{signal}" if signal else f"exit {exit_status}")
        self.exit_status = exit_status
        self.signal = signal

    @property
    def ours(self) -> int:
        """What we end with: the kernel would make 0 of 256."""
        return min(self.exit_status, self.highest)


def reason(error: Exception) -> str:
    """Return why a file or a connection failed, in small letters: the system's own words where it has some."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8 text"
    words = error.strerror if isinstance(error, OSError) else ""
    return (words or str(error) or type(error).__name__).lower()
