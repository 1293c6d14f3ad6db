"""Owns the reading of a DNS answer (RFC 1035 section 4): its A and AAAA addresses, nothing else."""

import ipaddress
import struct

HEADER = struct.Struct("!6H")
RECORD = struct.Struct("!HHIH")  # type, class, time to live, length of the data
POINTER = 0xC0
QUESTION_TAIL = 4
ADDRESS_LENGTHS = {1: 4, 28: 16}  # A, AAAA


def addresses(message: bytes) -> tuple[str, ...]:
    """Return the addresses in the answer section; none for an empty, cut or malformed message."""
    try:
        return tuple(_answers(message))
    except (IndexError, struct.error):
        return ()


def _answers(message: bytes) -> list[str]:
    if not message:
        return []
    _, _, questions, answers, _, _ = HEADER.unpack_from(message)
    position = HEADER.size
    for _ in range(questions):
        position = _after_name(message, position) + QUESTION_TAIL
    found = []
    for _ in range(answers):
        position = _after_name(message, position)
        kind, _, _, length = RECORD.unpack_from(message, position)
        position += RECORD.size
        data = message[position : position + length]
        if ADDRESS_LENGTHS.get(kind) == len(data):
            found.append(str(ipaddress.ip_address(data)))
        position += length
    return found


def _after_name(message: bytes, position: int) -> int:
    while length := message[position]:
        if length & POINTER == POINTER:
            return position + 2
        position += length + 1
    return position + 1
