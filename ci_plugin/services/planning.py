"""Which planned stages the storage has already: one HEAD for every platform of an image where everything is there, one for its index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from ci_plugin.conveyor.plan import ImagePlan, Plan, PlannedImage
from ci_plugin.ports import StagesStorage
from ci_plugin.threads import thread_pool
from ci_plugin.values.platform import Platform

_AT_ONCE = 8


class StageState(StrEnum):
    """``unknown`` is for a plan without a repository to look in."""

    CACHED = "cached"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ImageState:
    """The state of every stage for every platform; ``index`` is None where the image is none, else cached where all of it is there."""

    platforms: Mapping[Platform, tuple[StageState, ...]]
    index: StageState | None = None


def image_states(plan: Plan, storage: StagesStorage | None) -> Mapping[str, ImageState]:
    """Image name → what the storage has of it. Raises what the storage raises."""
    with thread_pool(_AT_ONCE) as pool:
        return dict(pool.map(lambda image: (image.name, _image_state(image, storage)), plan.by_image))


def _image_state(image: ImagePlan, storage: StagesStorage | None) -> ImageState:
    platforms = {platform: stage_states(planned, storage) for platform, planned in image.platforms.items()}
    if not (image.is_index and image.is_deployable):
        return ImageState(platforms)
    finals = {states[-1] for states in platforms.values()}
    if storage is None or storage.repository is None or finals != {StageState.CACHED}:
        return ImageState(platforms, StageState.UNKNOWN if storage is None else StageState.MISSING)
    return ImageState(platforms, StageState.CACHED if storage.has(image.signature) else StageState.MISSING)


def stage_states(planned: PlannedImage, storage: StagesStorage | None) -> tuple[StageState, ...]:
    """The state of every stage, in order. A stored stage stands for all before it: they are what it was built from."""
    count = len(planned.stages)
    if storage is None:
        return (StageState.UNKNOWN,) * count
    for index in range(count - 1, -1, -1):
        if storage.has(planned.stages[index].signature):
            return (StageState.CACHED,) * (index + 1) + (StageState.MISSING,) * (count - index - 1)
    return (StageState.MISSING,) * count
