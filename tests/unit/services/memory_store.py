"""A pin store and a workspace in memory, and a registry that must not be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from ci_plugin.errors import Unavailable
from ci_plugin.values.pipeline import ScopeKey


@dataclass
class MemoryStore:
    """Implements ``ports.PinStore``; ``before_create`` is where a rival comes in."""

    pins: dict[str, bytes] = field(default_factory=dict)
    records: dict[str, bytes] = field(default_factory=dict)
    before_create: Callable[[], None] | None = None
    loses_everything: bool = False
    name: str = "memory store"
    guarantee: str = "create if absent holds"
    lag: float = 0.0
    stale_reads: int = 0

    def find_pins(self, key: ScopeKey) -> bytes | None:
        if self.stale_reads:
            self.stale_reads -= 1
            return None
        return self.pins.get(key.short_hash)

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        if self.before_create:
            self.before_create()
        if self.loses_everything:
            raise Unavailable(f"expected the pins just created in the {self.name}, found none", hint="run the job again")
        return self.pins.setdefault(key.short_hash, document)

    def find_record(self, key: ScopeKey) -> bytes | None:
        return self.records.get(key.short_hash)

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        if self.pins.setdefault(key.short_hash, pins) != pins:
            return False
        self.records[key.short_hash] = document
        return True


@dataclass
class MemoryWorkspace:
    """Implements ``ports.Workspace``."""

    pins: bytes | None = None
    record: bytes | None = None
    pins_path: Path = Path(".stagepin/pins.json")
    record_path: Path = Path(".stagepin/build.json")

    def read_pins(self) -> bytes | None:
        return self.pins

    def read_record(self) -> bytes | None:
        return self.record

    def write_pins(self, data: bytes) -> None:
        self.pins = data

    def write_record(self, data: bytes) -> None:
        self.record = data


class SilentRegistry:
    """A registry nobody may ask."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"expected no request, found {name}")
