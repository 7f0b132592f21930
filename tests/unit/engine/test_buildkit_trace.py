from __future__ import annotations

import pytest

from ci_plugin.engine.buildkit_trace import BuildTrace


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _vertex(
    name: str, *, digest: bytes = b"d", started: bool = True, completed: bool = False, cached: bool = False, error: str = ""
) -> bytes:
    body = _field(1, digest) + _field(2, b"input") + _field(3, name.encode())
    body += _field(4, 1) if cached else b""
    body += _field(5, _field(1, 1700000000)) if started else b""
    body += _field(6, _field(1, 1700000001)) if completed else b""
    return _field(1, body + (_field(7, error.encode()) if error else b""))


def _log(message: bytes, digest: bytes = b"d") -> bytes:
    return _field(3, _field(1, digest) + _field(2, _field(1, 1)) + _field(3, 1) + _field(4, message))


def test_a_step_is_named_once_when_it_starts() -> None:
    trace = BuildTrace()
    assert list(trace.lines(_vertex("[1/2] RUN echo", started=False))) == []
    assert list(trace.lines(_vertex("[1/2] RUN echo"))) == ["[1/2] RUN echo"]
    assert list(trace.lines(_vertex("[1/2] RUN echo", completed=True))) == []


def test_a_step_from_the_cache_says_so() -> None:
    assert list(BuildTrace().lines(_vertex("[1/2] RUN echo", cached=True))) == ["[1/2] RUN echo (cached)"]


def test_what_nobody_wrote_is_not_shown() -> None:
    assert list(BuildTrace().lines(_vertex("[internal] load metadata") + _vertex("copy /context /"))) == []


def test_output_is_joined_to_lines_over_events_and_per_step() -> None:
    trace = BuildTrace()
    assert list(trace.lines(_log(b"one\ntw"))) == ["one"]
    assert list(trace.lines(_log(b"other\n", b"e"))) == ["other"]
    assert list(trace.lines(_log(b"o\r\nopen \xff"))) == ["two"]
    assert list(trace.lines(_vertex("x", started=False, completed=True))) == ["open \N{REPLACEMENT CHARACTER}"]


def test_an_error_comes_after_the_steps_last_output() -> None:
    trace = BuildTrace()
    assert list(trace.lines(_log(b"last words"))) == []
    assert list(trace.lines(_vertex("RUN x", completed=True, error="exit code: 7"))) == ["RUN x", "last words", "ERROR: exit code: 7"]


def test_the_rest_is_what_no_step_closed() -> None:
    trace = BuildTrace()
    list(trace.lines(_log(b"open")))
    assert list(trace.rest()) == ["open"]
    assert list(trace.rest()) == []


def test_fields_that_are_not_known_are_skipped() -> None:
    unknown = _field(9, 300) + _field(10, b"x") + _varint(11 << 3 | 1) + bytes(8) + _varint(12 << 3 | 5) + bytes(4)
    assert list(BuildTrace().lines(unknown + _vertex("RUN x"))) == ["RUN x"]


@pytest.mark.parametrize("event", [_vertex("RUN x")[:-3], b"\x0a", b"\x80", b"\x0b", b"\x09\x01", b"\xff" * 11])
def test_a_torn_event_is_a_value_error(event: bytes) -> None:
    with pytest.raises(ValueError, match=r"^expected "):
        list(BuildTrace().lines(event))
