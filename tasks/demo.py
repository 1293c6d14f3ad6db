"""`inv demo`: the whole product on real programs, on a tailnet of its own that disturbs none that is up."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tasks import console, settings
from tasks.command import Context, command, is_dry
from tasks.errors import RemoteExit
from tasks.secret import Secret
from tasks.settings import Settings

TAILNET = "demo"
HOSTS = ("web1", "web2", "db1")
QUESTION = "echo hello from $(hostname), I am $(id -un), six times seven is $((6*7))"
SUMMARY = """
That was all real: headscale, {daemons} tailscaled without root, sshd, a pty for the login, an age vault.
It took {seconds:.0f} s and is gone again. Next: ./inv lab.up to play, or ./inv net.up for your own tailnet."""


@command()
def demo(context: Context) -> None:
    """Show everything on real programs: a tailnet, a refused and an accepted key, the vault, three hosts."""
    if is_dry(context):
        console.step(f"would start a tailnet of {len(HOSTS)} hosts, join it, run commands there and take it down")
        return
    started = time.monotonic()
    with _tailnet() as here:
        _join(here)
        _show_vault(here)
        _run_on_hosts(here)
    console.say(SUMMARY.format(daemons=len(HOSTS) + 1, seconds=time.monotonic() - started))


def _tell(text: str) -> None:
    # The story is this command's result, so its steps are on stdout too.
    console.say(f"   {text}")


@contextmanager
def _tailnet() -> Iterator[Settings]:
    """Give the settings of a tailnet of our own, whose lab is taken down at the end, whatever happens."""
    from tasks.lab import installed, lab_of

    console.say(f"1. A private tailnet on this machine: headscale and the hosts {', '.join(HOSTS)}.")
    lab = installed(lab_of(TAILNET))
    lab.stop()
    try:
        lab.start(HOSTS, proxy_port=settings.DEFAULT_PROXY_PORT, say=_tell)
        yield settings.load(settings.environment_for(TAILNET), root=lab.state_folder)
    finally:
        # Whoever reads the story may have gone (`inv demo | head`); what was started is ended all the same.
        with suppress(BrokenPipeError):
            console.say("\n5. Taking everything down.")
        lab.stop()


def _join(here: Settings) -> None:
    """Log in as a person would who types an expired key first."""
    from tasks.connecting import bring_up
    from tasks.lab import installed, lab_of

    lab = installed(lab_of(TAILNET))
    typed = iter([("an expired key", lab.make_key("expired")), ("a good key", lab.make_key("good"))])

    def ask(prompt: str) -> Secret:
        what, key = next(typed)
        _tell(f"{prompt}(the demo types {what})")
        return key

    console.say("\n2. This place joins it. The vault is empty, so a key is asked for; the first one is no good.")
    status = bring_up(here, ask, _tell)
    node = status.self_peer
    console.say(f"   joined: {node.name if node else '?'}, proxy {here.proxy_host}:{here.proxy_port}")


def _show_vault(here: Settings) -> None:
    from tasks.keeping import open_vault

    console.say("\n3. The accepted key, and only that one, is in the vault.")
    vault = open_vault(here)
    console.say(f"   {vault.status()}")
    for ref in vault.list():
        console.say(f"   item {ref.name!r}, saved {ref.revision}, value ****")


def _run_on_hosts(here: Settings) -> None:
    from tasks.reach import run_on

    console.say("\n4. Commands on the hosts, over SSH through the proxy.")
    for host in HOSTS:
        console.say(f"   $ inv remote.run --host={host} --command='{QUESTION}'")
        run_on(here, host, QUESTION)
    console.say(f"   $ inv remote.run --host={HOSTS[0]} -- sh -c 'exit 7'")
    try:
        run_on(here, HOSTS[0], "exit 7")
    except RemoteExit as ended:
        console.say(f"   it ends with {ended.exit_status}, and so would inv")
