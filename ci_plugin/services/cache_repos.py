"""Take stages that other repositories have instead of building them: ``--cache-repo``.

A cache repository is only read. What is found there is copied into the storage of this build, with the stages it was built on, and from
then on it is an ordinary stage: a record never names what only a cache has. A cache is an extra: one that cannot be read is told once and
not asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ci_plugin.errors import AccessDenied, AnswerIsNo, Unavailable
from ci_plugin.ports import StagesStorage, StoredStage
from ci_plugin.records.stage_labels import StageLabels
from ci_plugin.services.election import trusted_labels
from ci_plugin.values.digest import ImageId
from ci_plugin.values.manifest import Descriptor, Manifest
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository

_T = TypeVar("_T")


CopyStage = Callable[[str, StagesStorage, StoredStage], StoredStage]
"""Puts a stage of another storage into this one, under a name of its own that begins with the first argument."""


@dataclass(frozen=True, slots=True)
class Caches:
    """The cache repositories, the first asked first; ``tell`` takes one sentence for people."""

    storages: Sequence[StagesStorage]
    tell: Callable[[str], None]
    _broken: set[int] = field(default_factory=set, init=False)

    def ask(self, question: Callable[[StagesStorage], _T | None]) -> tuple[StagesStorage, _T] | None:
        """The first answer that is one, and whose it is."""
        for number, storage in enumerate(self.storages):
            if number in self._broken:
                continue
            try:
                answer = question(storage)
            except (AccessDenied, AnswerIsNo, Unavailable) as error:
                self._broken.add(number)
                hint = f" ({error.hint})" if error.hint else ""
                self.tell(f"the cache repository {storage.repository} is not asked any more in this run: {error.message}{hint}")
                continue
            if answer is not None:
                return storage, answer
        return None


class CachedStagesStorage:
    """Implements ``ports.StagesStorage`` over ``storage``, into which ``copy`` takes what only a cache has."""

    def __init__(self, storage: StagesStorage, caches: Caches, copy: CopyStage) -> None:
        self._storage = storage
        self._caches = caches
        self._copy = copy
        self._copying = threading.Lock()

    @property
    def repository(self) -> Repository | None:
        """Where this build stores."""
        return self._storage.repository

    def has(self, signature: str) -> bool:
        """Whether it is stored here already, or a cache has it."""
        return self._storage.has(signature) or bool(self._caches.ask(lambda cache: cache.has(signature) or None))

    def find(self, signature: str) -> StoredStage | None:
        """The stored stage; one that only a cache has is stored now."""
        found = self._storage.find(signature)
        if found is None and (hit := self._caches.ask(lambda cache: cache.find(signature))):
            return self._take(signature, *hit)
        return found

    def publish_unique(self, signature: str, image: ImageId) -> StoredStage:
        """As the storage does it."""
        return self._storage.publish_unique(signature, image)

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        """As the storage does it."""
        self._storage.set_if_absent(signature, candidate)

    def replace(self, signature: str, candidate: StoredStage) -> None:
        """As the storage does it."""
        self._storage.replace(signature, candidate)

    def bring(self, stage: StoredStage) -> ImageId:
        """From the storage: it was copied there."""
        return self._storage.bring(stage)

    def relabel(self, signature: str, stage: StoredStage, labels: Mapping[str, str]) -> StoredStage:
        """As the storage does it."""
        return self._storage.relabel(signature, stage, labels)

    def publish_index(self, signature: str, images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        """As the storage does it."""
        return self._storage.publish_index(signature, images)

    def find_index(self, signature: str) -> Manifest | None:
        """The storage's: an index is made again of images that were copied."""
        return self._storage.find_index(signature)

    def put_document(self, data: bytes) -> str:
        """As the storage does it."""
        return self._storage.put_document(data)

    def find_document(self, name: str) -> bytes | None:
        """The document; one that only a cache has is kept here now."""
        found = self._storage.find_document(name)
        if found is None and (hit := self._caches.ask(lambda cache: cache.find_document(name))):
            self._storage.put_document(hit[1])
            return hit[1]
        return found

    def name_reuse(self, key: str, stage: StoredStage) -> None:
        """As the storage does it."""
        self._storage.name_reuse(key, stage)

    def find_reuse(self, key: str) -> StoredStage | None:
        """The storage's: by this key a stage is only ever reused, not needed."""
        return self._storage.find_reuse(key)

    def _take(self, signature: str, cache: StagesStorage, stage: StoredStage) -> StoredStage | None:
        try:
            labels = trusted_labels(stage, signature)
            with self._copying:
                if (taken := self._storage.find(signature)) is not None:
                    return taken  # by another image of this build, meanwhile
                if self.repository is not None:
                    for name, before in _find_ancestors(labels, cache):
                        self._put(name, cache, before)
                copied = self._put(signature, cache, stage)
        except AnswerIsNo as error:
            self._caches.tell(f"stage {signature} is not taken from {cache.repository}: {error.message}")
            return None
        self._caches.tell(f"stage {labels.stage} ({signature}) is taken from {cache.repository}")
        return copied

    def _put(self, signature: str, cache: StagesStorage, stage: StoredStage) -> StoredStage:
        copied = self._copy(signature, cache, stage)
        self._storage.set_if_absent(signature, copied)
        return self._storage.find(signature) or copied


def _find_ancestors(labels: StageLabels, cache: StagesStorage) -> Iterator[tuple[str, StoredStage]]:
    """The stages it was built on, as far as the cache still has exactly those: a record names them, too."""
    for ancestor in labels.ancestors:
        stage = cache.find(ancestor.signature)
        if stage and stage.descriptor and ancestor.digest == stage.descriptor.digest:
            yield ancestor.signature, stage
