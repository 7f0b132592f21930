"""Other images of the configuration as stages are made from them: bases, sources of imports and of facts.

A stage of another image is settled before anything is made from it, so that all builders take the same. One whose layers the storage lost
is built anew, once for all who need it, and not trusted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.errors import Bug, Gone
from ci_plugin.ports import StagesStorage, StoredStage
from ci_plugin.services.built import BuiltImage, BuiltImages
from ci_plugin.services.election import Election
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform

Rebuild = Callable[[PlannedImage, StoredStage | None], BuiltImage]
"""Builds the last stage of an image anew; the stored stage is what was lost, None where there was none."""


@dataclass(frozen=True, slots=True)
class Rebuilding:
    """What one run shares: stages are rebuilt one at a time, and who comes second finds it done."""

    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass(frozen=True, slots=True)
class Sources:
    """The images of a run as those for one platform see them."""

    built: BuiltImages
    platform: Platform
    storage: StagesStorage
    election: Election
    rebuild: Rebuild
    rebuilding: Rebuilding

    def find(self, name: str, signature: str) -> StoredStage:
        """The settled stage of that image with that signature; it is built where the storage has only later ones."""
        built = self.built.get(name, self.platform)
        if signature == built.planned.signature:
            return self.election.settle(signature, built.stored)
        stored = self.storage.find(signature)
        if stored is None:
            return self._build(name, signature, None)
        return self.election.settle(signature, stored)

    def bring(self, name: str, signature: str) -> tuple[StoredStage, ImageId]:
        """The same, present in the engine; where its layers are lost it is built anew."""
        stored = self.find(name, signature)
        try:
            return stored, self.storage.bring(stored)
        except Gone:
            rebuilt = self._build(name, signature, stored)
            return rebuilt, self.storage.bring(rebuilt)

    def _build(self, name: str, signature: str, lost: StoredStage | None) -> StoredStage:
        with self.rebuilding.lock:
            built = self.built.get(name, self.platform)
            is_final = signature == built.planned.signature
            now = built.stored if is_final else self.storage.find(signature)
            if now is not None and (lost is None or now.image_id != lost.image_id):
                return self.election.settle(signature, now)
            rebuilt = self.rebuild(_until(built.planned, signature), lost)
            if is_final:
                self.built.put(replace(rebuilt, seconds={**built.seconds, **rebuilt.seconds}))
            return self.election.settle(signature, rebuilt.stored)


def _until(planned: PlannedImage, signature: str) -> PlannedImage:
    """The image up to the stage of that signature."""
    count = next((number for number, stage in enumerate(planned.stages, 1) if stage.signature == signature), None)
    if count is None:
        raise Bug(f"expected image {planned.name!r} to have the stage {signature}, found none")
    return planned if count == len(planned.stages) else replace(planned, stages=planned.stages[:count])
