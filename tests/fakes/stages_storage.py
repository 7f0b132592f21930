"""A stages storage in memory, over the images of one engine: what a test wants lost is lost, and every name can be looked at."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from ci_plugin.errors import Gone
from ci_plugin.ports import Engine, ImageChange, StoredStage
from ci_plugin.values.canonical import canonical_json
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.kept_document import name_of_document, prove_document
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, ImageConfig, Manifest
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository

REPOSITORY = Repository("registry.example.com", "group/app")


class MemoryStagesStorage:
    """Implements ``ports.StagesStorage``. ``names`` is every name with its stage, ``documents`` every kept document."""

    def __init__(self, engine: Engine, repository: Repository | None = REPOSITORY) -> None:
        self._engine = engine
        self._repository = repository
        self._count = itertools.count(1)
        self._lost: set[ImageId] = set()
        self.names: dict[str, StoredStage] = {}
        self.indexes: dict[str, Manifest] = {}
        self.documents: dict[str, bytes] = {}
        self.brought: list[ImageId] = []
        self.replaced: list[str] = []

    def lose(self, signature: str) -> StoredStage:
        """The registry loses the layers of what has this name, whatever other names it has; the manifest stays."""
        stage = self.names[signature]
        self._lost.add(stage.image_id)
        return stage

    @property
    def repository(self) -> Repository | None:
        return self._repository

    def has(self, signature: str) -> bool:
        return signature in self.names

    def find(self, signature: str) -> StoredStage | None:
        return self.names.get(signature)

    def publish_unique(self, signature: str, image: ImageId) -> StoredStage:
        stored = self._stored(image)
        self._lost.discard(image)
        self.names[f"{signature}-{next(self._count)}"] = stored
        return stored

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        self.names.setdefault(signature, candidate)

    def replace(self, signature: str, candidate: StoredStage) -> None:
        self.replaced.append(signature)
        self.names[signature] = candidate

    def bring(self, stage: StoredStage) -> ImageId:
        if stage.image_id in self._lost or self._engine.find_image(str(stage.image_id)) is None:
            raise Gone(f"expected the engine to have the stage {stage.image_id}, found its layers lost", hint="build again")
        self.brought.append(stage.image_id)
        return stage.image_id

    def relabel(self, signature: str, stage: StoredStage, labels: Mapping[str, str]) -> StoredStage:
        return self.publish_unique(signature, self._engine.derive(self.bring(stage), ImageChange(labels=labels)).id)

    def publish_index(self, signature: str, images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        if self._repository is None:
            return None
        entries = tuple((platform, stage.descriptor) for platform, stage in sorted(images.items()) if stage.descriptor)
        data = canonical_json([[str(platform), str(descriptor.digest)] for platform, descriptor in entries])
        index = Manifest(Descriptor(Digest.of(data), DOCKER_INDEX, len(data)), data, entries=entries)
        self.indexes[signature] = index
        return index.descriptor

    def find_index(self, signature: str) -> Manifest | None:
        return self.indexes.get(signature)

    def put_document(self, data: bytes) -> str:
        name = name_of_document(data)
        self.documents[name] = data
        return name

    def find_document(self, name: str) -> bytes | None:
        data = self.documents.get(name)
        return None if data is None else prove_document(name, data, f"listing-{name}")

    def name_reuse(self, key: str, stage: StoredStage) -> None:
        self.names.setdefault(f"reuse-{key}", stage)

    def find_reuse(self, key: str) -> StoredStage | None:
        return self.names.get(f"reuse-{key}")

    def _stored(self, image: ImageId) -> StoredStage:
        found = self._engine.find_image(str(image))
        if found is None:
            raise Gone(f"expected the engine to have the image {image}, found none")
        descriptor = Descriptor(Digest.of(str(image).encode()), DOCKER_MANIFEST, 100) if self._repository else None
        return StoredStage(image, descriptor, ImageConfig(found.platform, found.diff_ids, found.labels))
