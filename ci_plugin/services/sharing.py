"""Stages that several images of a run share: who comes second waits, and takes what the first one made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from ci_plugin.ports import StoredStage


@dataclass(frozen=True, slots=True)
class SharedStages:
    """What a run has made so far, by stage signature."""

    _made: dict[str, StoredStage] = field(default_factory=dict)
    _turns: dict[str, threading.Lock] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def turn(self, signature: str) -> Iterator[StoredStage | None]:
        """Alone with that stage until the block ends; what another image's turn has made, None where there was none or it failed."""
        with self._lock:
            turn = self._turns.setdefault(signature, threading.Lock())
        with turn:
            yield self._made.get(signature)

    def keep(self, signature: str, stored: StoredStage) -> None:
        """For the turns that follow."""
        self._made[signature] = stored
