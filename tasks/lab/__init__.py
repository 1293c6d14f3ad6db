"""A whole private tailnet on this one machine, with nobody's account: up, down, status, key."""

import os
from typing import TYPE_CHECKING

from tasks import console, options, settings
from tasks.command import Context, command, is_dry
from tasks.errors import Unavailable, UsageFailure

if TYPE_CHECKING:
    from tasks.lab.place import Lab

HOSTS = "web1,web2,db1"


@command(options_help={"hosts": f"their names, by comma ({HOSTS}); db1 is always Tailscale SSH"})
def up(context: Context, hosts: str = HOSTS) -> None:
    """Bring up a tailnet of real programs on this machine: headscale and some hosts with sshd."""
    names = options.names(hosts)
    lab = lab_of(settings.LAB)
    if is_dry(context):
        console.step(f"would start headscale and {len(names)} hosts: {', '.join(names)}")
        return
    bring_up(lab, names)
    console.say(f"lab is up: {', '.join(names)}; next: inv net.up remote.run --host={names[0]} -- uname -a")


@command()
def down(context: Context) -> None:
    """Stop everything of the lab, the suite's own node in it too, and remove its folders."""
    lab = lab_of(settings.LAB)
    if is_dry(context):
        count = len(lab.processes())
        console.step(f"would end {count} processes and remove {lab.state_folder} and {lab.runtime_folder}")
        return
    console.say("lab is down" if lab.stop() else "lab was down already")


@command(options_help={"json": "the same as one JSON document"})
def status(_context: Context, json: bool = False) -> None:
    """Show whether the lab is up, and its hosts."""
    lab = lab_of(settings.LAB)
    if not lab.is_up():
        raise Unavailable("the lab is down", next_step="`inv lab.up`", cause="down")
    hosts, count = lab.running_hosts(), len(lab.processes())
    if json:
        console.document({"up": True, "hosts": list(hosts), "processes": count, "folder": str(lab.folder)})
    else:
        console.say(f"lab is up: {', '.join(hosts)} ({count} processes, in {lab.folder})")


@command(
    options_help={
        "expired": "one whose time is over",
        "used": "a single-use key that a node has used",
        "revoked": "one that was taken back",
    }
)
def key(context: Context, expired: bool = False, used: bool = False, revoked: bool = False) -> None:
    """Print an auth key of the lab: a good one, or one that is refused for the reason asked for."""
    if expired + used + revoked > 1:
        raise UsageFailure("expected one of --expired, --used, --revoked")
    kind = "expired" if expired else "used" if used else "revoked" if revoked else "good"
    if is_dry(context):
        console.step(f"would make and print an auth key of the lab: {kind}")
        return
    console.hand_over(installed(lab_of(settings.LAB)).make_key(kind))


def lab_of(tailnet: str) -> "Lab":
    """Return the lab that makes the tailnet of that name, running or not."""
    from tasks.lab.place import Lab

    return Lab(tailnet, settings.tailnet_folder(tailnet), settings.runtime_folder(tailnet, os.environ))


def installed(lab: "Lab") -> "Lab":
    """Return the lab with its programs, which are installed first where they are not here."""
    from tasks.lab.place import Programs
    from tasks.programs.pins import pinned
    from tasks.programs.provision import ensure

    chosen = settings.load(settings.environment_for(lab.tailnet))
    found = [
        ensure(pinned(name), source=chosen.programs_source, cache=chosen.cache_folder, say=console.step)
        for name in ("headscale", "tailscale")
    ]
    headscale, tailscale = found
    programs = Programs(
        headscale.executable("headscale"), tailscale.executable("tailscale"), tailscale.executable("tailscaled")
    )
    return lab.with_programs(programs)


def bring_up(lab: "Lab", names: tuple[str, ...]) -> None:
    """Start the lab, and put into its tailnet's state folder what net.up and remote.run need: key, keys, hosts."""
    from tasks.keeping import set_password

    with_programs = installed(lab)
    key = with_programs.start(names, proxy_port=settings.DEFAULT_PROXY_PORT, say=console.step)
    if key is not None:
        # Whatever vault holds a person's own keys: one of the lab's must not take their place.
        here = settings.load({**os.environ, "TAILNET": lab.tailnet, "VAULT": "age"})
        set_password(here, here.vault_item, key)
    if os.environ.get("VAULT", "age") != "age":
        console.step("VAULT is set, and goes before the lab's own vault: `unset VAULT` before you use the lab")
