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


def test_a_step_that_turns_out_to_be_cached_says_so_then_and_a_base_does_not() -> None:
    trace = BuildTrace()
    assert list(trace.lines(_vertex("[2/2] RUN x"))) == ["[2/2] RUN x"]
    assert list(trace.lines(_vertex("[2/2] RUN x", completed=True, cached=True))) == ["[2/2] RUN x (cached)"]
    assert list(trace.lines(_vertex("[1/2] FROM a@sha256:0", digest=b"f"))) == ["[1/2] FROM a@sha256:0"]
    assert list(trace.lines(_vertex("[1/2] FROM a@sha256:0", digest=b"f", completed=True, cached=True))) == []
    assert [(step.name, step.is_cached) for step in trace.steps] == [("[2/2] RUN x", True), ("[1/2] FROM a@sha256:0", True)]


def test_a_step_knows_how_long_it_took_once_it_is_complete() -> None:
    trace = BuildTrace()
    started, completed = _field(1, 1700000000) + _field(2, 250_000_000), _field(1, 1700000002)
    vertex = _field(1, b"d") + _field(3, b"RUN x") + _field(5, started)
    list(trace.lines(_field(1, vertex)))
    assert [step.seconds for step in trace.steps] == [None]
    list(trace.lines(_field(1, vertex + _field(6, completed))))
    assert [step.seconds for step in trace.steps] == [1.75]


def test_the_failed_step_has_all_its_output_and_no_other_steps() -> None:
    trace = BuildTrace()
    events = [_vertex("RUN good", digest=b"g"), _log(b"of good\n", b"g"), _vertex("RUN bad"), _log(b"one\ntw"), _log(b"o")]
    events += [_vertex("RUN good", digest=b"g", completed=True), _vertex("RUN bad", completed=True, error="exit code: 7")]
    for event in events:
        list(trace.lines(event))
    assert trace.failed is not None
    assert (trace.failed.name, list(trace.failed.lines), trace.failed.error) == ("RUN bad", ["one", "two"], "exit code: 7")
    assert all(not step.lines for step in trace.steps if step.name == "RUN good")


def test_a_step_that_stopped_because_of_another_is_not_the_one_that_failed() -> None:
    trace = BuildTrace()
    for event in (
        _vertex("other", digest=b"o", completed=True, error="context canceled"),
        _log(b"why\n"),
        _vertex("RUN x", error="exit 1"),
    ):
        list(trace.lines(event))
    assert trace.failed is not None
    assert trace.failed.name == "RUN x"
