"""A DNS answer gives its addresses; one that is cut or hostile gives none, and never an exception."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.net.dnsmessage import addresses

QUESTION = b"\x04web1\x03lab\x04test\x00" + struct.pack("!HH", 1, 1)
POINTER = b"\xc0\x0c"
A = (1, bytes([100, 64, 0, 2]))
AAAA = (28, bytes.fromhex("fd7a115ca1e000000000000000000002"))
CNAME = (5, b"\x03web\x00")


def message(*records: tuple[int, bytes], questions: int = 1, name: bytes = POINTER) -> bytes:
    """Return an answer with these records of (type, data)."""
    head = struct.pack("!6H", 1, 0x8180, questions, len(records), 0, 0)
    body = b"".join(name + struct.pack("!HHIH", kind, 1, 600, len(data)) + data for kind, data in records)
    return head + QUESTION * questions + body


def test_addresses_of_both_kinds_come_in_their_order() -> None:
    assert addresses(message(CNAME, A, AAAA)) == ("100.64.0.2", "fd7a:115c:a1e0::2")


def test_names_may_be_written_out() -> None:
    """Not every server compresses."""
    assert addresses(message(A, name=b"\x04web1\x00", questions=2)) == ("100.64.0.2",)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(message(), id="no answer"),
        pytest.param(message((1, b"\x01\x02")), id="an address of two bytes"),
        pytest.param(message((28, A[1])), id="four bytes as IPv6"),
        pytest.param(message((16, b"\x03txt")), id="other records"),
        pytest.param(b"\x00" * 5, id="half a head"),
    ],
)
def test_without_an_address_there_is_none(content: bytes) -> None:
    assert addresses(content) == ()


@pytest.mark.parametrize("length", range(len(message(A))))
def test_a_message_cut_anywhere_has_no_address(length: int) -> None:
    assert addresses(message(A)[:length]) == ()


@given(st.binary(max_size=100))
def test_no_bytes_are_too_odd(content: bytes) -> None:
    assert isinstance(addresses(content), tuple)


@given(st.binary(max_size=60))
def test_no_answer_section_is_too_odd(content: bytes) -> None:
    assert isinstance(addresses(struct.pack("!6H", 1, 0, 1, 3, 0, 0) + content), tuple)
