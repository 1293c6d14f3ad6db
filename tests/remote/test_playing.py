"""What Ansible is told of our hosts."""

from pathlib import Path

from tasks.remote import playing
from tasks.remote.inventory import Host
from tests.remote.conftest import WEB

CONFIGURATION = Path("/s/ssh config")


def test_the_inventory_has_every_host_its_groups_and_how_it_is_reached() -> None:
    """A host that cannot be used is not there."""
    hosts = [
        Host("shop", "web", 2222, "deploy", Path("/k/id"), groups=("shops", "tag_web"), peer=WEB),
        Host("far", "10.1.2.3", groups=("shops",)),
        Host("odd", "odd", problem="only Ansible can read it"),
    ]

    assert playing.inventory(hosts, CONFIGURATION) == {
        "shops": {"hosts": ["shop", "far"]},
        "tag_web": {"hosts": ["shop"]},
        "_meta": {
            "hostvars": {
                "shop": {
                    "ansible_host": "web.tail.test",
                    "ansible_port": 2222,
                    "ansible_user": "deploy",
                    "ansible_ssh_private_key_file": "/k/id",
                },
                "far": {"ansible_host": "10.1.2.3"},
            }
        },
        "all": {"hosts": ["shop", "far"], "vars": {"ansible_ssh_common_args": "-F '/s/ssh config'"}},
    }


def test_ansible_keeps_one_connection_for_each_host_and_copies_no_module() -> None:
    assert playing.environment(CONFIGURATION, Path("/r"), 20) == {
        "ANSIBLE_SSH_ARGS": "-F '/s/ssh config' -o ControlMaster=auto -o ControlPersist=60s",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": "/r",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_FORKS": "20",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
    }
