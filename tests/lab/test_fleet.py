"""Many hosts behind few nodes: each has its name, its node, its own port."""

from pathlib import Path

from tasks.lab import fleet
from tasks.lab.hosts import Machine


def test_hosts_are_spread_over_the_nodes_in_turn() -> None:
    """Their names sort as they count."""
    hosts = list(fleet.members(("node1", "node2"), 10))

    assert [host.name for host in hosts][:2] == ["host01", "host02"]
    assert [host.node for host in hosts][:3] == ["node1", "node2", "node1"]
    assert len({host.port for host in hosts}) == 10
    assert hosts[0].address == "node1.lab.test"


def test_inventory_and_known_hosts_name_each_port(tmp_path: Path) -> None:
    """In the formats of Ansible and OpenSSH."""
    machine = Machine(Path("tailscale"), Path("tailscaled"), None, tmp_path, tmp_path, {})
    key = tmp_path / "hosts" / "fleet" / "ssh_host_ed25519_key.pub"
    key.parent.mkdir(parents=True)
    key.write_text("ssh-ed25519 AAAA lab\n")
    (tmp_path / "known_hosts").write_text("before\n")
    hosts = [fleet.FleetHost("host1", "node1", 21000)]
    fleet.write(machine, hosts, inventory_folder=tmp_path, known_hosts_file=tmp_path / "known_hosts")

    assert (tmp_path / "known_hosts").read_text() == "before\n[node1.lab.test]:21000 ssh-ed25519 AAAA\n"
    assert '"ansible_port": 21000' in (tmp_path / "fleet.yml").read_text()
