"""Owns a dial to its end: patience with a cold path, and the real cause where the proxy says "general failure".

A dial may be tried again as often as we like, because no byte of SSH has been sent. What the causes are was found in
tailscale's net/socks5/socks5.go (five seconds, reply 1 to everything) and net/tsdial/tsdial.go.
"""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from tasks.errors import Failure, Fleeting, TimedOut, Unavailable
from tasks.remote.destination import Destination
from tasks.remote.proxy import GeneralFailure, Proxy
from tasks.tailnet import NOT_ROUTED, Peer, TailnetStatus

PATIENCE = 20.0  # seconds: a first contact through a relay was seen to need as many (tailscale#9802)
# A machine that is online and says nothing for so long is looked at; the proxy itself would go on for five. A failure
# that comes earlier has a reason that the daemon can name.
QUIET_SECONDS = 3.0
# About one dial in 500 fails at once for no reason when many hosts are behind one node (tailscaled's proxymap).
SPURIOUS_FAILURES = 3
GREETING_SECONDS = 5.0  # an SSH server greets at once, a cold path delays it
PAUSE = 0.25  # seconds between two looks at a host that may come up
OFFLINE_SECONDS = 2.0
WARM_SECONDS = 2.0  # a dial over a path that has just answered a ping: milliseconds, but on a very busy machine
CLOSED = ("refused", "reset")
UNKNOWN_NAME = ("no such host", "resolve failure")


@dataclass(frozen=True)
class Dialler:
    """Dials destinations through one proxy, and asks one daemon why it failed.

    `status`, `dial_error` and `ping` are the daemon's LocalAPI; `say` tells a person that it takes longer.
    """

    proxy: Proxy
    status: Callable[[], TailnetStatus]
    dial_error: Callable[[str, int], str]
    say: Callable[[str], None]
    patience: float = PATIENCE
    ping: Callable[[str], bool] = lambda _: False

    def connect(self, destination: Destination) -> socket.socket:
        """Return a socket to the destination, or raise the failure that says why there is none."""
        if destination.routed:
            self._check_route(destination)
        end, said = time.monotonic() + self.patience, False
        while (connected := self._connect_once(destination)) is None:
            if time.monotonic() >= end:
                raise silence(destination)
            if not said:
                self.say(f"{destination.name} is online but does not answer yet; trying for {self.patience:.0f} s")
                said = True
        return connected

    def _connect_once(self, destination: Destination) -> socket.socket | None:
        """Return a socket, or None when nothing answered; whatever else went wrong is raised with its cause."""
        for _ in range(1 + SPURIOUS_FAILURES):
            try:
                return self._dial(destination)
            except GeneralFailure as failed:
                if self._was_silence(destination, failed):
                    return self._over_a_warm_path(destination)
        raise _no_reason(destination)

    def _dial(self, destination: Destination) -> socket.socket:
        """Dial; a machine that counts as offline gets a moment only, in case the control server is mistaken."""
        seconds = QUIET_SECONDS if destination.peer.online else OFFLINE_SECONDS
        try:
            return self.proxy.connect(destination.address, destination.port, deadline=seconds)
        except TimedOut:
            raise GeneralFailure(QUIET_SECONDS) from None

    def _over_a_warm_path(self, destination: Destination) -> socket.socket | None:
        """Return a socket when the path came up meanwhile; fail when it is up and the port says nothing all the same.

        A peer that answers the tailnet's ping is reachable, so that more patience would not help.
        """
        if destination.routed or not any(self.ping(address) for address in destination.peer.addresses[:1]):
            return None
        try:
            return self.proxy.connect(destination.address, destination.port, deadline=WARM_SECONDS)
        except GeneralFailure:
            return None
        except TimedOut:
            raise exclusion(destination) from None

    def _check_route(self, destination: Destination) -> None:
        """Refuse an announced route that this node does not accept: the proxy would dial by this machine's network."""
        try:
            words = self.dial_error(destination.address, destination.port)
        except TimedOut:
            return  # it was tried by the tailnet, which is all that was asked
        if words == NOT_ROUTED:
            raise Unavailable(
                f"{destination.name} is behind {destination.peer.name}, whose routes this node does not accept",
                why=words,
                next_step="set TS_EXTRA_ARGS=--accept-routes, then `inv net.down net.up`",
            )

    def _was_silence(self, destination: Destination, failed: GeneralFailure) -> bool:
        """Whether nothing answered; False when the daemon could connect just now, any other cause is raised."""
        peer = self.status().peer(next(iter(destination.peer.addresses), destination.peer.name))
        if peer is None or not peer.online or peer.expired:
            raise absence(destination, peer)
        if failed.seconds >= QUIET_SECONDS:
            return True
        try:
            words = self.dial_error(destination.address, destination.port)
        except TimedOut:
            return True
        if words:
            raise refusal(destination, words)
        return False


