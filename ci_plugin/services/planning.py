"""Which planned stages the storage has already: one HEAD per image where everything is there."""

from __future__ import annotations

from enum import StrEnum

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.ports import StagesStorage


class StageState(StrEnum):
    """``unknown`` is for a plan without a repository to look in."""

    CACHED = "cached"
    MISSING = "missing"
    UNKNOWN = "unknown"


def stage_states(planned: PlannedImage, storage: StagesStorage | None) -> tuple[StageState, ...]:
    """The state of every stage, in order. A stored stage stands for all before it: they are what it was built from."""
    count = len(planned.stages)
    if storage is None:
        return (StageState.UNKNOWN,) * count
    for index in range(count - 1, -1, -1):
        if storage.has(planned.stages[index].signature):
            return (StageState.CACHED,) * (index + 1) + (StageState.MISSING,) * (count - index - 1)
    return (StageState.MISSING,) * count
