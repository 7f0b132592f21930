"""One job's way to everything outside it: every call is a step of the schedule, at which the job may be kept waiting, failed or killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from ci_plugin.errors import AccessDenied, InputError, Unavailable
from tests.model.schedule import DISK_READS, DISK_WRITES, LAGGING_READS, READS, WRITES, Fault

Answer = TypeVar("Answer")

_OUTAGE = 5
"""Calls that find nobody after the one whose reply was lost: with it, all tries of one retry policy."""


class Crash(BaseException):
    """kill -9: nothing of ours may catch it."""


class Turns(Protocol):
    """What a gate needs of the simulation."""

    lag: int

    def turn(self, slot: int, name: str, kinds: tuple[Fault, ...]) -> tuple[Fault, int]:
        """Waits until it is this job's turn again, then says what happens to its call."""
        ...

    def postpone(self, slot: int, effect: Callable[[], object]) -> None:
        """A request whose reply did not come in time takes effect later."""
        ...

    def look(self) -> None:
        """Called after every change of anything."""
        ...


class Gate:
    """The way of the job in one slot."""

    def __init__(self, turns: Turns, slot: int, role: str, *, may_lag: bool = True) -> None:
        self.role = role
        self._turns = turns
        self._slot = slot
        self._may_lag = may_lag
        self._left_out = 0

    def read(self, name: str, effect: Callable[[int], Answer], *, lags: bool = False) -> Answer:
        """A call that changes nothing; ``effect`` takes by how many writes the replica is behind."""
        kinds = LAGGING_READS if lags and self._may_lag and self._turns.lag else READS
        fault, behind = self._turn(name, kinds)
        if fault is Fault.STALE:
            self._turns.lag -= 1
            return effect(behind)
        answer = effect(0)
        self._lose(fault, name)
        if fault is Fault.CRASH_AFTER:
            raise Crash
        return answer

    def write(self, name: str, effect: Callable[[], Answer]) -> Answer:
        """A call that changes something."""
        fault, _ = self._turn(name, WRITES)
        if fault is Fault.LATE:
            self._turns.postpone(self._slot, effect)
            raise Unavailable(f"expected a reply to {name}, found none in time")
        answer = effect()
        self._turns.look()
        self._lose(fault, name)
        if fault is Fault.CRASH_AFTER:
            raise Crash
        return answer

    def _turn(self, name: str, kinds: tuple[Fault, ...]) -> tuple[Fault, int]:
        fault, behind = self._turns.turn(self._slot, name, () if self._left_out else kinds)
        if self._left_out:
            self._left_out -= 1
            raise Unavailable(f"expected a connection for {name}, found none")
        _refuse(fault, name)
        return fault, behind

    def _lose(self, fault: Fault, name: str) -> None:
        if fault is Fault.OUT:
            self._left_out = _OUTAGE
        if fault in (Fault.LOST, Fault.OUT):
            raise Unavailable(f"expected a reply to {name}, found the connection closed")

    def last_act(self, name: str, effect: Callable[[], object]) -> None:
        """What the CI does at the end of a job: it happens, or the job has failed."""
        fault, _ = self._turns.turn(self._slot, name, DISK_READS)
        _refuse(fault, name)
        effect()
        self._turns.look()
        if fault is Fault.CRASH_AFTER:
            raise Crash

    def disk(self, name: str, effect: Callable[[], Answer], *, writes: bool) -> Answer:
        """A file read, or written whole or not at all."""
        fault, _ = self._turns.turn(self._slot, name, DISK_WRITES if writes else DISK_READS)
        _refuse(fault, name)
        answer = effect()
        if fault is Fault.CRASH_AFTER:
            raise Crash
        return answer


def _refuse(fault: Fault, name: str) -> None:
    if fault is Fault.CRASH:
        raise Crash
    if fault is Fault.FAIL:
        raise Unavailable(f"expected an answer to {name}, found 503")
    if fault is Fault.DENIED:
        raise AccessDenied(f"expected the right to {name}, found 403")
    if fault is Fault.FULL:
        raise InputError(f"expected to {name}, found no space left on the device")


class Desk:
    """``ports.Workspace`` in memory; ``written`` holds every pin file it ever got, in order."""

    def __init__(self, gate: Gate, pins: bytes | None = None) -> None:
        self.pins = pins
        self.record: bytes | None = None
        self.written: list[bytes] = []
        self._gate = gate

    @property
    def pins_path(self) -> Path:
        return Path(".stagepin/pins.json")

    @property
    def record_path(self) -> Path:
        return Path(".stagepin/build.json")

    def read_pins(self) -> bytes | None:
        return self._gate.disk("workspace.read_pins", lambda: self.pins, writes=False)

    def read_record(self) -> bytes | None:
        return self._gate.disk("workspace.read_record", lambda: self.record, writes=False)

    def write_pins(self, data: bytes) -> None:
        self._gate.disk("workspace.write_pins", lambda: self._take_pins(data), writes=True)

    def write_record(self, data: bytes) -> None:
        self._gate.disk("workspace.write_record", lambda: self._take_record(data), writes=True)

    def _take_pins(self, data: bytes) -> None:
        self.pins = data
        self.written.append(data)

    def _take_record(self, data: bytes) -> None:
        self.record = data