def absence(destination: Destination, peer: Peer | None) -> Failure:
    """Return the failure for a machine that is not on the tailnet now."""
    which = (
        destination.name if not destination.routed else f"{destination.peer.name}, which routes to {destination.name},"
    )
    if peer is None:
        return Unavailable(f"{which} has left the tailnet", next_step="`inv remote.hosts`")
    if peer.expired:
        return Unavailable(f"{which} is locked out", why="its node key has expired", next_step="sign it in again there")
    since = f" since {peer.last_seen}" if peer.last_seen else ""
    return Unavailable(f"{which} is offline{since}", next_step="`inv net.status`")


def refusal(destination: Destination, words: str) -> Failure:
    """Return the failure for a dial that ended at once with the daemon's own words."""
    if any(word in words for word in CLOSED):
        ssh, service = "start its ssh server, or set ansible_port", "start the service there, or forward another port"
        return Unavailable(
            f"port {destination.port} of {destination.name} is closed",
            why=words,
            next_step=service if destination.forwarded else ssh,
        )
    if any(word in words for word in UNKNOWN_NAME):
        return Unavailable(f"unknown host {destination.name}", why=words, next_step="`inv remote.hosts`")
    return Unavailable(f"{destination.name} cannot be reached", why=words, next_step="`inv net.status`")


def exclusion(destination: Destination) -> Unavailable:
    """Return the failure for a machine that answers the tailnet's ping and drops our connection."""
    return Unavailable(
        f"port {destination.port} of {destination.name} does not let us in, though the machine answers",
        why="the tailnet's policy does not allow it, its shields are up, or a firewall drops it",
        next_step="ask who writes the policy; `tailscale set --shields-up=false` there lowers the shields",
    )


def silence(destination: Destination) -> TimedOut:
    """Return the failure for a machine that is online and says nothing."""
    router = f"{destination.peer.name}, which routes to it, is online"
    who = router if destination.routed else "it does not answer the tailnet's ping either"
    return TimedOut(
        f"no answer from port {destination.port} of {destination.name}",
        why=f"{who}; its path may not be there yet",
        next_step=f"`inv net.wait --host={destination.name}`",
    )


def _no_reason(destination: Destination) -> Failure:
    return Fleeting(
        f"{destination.name} cannot be reached",
        why="the proxy fails again and again where the daemon itself connects",
        next_step="`inv net.logs`",
    )


def await_ssh(dial: Callable[[], socket.socket], *, seconds: float) -> None:
    """Return when an SSH server greets through `dial`; TimedOut with the last reason after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        try:
            with dial() as connection:
                if _greets(connection, end):
                    return
                why = "the port is open, but no SSH server greets"
        except Failure as failure:
            why = str(failure.what)
        if time.monotonic() + PAUSE > end:
            raise TimedOut(f"no SSH server answered within {seconds:g} s", why=why)
        time.sleep(PAUSE)


def _greets(connection: socket.socket, end: float) -> bool:
    connection.settimeout(max(0.1, min(GREETING_SECONDS, end - time.monotonic())))
    try:
        return connection.recv(4) == b"SSH-"
    except OSError:
        return False
