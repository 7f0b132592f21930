"""BuildKit's progress events (``moby.buildkit.trace``): protobuf → readable lines, and what became of every step. Just what people read.

Source: moby/buildkit api/services/control/control.proto, message StatusResponse: vertexes = 1 (digest 1, name 3, cached 4, started 5,
completed 6, error 7), logs = 3 (vertex 1, msg 4); times are google.protobuf.Timestamp (seconds 1, nanos 2). Unknown fields are skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from ci_plugin.engine.buildkit.protobuf import fields

_UNREAD = ("[internal]", "copy /context /")
"""Names of steps nobody wrote: the second is how engine 20.10 calls unpacking a context that was sent as a tar."""
_MOST_LINES = 100_000
"""Of one step: the engine itself cuts a step's output at 2 MiB, unless somebody told it otherwise."""


@dataclass(slots=True)
class BuildStep:
    """One step that was begun: ``started`` and ``completed`` are in seconds since 1970 by the engine's clock, None where it did not say."""

    name: str
    started: float | None = None
    completed: float | None = None
    is_cached: bool = False
    error: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_MOST_LINES), repr=False)
    """What it printed; emptied when it ends well, because whoever follows the build has it."""

    @property
    def seconds(self) -> float | None:
        """How long it took, as far as the engine said; a step that was interrupted is not complete."""
        return None if self.started is None or self.completed is None else max(0.0, self.completed - self.started)


@dataclass(slots=True)
class BuildTrace:
    """Follows one build: feed it the events in order, take the lines."""

    _steps: dict[bytes, BuildStep] = field(default_factory=dict)
    _open: dict[bytes, bytes] = field(default_factory=dict)
    _printed: dict[bytes, BuildStep] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[BuildStep, ...]:
        """The steps somebody wrote, in the order they began; the engine runs some side by side."""
        return tuple(self._steps.values())

    @property
    def failed(self) -> BuildStep | None:
        """The first step that ended with an error of its own, with all it printed; what it made others stop at is no step's error."""
        return next((step for step in self._printed.values() if step.error and step.lines), None)

    def lines(self, event: bytes) -> Iterator[str]:
        """The lines this event adds: a step's name when it starts, what it prints, its error. Raises ValueError for a torn event."""
        for number, value in fields(event):
            if number == 1 and isinstance(value, bytes):
                yield from self._vertex(dict(fields(value)))
            elif number == 3 and isinstance(value, bytes):
                yield from self._log(dict(fields(value)))

    def rest(self) -> Iterator[str]:
        """The last lines that ended without a newline."""
        for vertex in tuple(self._open):
            yield from self._close(vertex)

    def _vertex(self, vertex: dict[int, bytes | int]) -> Iterator[str]:
        digest, name = _bytes(vertex.get(1)), _text(_bytes(vertex.get(3)))
        is_cached = bool(vertex.get(4))
        if 5 in vertex and not name.startswith(_UNREAD):
            known = self._steps.get(digest)
            step = self._steps.setdefault(digest, self._step_of(digest, name))
            if known is None or (is_cached and not known.is_cached and "] FROM " not in name):
                yield f"{name} (cached)" if is_cached else name
            step.started, step.is_cached = _time(vertex[5]), is_cached
        if 6 in vertex:
            yield from self._close(digest)
        yield from self._end(digest, vertex)

    def _end(self, digest: bytes, vertex: dict[int, bytes | int]) -> Iterator[str]:
        step, error = self._step_of(digest, _text(_bytes(vertex.get(3)))), _text(_bytes(vertex.get(7)))
        step.error = step.error or error
        if 6 in vertex:
            step.completed = _time(vertex[6])
            if not step.error:
                step.lines.clear()
        if error:
            yield f"ERROR: {error}"

    def _step_of(self, digest: bytes, name: str) -> BuildStep:
        step = self._printed.setdefault(digest, BuildStep(name))
        step.name = step.name or name
        return step

    def _log(self, log: dict[int, bytes | int]) -> Iterator[str]:
        vertex = _bytes(log.get(1))
        *whole, self._open[vertex] = (self._open.get(vertex, b"") + _bytes(log.get(4))).split(b"\n")
        for line in whole:
            yield self._keep(vertex, line)

    def _close(self, vertex: bytes) -> Iterator[str]:
        if data := self._open.pop(vertex, b""):
            yield self._keep(vertex, data)

    def _keep(self, vertex: bytes, data: bytes) -> str:
        line = _text(data)
        self._step_of(vertex, "").lines.append(line)
        return line


def _time(value: bytes | int) -> float | None:
    stamp = dict(fields(_bytes(value)))
    seconds, nanos = stamp.get(1), stamp.get(2, 0)
    return seconds + nanos / 1e9 if isinstance(seconds, int) and isinstance(nanos, int) else None


def _bytes(value: bytes | int | None) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(data: bytes) -> str:
    return data.removesuffix(b"\r").decode("utf-8", "replace")
