"""Finish an image whose platforms are all in the storage: what is deployed of it is its one manifest, or the index of several.

The index is made of what all builders adopted, so they make the same bytes. It is looked for first: where nothing changed it costs one
request. Publishing it needs no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ci_plugin.conveyor.plan import ImagePlan
from ci_plugin.errors import AnswerIsNo
from ci_plugin.ports import StagesStorage
from ci_plugin.services.building import BuiltImage
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.platform import Platform

_OVERWRITTEN = "somebody overwrote the tag; delete it in the repository, then build again"


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """An image for all its platforms; ``deployed`` is what a deploy names by its digest, None where there is no such thing (``:local``)."""

    plan: ImagePlan
    platforms: Mapping[Platform, BuiltImage]
    deployed: Descriptor | None


def finish(plan: ImagePlan, platforms: Mapping[Platform, BuiltImage], storage: StagesStorage) -> FinishedImage:
    """The image as it can be deployed. Raises AnswerIsNo where the index's tag holds something else."""
    ordered = {platform: platforms[platform] for platform in sorted(platforms)}
    if not plan.is_index:
        (only,) = ordered.values()
        return FinishedImage(plan, ordered, only.stored.descriptor)
    is_published = all(built.stored.descriptor for built in ordered.values())
    if not plan.is_deployable or not is_published:
        return FinishedImage(plan, ordered, None)
    index = _get_index(plan.signature, ordered, storage)
    return FinishedImage(plan, ordered, index.descriptor if index else None)


def _get_index(signature: str, platforms: Mapping[Platform, BuiltImage], storage: StagesStorage) -> Manifest | None:
    index = storage.find_index(signature)
    if index is None:
        storage.publish_index(signature, {platform: built.stored for platform, built in platforms.items()})
        index = storage.find_index(signature)
    if index is not None:
        _check_index(signature, index, platforms)
    return index


def _check_index(signature: str, index: Manifest, platforms: Mapping[Platform, BuiltImage]) -> None:
    expected = {platform: built.stored.descriptor.digest for platform, built in platforms.items() if built.stored.descriptor}
    found = {platform: entry.digest for platform, entry in index.entries if platform}
    if found != expected:
        raise AnswerIsNo(
            f"expected the index {signature} to be that of {_shown(expected)}, found {index.descriptor.digest} of {_shown(found)}",
            hint=_OVERWRITTEN,
        )


def _shown(digests: Mapping[Platform, object]) -> str:
    return ", ".join(f"{platform} {digest}" for platform, digest in sorted(digests.items())) or "no platform"
