"""The list of hosts has what a person asks for, and a program more of it."""

from tasks.remote.inventory import Host, Inventory
from tasks.remote.listing import as_records, as_table
from tests.remote.conftest import WEB

HOSTS = Inventory(
    {
        "web": Host("web", "web.tail.test", user="root", groups=("all", "web"), peer=WEB),
        "db": Host("db", "10.0.0.5", port=2222, problem="odd\x1b[2J"),
    }
)


def test_the_table_tells_who_is_online_and_what_cannot_be_used() -> None:
    """And an author's control characters touch no terminal."""
    assert [line.split() for line in as_table(HOSTS).splitlines()] == [
        ["host", "groups", "address", "user", "online"],
        ["web", "all,web", "web.tail.test", "root", "yes"],
        ["db", "-", "odd\\x1b[2J", "-", "-"],
    ]
    assert as_table(Inventory({})) == "there are no hosts"


def test_records_have_null_for_what_is_not_known() -> None:
    """Not a dash."""
    assert as_records(HOSTS)[1] == {
        "name": "db",
        "groups": [],
        "address": "10.0.0.5",
        "port": 2222,
        "user": None,
        "online": None,
        "system": None,
        "not_applied": [],
        "problem": "odd\x1b[2J",
    }
