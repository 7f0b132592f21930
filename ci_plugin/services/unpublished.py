"""Build on what a repository has and keep what is new in this engine: ``--no-publish``, and the job of a fork that may not push.

A stage is looked for in the repository first and in the engine's own store after it. Everything that is written goes to the engine.
"""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.ports import StagesStorage, StoredStage
from ci_plugin.values.digest import ImageId
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository


class UnpublishedStagesStorage:
    """Implements ``ports.StagesStorage``: ``shared`` is only read, ``own`` has no repository."""

    def __init__(self, shared: StagesStorage, own: StagesStorage) -> None:
        self._shared = shared
        self._own = own
        self._replaced: set[str] = set()
        """Signatures of stages the repository lost, which this run has built anew."""

    @property
    def repository(self) -> Repository | None:
        """None: what is written here has no name in a registry, and there is no election to wait for."""
        return None

    def has(self, signature: str) -> bool:
        """Whether either has a stage of that signature."""
        return self._shared.has(signature) or self._own.has(signature)

    def find(self, signature: str) -> StoredStage | None:
        """The repository's stage, else the engine's."""
        found = None if signature in self._replaced else self._shared.find(signature)
        return found or self._own.find(signature)

    def publish_unique(self, signature: str, image: ImageId) -> StoredStage:
        """Give it a name of its own in the engine."""
        return self._own.publish_unique(signature, image)

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        """Name it in the engine."""
        self._own.set_if_absent(signature, candidate)

    def replace(self, signature: str, candidate: StoredStage) -> None:
        """Name it in the engine, and find it there for the rest of this run."""
        self._own.replace(signature, candidate)
        self._replaced.add(signature)

    def bring(self, stage: StoredStage) -> ImageId:
        """Pulled where it is the repository's."""
        return (self._shared if stage.descriptor else self._own).bring(stage)

    def relabel(self, signature: str, stage: StoredStage, labels: Mapping[str, str]) -> StoredStage:
        """The same layers in the engine; the repository's are pulled for it."""
        return self._own.relabel(signature, StoredStage(self.bring(stage), None, stage.config), labels)

    def publish_index(self, _signature: str, _images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        """None: nothing is published."""
        return None

    def find_index(self, signature: str) -> Manifest | None:
        """The repository's."""
        return self._shared.find_index(signature)

    def put_document(self, data: bytes) -> str:
        """Keep it in the engine."""
        return self._own.put_document(data)

    def find_document(self, name: str) -> bytes | None:
        """The repository's, else the engine's."""
        found = self._shared.find_document(name)
        return self._own.find_document(name) if found is None else found

    def name_reuse(self, key: str, stage: StoredStage) -> None:
        """Name it in the engine; a stage of the repository is found there by its own names."""
        if stage.descriptor is None:
            self._own.name_reuse(key, stage)

    def find_reuse(self, key: str) -> StoredStage | None:
        """The repository's, else the engine's."""
        return self._shared.find_reuse(key) or self._own.find_reuse(key)
