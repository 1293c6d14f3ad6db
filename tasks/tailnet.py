"""Owns the records that several namespaces speak in: a peer and the state of a tailnet."""

from dataclasses import dataclass

NOT_ROUTED = "not a route of the tailnet"
"""The reason for a dial that would not fail, but leave by this machine's own network (localapi.go, Dial-Self)."""


@dataclass(frozen=True)
class Peer:
    """One machine of the tailnet, as the daemon's netmap has it.

    `name` is the short MagicDNS name, `dns_name` the full one without the trailing dot; `current_address` is the
    direct path where there is one, `relay` the region used otherwise; `last_seen` and `key_expiry` are RFC 3339 texts
    or empty; `host_keys` are the SSH host keys that the tailnet publishes for it (`ssh-ed25519 AAAA…`).
    """

    name: str
    dns_name: str
    addresses: tuple[str, ...]
    online: bool
    system: str = ""
    tags: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()
    current_address: str = ""
    relay: str = ""
    last_seen: str = ""
    key_expiry: str = ""
    expired: bool = False


@dataclass(frozen=True)
class TailnetStatus:
    """What the daemon says of itself: `GET /localapi/v0/status`.

    `state` is tailscale's BackendState (NoState, NeedsLogin, NeedsMachineAuth, Stopped, Starting, Running); `online`
    means that the control server is connected now.
    """

    state: str
    version: str
    has_node_key: bool
    tailnet: str
    suffix: str
    self_peer: Peer | None
    peers: tuple[Peer, ...]
    health: tuple[str, ...]

    @property
    def login_error(self) -> str:
        """The reason that the last login failed, in the server's words, or an empty text."""
        marker = "The last login error was: "
        for line in self.health:
            if line.startswith("You are logged out") and marker in line:
                return line.split(marker, 1)[1]
        return ""

    @property
    def store_error(self) -> str:
        """Why the daemon could not read its state file: it then runs from memory and refuses every login."""
        for line in self.health:
            if line.startswith("State store failed to initialize"):
                return line.partition("Error: ")[2] or line
        return ""

    @property
    def logged_out(self) -> bool:
        """Whether the daemon says that it is logged out (tailscale's health/warnings.go, login-state)."""
        return any(line.startswith("You are logged out") for line in self.health)

    @property
    def is_up(self) -> bool:
        """Running, connected to the control server, and no login error: the meaning of "accepted"."""
        online = self.self_peer is not None and self.self_peer.online
        return self.state == "Running" and online and not self.logged_out

    def peer(self, name: str) -> Peer | None:
        """Return the peer of that short name, full name or address."""
        wanted = name.rstrip(".").lower()
        for peer in self.peers:
            if wanted in {peer.name.lower(), peer.dns_name.lower(), *peer.addresses}:
                return peer
        return None
