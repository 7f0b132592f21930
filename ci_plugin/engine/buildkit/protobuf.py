"""Protobuf's wire format, both ways: all that BuildKit's few small messages need.

Source: protobuf.dev/programming-guides/encoding. Which field means what stands where a message is read or made.
"""

from __future__ import annotations

from collections.abc import Iterator


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) of one message: int for varints and fixed widths, bytes for the rest. Raises ValueError."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        match key & 7:
            case 0:
                value, position = _varint(data, position)
                yield key >> 3, value
            case 1 | 5 as width:
                size = 8 if width == 1 else 4
                position += size
                yield key >> 3, int.from_bytes(_slice(data, position - size, size), "little")
            case 2:
                size, position = _varint(data, position)
                yield key >> 3, _slice(data, position, size)
                position += size
            case wire:
                raise ValueError(f"expected wire type 0, 1, 2 or 5, found {wire}")


def find_bytes(message: bytes, number: int) -> bytes:
    """The last value of a length-delimited field; empty where the message has none, as proto3 has it. Raises ValueError."""
    found = [value for key, value in fields(message) if key == number and isinstance(value, bytes)]
    return found[-1] if found else b""


def field(number: int, value: bytes | str | int) -> bytes:
    """One field as it stands in a message: a varint for an int, else the length and the bytes. Nothing for proto3's default."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value) if value else b""
    data = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data if data else b""


def varint(value: int) -> bytes:
    """A number from 0 to 2**64-1."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("expected a varint, found the end of the message")


def _slice(data: bytes, start: int, size: int) -> bytes:
    found = data[start : start + size]
    if len(found) != size:
        raise ValueError(f"expected {size} bytes, found {len(found)}")
    return found
