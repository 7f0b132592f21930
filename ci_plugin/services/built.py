"""An image that is in the storage, as later images, the record and people hear of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.errors import Bug
from ci_plugin.ports import StoredStage
from ci_plugin.records.stage_labels import StageLabels
from ci_plugin.values.platform import Platform


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is in the storage now; ``seconds`` holds the stages this run built and how long each took."""

    planned: PlannedImage
    stored: StoredStage
    labels: StageLabels
    seconds: Mapping[str, float] = field(default_factory=dict)


class BuiltImages:
    """The images of one run that are in the storage, each by its name and platform. May be shared between threads."""

    def __init__(self, *images: BuiltImage) -> None:
        self._images: dict[tuple[str, Platform], BuiltImage] = {}
        self._lock = threading.Lock()
        for image in images:
            self.put(image)

    def put(self, image: BuiltImage) -> None:
        """Add an image, or what takes its place because it was lost."""
        with self._lock:
            self._images[image.planned.name, image.planned.platform] = image

    def find(self, name: str, platform: Platform) -> BuiltImage | None:
        """The image, or None where this run has none of that name for that platform."""
        return self._images.get((name, platform))

    def get(self, name: str, platform: Platform) -> BuiltImage:
        """The image. Raises Bug where something is made of it before it is there."""
        found = self.find(name, platform)
        if found is None:
            raise Bug(f"expected image {name!r} for {platform} to be built before what is made of it, found it missing")
        return found
