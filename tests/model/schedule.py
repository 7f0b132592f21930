"""Who makes the next step and what strikes it: the decisions of one simulated pipeline, read from bytes or written by hand.

A tape is read two bytes a step; a zero means "the same job goes on, nothing happens", and so does everything after its end. So the
shortest tape with the fewest other bytes is the simplest story, which is what a shrinker looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Fault(Enum):
    """What may happen to one call."""

    NONE = "answers"
    FAIL = "answers 503 and does nothing"
    LOST = "is done, its reply is lost"
    LATE = "times out and is done later"
    STALE = "is answered by a replica that lags"
    OUT = "is done, and nothing answers this job for a while"
    DENIED = "answers 403 and does nothing"
    FULL = "finds the disk full"
    CRASH = "is never made: the job is killed before it"
    CRASH_AFTER = "is done, and the job is killed"


READS = (Fault.FAIL, Fault.CRASH, Fault.CRASH_AFTER, Fault.OUT, Fault.DENIED)
LAGGING_READS = (Fault.STALE, *READS)
WRITES = (Fault.FAIL, Fault.LOST, Fault.CRASH, Fault.CRASH_AFTER, Fault.LATE, Fault.OUT, Fault.DENIED)
DISK_READS = (Fault.CRASH, Fault.CRASH_AFTER)
DISK_WRITES = (Fault.FULL, Fault.CRASH, Fault.CRASH_AFTER)
PASSING = frozenset({Fault.FAIL, Fault.LOST, Fault.LATE, Fault.STALE})
"""What a retry gets over."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one job: its number in that run of the job, what it asks, what may strike it."""

    slot: int
    number: int
    name: str
    kinds: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Setup:
    """The pipeline that is simulated.

    ``readers`` are roles. ``moving``: every resolve finds another digest; else tags move when an event says so. ``handed_on``: readers get
    the newest pin job's workspace. ``kept``: a job that is tried again finds its old workspace. ``told``: later jobs know the checksum of
    the first pins; ``lied_to``: some are told a wrong one. ``skewed``: no two clocks agree. ``lag``: reads that may be stale, in all.
    """

    writers: int = 2
    readers: tuple[str, ...] = ("need", "fetch", "build")
    moving: bool = False
    handed_on: bool = False
    kept: bool = False
    told: bool = False
    lied_to: bool = False
    skewed: bool = False
    lag: int = 3


class Decider(Protocol):
    """Makes every decision of a simulation."""

    def stays(self, slot: int, number: int) -> bool:
        """Whether the job whose turn it is, and whose next call has this number, goes on."""
        ...

    def pick(self, options: Sequence[str]) -> int:
        """Which of these goes on instead."""
        ...

    def strike(self, call: Call) -> tuple[Fault, int]:
        """What happens to the call; for STALE also by how many writes the replica is behind."""
        ...


_ROLES = ("need", "fetch", "build")
_RATES = (0, 24, 64, 110)
_CALM = (160, 96, 225, 32)
_FAMILIES = (
    frozenset(Fault),
    PASSING,
    frozenset({Fault.STALE, Fault.LOST, Fault.LATE}),
    frozenset({Fault.CRASH, Fault.CRASH_AFTER, Fault.OUT, Fault.STALE}),
)
"""What strikes in one simulation: few kinds at a time get farther than all at once."""
HEADER = 6
END = "end"
FARTHEST = 99
"""Writes a replica is behind at most: before everything."""
_DEPTHS = (1, 3, 8, FARTHEST)


class Tape:
    """Decisions from bytes: six for the pipeline, then two a step."""

    def __init__(self, data: bytes) -> None:
        head = data[:HEADER].ljust(HEADER, b"\0")
        flags = head[4]
        roles = tuple(_ROLES[(head[5] >> 2 * index) % 3] for index in range(head[1] % 4))
        switches = {name: bool(flags & 1 << bit) for bit, name in enumerate(("moving", "handed_on", "kept", "told", "lied_to", "skewed"))}
        self.setup = Setup(1 + head[0] % 4, roles, lag=head[3] // 4 % 5, **switches)
        self._data = data
        self._at = HEADER
        self._quiet = 256 - _RATES[head[2] % 4]
        self._family = _FAMILIES[head[2] // 4 % 4]
        self._calm = _CALM[head[3] % 4]
        self._which = 0

    def stays(self, slot: int, number: int) -> bool:
        """By the next byte, which ``pick`` goes by, too."""
        self._which = self._next()
        return self._which < self._calm

    def pick(self, options: Sequence[str]) -> int:
        """By the byte ``stays`` read; the end, where it may be, every other time."""
        return 0 if options[0] == END and self._which < 128 else self._which % len(options)

    def strike(self, call: Call) -> tuple[Fault, int]:
        """By the next byte."""
        value = self._next()
        if value < self._quiet:
            return Fault.NONE, 0
        kinds = [kind for kind in call.kinds if kind in self._family]
        return (kinds[value % len(kinds)] if kinds else Fault.NONE), _DEPTHS[value // 8 % 4]

    def _next(self) -> int:
        at = self._at
        self._at = at + 1
        return self._data[at] if at < len(self._data) else 0


@dataclass(slots=True)
class Script:
    """Decisions by hand: what strikes a call, and what comes before it; both by (job, number of its call, counted over its runs).

    What comes before is the name of an event, or ``job 1``, which then runs to its end.
    """

    setup: Setup
    faults: Mapping[tuple[int, int], Fault] = field(default_factory=dict)
    before: Mapping[tuple[int, int], str] = field(default_factory=dict)
    _next: str = ""
    _came: set[tuple[int, int]] = field(default_factory=set)
    _struck: set[tuple[int, int]] = field(default_factory=set)

    def stays(self, slot: int, number: int) -> bool:
        """Unless something comes before this call, once."""
        place = (slot, number)
        if place not in self.before or place in self._came:
            return True
        self._came.add(place)
        self._next = self.before[place]
        return False

    def pick(self, options: Sequence[str]) -> int:
        """What was to come before if it may; else what is first: a job that runs, then one that has not begun, then the end."""
        name, self._next = self._next, ""
        return options.index(name) if name in options else 0

    def strike(self, call: Call) -> tuple[Fault, int]:
        """What was written for it, once."""
        place = (call.slot, call.number)
        if place not in self.faults or place in self._struck:
            return Fault.NONE, 0
        self._struck.add(place)
        fault = self.faults[place]
        return (fault, FARTHEST) if fault in call.kinds else (Fault.NONE, 0)
