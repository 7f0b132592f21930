"""Finish an image whose platforms are all in the storage: what is deployed of it is its one manifest, or the index of several.

The index follows from what all builders adopted, so they make the same bytes and there is nothing to elect. It is looked for first: where
nothing changed it costs one request. One that lists other images (a platform was lost and built anew, two builders adopted differently,
somebody wrote it) is never trusted, but replaced. Publishing it needs no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ci_plugin.conveyor.plan import ImagePlan
from ci_plugin.errors import Unavailable
from ci_plugin.ports import StagesStorage
from ci_plugin.services.building import BuiltImage
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.platform import Platform


@dataclass(frozen=True, slots=True)
class FinishedImage:
    """An image for all its platforms; ``deployed`` is what a deploy names by its digest, None where there is no such thing (``:local``).

    ``replaced``: the index that had its name until now and listed other images.
    """

    plan: ImagePlan
    platforms: Mapping[Platform, BuiltImage]
    deployed: Descriptor | None
    replaced: Digest | None = None


def finish(plan: ImagePlan, platforms: Mapping[Platform, BuiltImage], storage: StagesStorage) -> FinishedImage:
    """The image as it can be deployed. Raises Unavailable where somebody else writes another index at the same time."""
    ordered = {platform: platforms[platform] for platform in sorted(platforms)}
    if not plan.is_index:
        (only,) = ordered.values()
        return FinishedImage(plan, ordered, only.stored.descriptor)
    digests = {platform: built.stored.descriptor.digest for platform, built in ordered.items() if built.stored.descriptor}
    if not plan.is_deployable or len(digests) < len(ordered):
        return FinishedImage(plan, ordered, None)
    before = storage.find_index(plan.signature)
    if before is not None and _listed(before) == digests:
        return FinishedImage(plan, ordered, before.descriptor)
    storage.publish_index(plan.signature, {platform: built.stored for platform, built in ordered.items()})
    index = storage.find_index(plan.signature)
    if index is not None and _listed(index) != digests:
        message = f"expected the index {plan.signature} of {plan.name!r} to list what was just written, found {index.descriptor.digest}"
        raise Unavailable(message, hint="another job writes it at this moment: run again")
    return FinishedImage(plan, ordered, index.descriptor if index else None, before.descriptor.digest if before else None)


def _listed(index: Manifest) -> Mapping[Platform, Digest]:
    return {platform: entry.digest for platform, entry in index.entries if platform}
