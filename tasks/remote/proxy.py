"""Owns one thing: a connected socket to a host and port by way of a SOCKS5 proxy. The only file that knows PySocks.

A name goes to the proxy as it is, because only the daemon behind it knows the tailnet's names. What may be dialled at
all is decided in `destination`; why a dial failed is found out in `dialling`.
"""

import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.errors import Failure, TimedOut, Unavailable, reason

if TYPE_CHECKING:
    from socks import socksocket

GREETING_SECONDS = 3.0  # a proxy on this machine greets at once, or it hangs
# PySocks writes the length of a name as a character, in UTF-8: from 128 on it is two bytes.
LONGEST_NAME = 127


class GeneralFailure(Exception):  # noqa: N818 - the name that RFC 1928 gives to reply 1
    """The proxy could not connect and does not say why: tailscaled answers 1 to every failure.

    `seconds` is how long it tried; at tailscaled's five nothing has answered.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"general SOCKS server failure after {seconds:.1f} s")
        self.seconds = seconds


@dataclass(frozen=True)
class Proxy:
    """The SOCKS5 proxy of the tailnet's daemon."""

    host: str
    port: int

    def connect(self, address: str, port: int, *, deadline: float) -> socket.socket:
        """Return a plain blocking socket to that port, within `deadline` seconds in all.

        Raises GeneralFailure when the proxy could not connect, Unavailable when there is no proxy, TimedOut when it
        hangs.
        """
        import socks

        if len(address) > LONGEST_NAME:
            raise Unavailable(f"the name {address[:40]}… is too long for a SOCKS5 proxy ({len(address)} characters)")
        started = time.monotonic()
        through = _deadline_socket(started + min(GREETING_SECONDS, deadline), started + deadline)
        try:
            through.settimeout(GREETING_SECONDS)
            through.set_proxy(socks.SOCKS5, self.host, self.port, rdns=True)
            through.connect((address, port))
            return _plain(through)
        except socks.ProxyError as error:
            raise self._translated(error, time.monotonic() - started) from None
        except TimeoutError:
            raise self._silent(time.monotonic() - started) from None
        except OSError as error:
            raise self._broken(reason(error)) from None
        finally:
            through.close()  # after detach() this closes nothing

    def _translated(self, error: Exception, seconds: float) -> Exception:
        import socks

        # PySocks' errors are OSErrors, so that it wraps its own refusal into "Socket error" again.
        cause = getattr(error, "socket_err", None) or error
        if isinstance(cause, socks.SOCKS5Error):
            return GeneralFailure(seconds)
        if isinstance(cause, ConnectionRefusedError):
            return Unavailable(
                "the network is down", why=f"no proxy at {self.host}:{self.port}", next_step="`inv net.up`"
            )
        if isinstance(cause, TimeoutError):
            return self._silent(seconds)
        return self._broken(str(cause))

    def _silent(self, seconds: float) -> Failure:
        return TimedOut(
            f"the proxy at {self.host}:{self.port} does not answer",
            why=f"no reply within {seconds:.0f} s",
            next_step="`inv net.down net.up`",
        )

    def _broken(self, why: str) -> Failure:
        return Unavailable(
            f"the proxy at {self.host}:{self.port} does not speak SOCKS5", why=why, next_step="`inv net.status`"
        )


def _deadline_socket(greeting: float, end: float) -> "socksocket":
    """Return a PySocks socket whose every read is held against one clock; its own timeout starts anew at each read."""
    import socks

    class DeadlineSocket(socks.socksocket):
        limit = greeting

        def recv_into(self, *arguments: object) -> int:
            socket.socket.settimeout(self, max(self.limit - time.monotonic(), 0.001))
            count: int = socket.socket.recv_into(self, *arguments)  # type: ignore[arg-type]
            self.limit = end
            return count

    return DeadlineSocket()


def _plain(through: "socksocket") -> socket.socket:
    """Take the descriptor out of PySocks' wrapper, whose Python-level recv would slow every packet."""
    plain = socket.socket(fileno=through.detach())
    plain.settimeout(None)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plain
