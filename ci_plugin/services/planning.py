"""Which planned stages the storage has already: one HEAD for every platform of an image where everything is there, one for its index.

Where it lacks one, the cache repositories are asked for it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ci_plugin.conveyor.plan import ImagePlan, Plan, PlannedImage
from ci_plugin.ports import StagesStorage
from ci_plugin.threads import thread_pool
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository

_AT_ONCE = 8


class StageState(StrEnum):
    """``unknown`` is for a plan without a repository to look in."""

    CACHED = "cached"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ImageState:
    """The state of every stage for every platform; ``index`` is None where the image is none, else cached where all of it is there.

    ``caches``: for platforms whose latest cached stage only a cache repository has, which.
    """

    platforms: Mapping[Platform, tuple[StageState, ...]]
    index: StageState | None = None
    caches: Mapping[Platform, Repository] = field(default_factory=dict)


def image_states(plan: Plan, storage: StagesStorage | None, caches: Sequence[StagesStorage] = ()) -> Mapping[str, ImageState]:
    """Image name → what the storage and, after it, the caches have of it. Raises what they raise."""
    with thread_pool(_AT_ONCE) as pool:
        return dict(pool.map(lambda image: (image.name, _image_state(image, storage, caches)), plan.by_image))


def _image_state(image: ImagePlan, storage: StagesStorage | None, caches: Sequence[StagesStorage]) -> ImageState:
    found = {platform: _stage_states(planned, storage, caches) for platform, planned in image.platforms.items()}
    platforms = {platform: states for platform, (states, _) in found.items()}
    places = {platform: place for platform, (_, place) in found.items() if place}
    if not (image.is_index and image.is_deployable):
        return ImageState(platforms, caches=places)
    finals = {states[-1] for states in platforms.values()}
    if storage is None or storage.repository is None or finals != {StageState.CACHED}:
        return ImageState(platforms, StageState.UNKNOWN if storage is None else StageState.MISSING, places)
    return ImageState(platforms, StageState.CACHED if storage.has(image.signature) else StageState.MISSING, places)


def _stage_states(
    planned: PlannedImage, storage: StagesStorage | None, caches: Sequence[StagesStorage]
) -> tuple[tuple[StageState, ...], Repository | None]:
    """The state of every stage, in order, and the cache that has the latest one where the storage has not.

    A stored stage stands for all before it: they are what it was built from.
    """
    count = len(planned.stages)
    if storage is None:
        return (StageState.UNKNOWN,) * count, None
    for index in range(count - 1, -1, -1):
        for asked in (storage, *caches):
            if asked.has(planned.stages[index].signature):
                states = (StageState.CACHED,) * (index + 1) + (StageState.MISSING,) * (count - index - 1)
                return states, None if asked is storage else asked.repository
    return (StageState.MISSING,) * count, None
