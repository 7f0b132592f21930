"""BuildKit's progress events (``moby.buildkit.trace``): protobuf → readable lines. Just the fields people read.

Source: moby/buildkit api/services/control/control.proto, message StatusResponse: vertexes = 1 (digest 1, name 3, cached 4, started 5,
completed 6, error 7), logs = 3 (vertex 1, msg 4). Wire format: protobuf.dev/programming-guides/encoding. Unknown fields are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

_UNREAD = ("[internal]", "copy /context /")
"""Names of steps nobody wrote: the second is how engine 20.10 calls unpacking the context we sent."""


@dataclass(slots=True)
class BuildTrace:
    """Follows one build: feed it the events in order, take the lines."""

    _announced: set[bytes] = field(default_factory=set)
    _open: dict[bytes, bytes] = field(default_factory=dict)

    def lines(self, event: bytes) -> Iterator[str]:
        """The lines this event adds: a step's name when it starts, what it prints, its error. Raises ValueError for a torn event."""
        for number, value in _fields(event):
            if number == 1 and isinstance(value, bytes):
                yield from self._vertex(dict(_fields(value)))
            elif number == 3 and isinstance(value, bytes):
                yield from self._log(dict(_fields(value)))

    def rest(self) -> Iterator[str]:
        """The last lines that ended without a newline."""
        for data in self._open.values():
            if data:
                yield _text(data)
        self._open.clear()

    def _vertex(self, vertex: dict[int, bytes | int]) -> Iterator[str]:
        digest, name = _bytes(vertex.get(1)), _text(_bytes(vertex.get(3)))
        if 5 in vertex and digest not in self._announced and not name.startswith(_UNREAD):
            self._announced.add(digest)
            yield f"{name} (cached)" if vertex.get(4) else name
        if 6 in vertex and (data := self._open.pop(digest, b"")):
            yield _text(data)
        if error := _text(_bytes(vertex.get(7))):
            yield f"ERROR: {error}"

    def _log(self, log: dict[int, bytes | int]) -> Iterator[str]:
        vertex = _bytes(log.get(1))
        *whole, self._open[vertex] = (self._open.get(vertex, b"") + _bytes(log.get(4))).split(b"\n")
        yield from (_text(line) for line in whole)


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
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
    raise ValueError("expected a varint, found the end of the event")


def _slice(data: bytes, start: int, size: int) -> bytes:
    found = data[start : start + size]
    if len(found) != size:
        raise ValueError(f"expected {size} bytes, found {len(found)}")
    return found


def _bytes(value: bytes | int | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(data: bytes) -> str:
    return data.removesuffix(b"\r").decode("utf-8", "replace")
