"""YAML without its surprises: each is refused with file, line and column."""

from pathlib import Path

import pytest

from tasks.errors import ConfigurationFailure
from tasks.remote import document
from tasks.remote.document import Mapping, Scalar, Sequence


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the document of a test lies."""
    return tmp_path / "x.yml"


def refusal(file: Path, content: bytes) -> str:
    """Return why the content is refused, without the folder."""
    file.write_bytes(content)
    with pytest.raises(ConfigurationFailure) as caught:
        document.read(file)
    return str(caught.value).replace(f"{file.parent}/", "")


def test_every_node_keeps_its_place_and_its_text(file: Path) -> None:
    """Nothing is converted: `022` stays `022`."""
    file.write_text("a: 022\nb:\n  - 'x'\n")

    root = document.read(file)

    assert isinstance(root, Mapping)
    key, value = root.entries["a"]
    assert (key.text, value) == ("a", Scalar("022", True, "", document.Place(file, 1, 4)))
    assert root.entries["b"][1] == Sequence(
        [Scalar("x", False, "", document.Place(file, 3, 5))], document.Place(file, 3, 3)
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a: 1\na: 2\n", "x.yml:2:1: expected each key once (it stands in line 1 too), got 'a'"),
        (b"a: &x [1]\nb: *x\n", "x.yml:2:4: expected a value written out, got the alias *x"),
        (b"a: !!python/object:os.system {}",
         "x.yml:1:4: expected a value without a tag, got tag:yaml.org,2002:python/object:os.system"),
        (b"a:\n\t- b", "x.yml:2:1: not valid YAML: found character that cannot start any token"),
        (b"a: [", "x.yml:2:1: not valid YAML: did not find expected node content"),
        (b"[" * 500, "x.yml:1:41: expected at most 40 levels, got a deeper one"),
        (b"a: 1\n---\nb: 1\n", "x.yml:2:1: expected one document, got a second one"),
        (b"? [a]\n: b\n", "x.yml:1:3: expected a text as a key, got a list"),
        (b"a: \x00", "x.yml: not valid YAML: control characters are not allowed"),
        (b"a: \xe9", "x.yml: expected UTF-8 text, got the byte 0xe9"),
    ],
)  # fmt: skip
def test_what_yaml_would_take_quietly_is_an_error(file: Path, content: bytes, why: str) -> None:
    """The last key would win, an alias may be a bomb, a tag may run code."""
    assert refusal(file, content) == why


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A folder is no file."""
    with pytest.raises(ConfigurationFailure, match=f"^cannot read {tmp_path}: is a directory$"):
        document.read(tmp_path)


def test_a_huge_file_is_not_read(file: Path) -> None:
    """Its size is asked first."""
    with file.open("wb") as opened:
        opened.truncate(document.LARGEST + 1)

    assert refusal_of_size(file) == f"expected at most {document.LARGEST} bytes, got {document.LARGEST + 1}"


def refusal_of_size(file: Path) -> str:
    """Return why the file is refused."""
    with pytest.raises(ConfigurationFailure) as caught:
        document.read(file)
    return str(caught.value).partition(": ")[2]


@pytest.mark.parametrize("content", [b"", b"# only\n", b"\xef\xbb\xbf", b"---\n", b"null\n", b"~\n"])
def test_nothing_is_empty(file: Path, content: bytes) -> None:
    """A comment, a byte order mark, `null`."""
    file.write_bytes(content)

    assert document.is_empty(document.read(file))


def test_dos_line_ends_and_a_byte_order_mark_are_read(file: Path) -> None:
    """Editors write them."""
    file.write_bytes(b"\xef\xbb\xbfa: b\r\nc: d\r\n")

    root = document.read(file)

    assert isinstance(root, Mapping)
    assert {key: node.text for key, (_, node) in root.entries.items() if isinstance(node, Scalar)} == {
        "a": "b",
        "c": "d",
    }


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        *[("no", "a boolean"), ("022", "a number"), ("1:30", "a number"), ("1.5", "a number"), ("10", "a number")],
        *[("2026-01-01", "a date"), ("~", "nothing"), ("web", ""), ("10.0.0.1", ""), ("'no'", ""), ("!vault x", "")],
    ],
)
def test_the_meaning_in_yaml_is_told(file: Path, text: str, meaning: str) -> None:
    """What a person did not mean when they wrote a host called `no`."""
    file.write_text(f"a: {text}\n")
    root = document.read(file)

    assert isinstance(root, Mapping)
    node = root.entries["a"][1]
    assert isinstance(node, Scalar)
    assert document.meaning(node) == meaning


def test_a_vault_value_is_opaque(file: Path) -> None:
    """It is kept, and known as what it is."""
    file.write_text("a: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n")
    root = document.read(file)

    assert isinstance(root, Mapping)
    node = root.entries["a"][1]
    assert isinstance(node, Scalar)
    assert node.opaque == "an ansible-vault secret"


def test_a_file_that_is_encrypted_as_a_whole_is_recognised(file: Path) -> None:
    """By its first bytes; a missing file is not encrypted."""
    assert not document.is_encrypted(file)
    file.write_bytes(b"$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    assert document.is_encrypted(file)
