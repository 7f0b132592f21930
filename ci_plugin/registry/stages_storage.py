"""Built stages in a registry repository: ``ports.StagesStorage`` over a registry and an engine.

A stage is the manifest under the tag ``<stage signature>``. It gets there in two steps, because registries have no compare-and-set:
pushed under ``<stage signature>-<random>``, then named ``<stage signature>`` where nothing has that name yet. The first tag stays: every
digest a record may name carries a tag of ours. Whether a found stage's labels say what they should is the caller's question.

Beside the stages: ``listing-<sha256>`` are documents, ``reuse-<key>`` further names of stages, and where an image has several platforms
``<signature>`` is the index of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from ci_plugin.errors import AccessDenied, AnswerIsNo, Bug, Gone, InputError, Unavailable
from ci_plugin.ports import Engine, Registry, StoredStage
from ci_plugin.registry.documents import RegistryDocuments
from ci_plugin.registry.stage_manifests import make_index, relabel_config, replace_config
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.manifest import LARGEST_CONFIG, Descriptor, ImageConfig, Manifest, parse_image_config
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository

_PUSHES = 3


class RegistryStagesStorage:
    """The stages of one repository. Without an engine it answers questions only."""

    def __init__(self, repository: Repository, registry: Registry, engine: Engine | None) -> None:
        self._repository = repository
        self._registry = registry
        self._engine = engine
        self._documents = RegistryDocuments(repository, registry)
        self._configs: dict[Digest, ImageConfig] = {}
        """By digest, so that reading a stage again after the settle time is one request."""
        self._published: dict[Digest, Manifest] = {}
        """What this run put under a name of its own, so that naming it asks for nothing."""

    @property
    def repository(self) -> Repository | None:
        """The repository; never None here."""
        return self._repository

    def has(self, signature: str) -> bool:
        """Whether a stage of that signature is stored: one HEAD, and one GET to confirm that it is not."""
        return self._registry.find_descriptor(self._repository.tagged(signature)) is not None

    def find(self, signature: str) -> StoredStage | None:
        """The stored stage, or None where it is confirmed absent. Raises Gone where its config is lost, AnswerIsNo where it is no image."""
        manifest = self._registry.find_manifest(self._repository.tagged(signature))
        return self._stored(manifest, self._repository.tagged(signature)) if manifest else None

    def publish_unique(self, signature: str, image: ImageId) -> StoredStage:
        """Push an image of the engine under ``<signature>-<8 random hex>``; what the registry then serves is the stored stage.

        A registry that collects garbage while jobs push loses blobs before their manifest comes, and manifests that have just come: then
        it is pushed again, and the engine uploads what is missing. Raises Unavailable where it is lost every time.
        """
        engine, lost = self._get_engine(), ""
        for _ in range(_PUSHES):
            try:
                return self._publish(engine, signature, image)
            except Gone as error:
                if engine.find_image(str(image)) is None:
                    raise
                lost = error.message
        hint = "does its garbage collection run while jobs push? run again when it has ended; or does another server answer reads?"
        raise Unavailable(f"expected {self._repository} to keep what was pushed, found it lost {_PUSHES} times: {lost}", hint=hint)

    def _publish(self, engine: Engine, signature: str, image: ImageId) -> StoredStage:
        name = self._unique(signature)
        engine.tag(image, name)
        try:
            pushed = engine.push(name)
        finally:
            engine.untag(name)
        top = self._get_pushed(pushed)
        manifest = self._unwrap(top)
        self._check_identity(image, top, manifest)
        self._published[manifest.descriptor.digest] = manifest
        return self._stored(manifest, self._repository.at(manifest.descriptor.digest))

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the tag ``<signature>`` unless something has it. A refused write counts as "somebody was first" if one was."""
        self._name(signature, candidate)

    def replace(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the tag ``<signature>`` although something has it. Raises AnswerIsNo where tags are written once."""
        reference, manifest = self._repository.tagged(signature), self._get_published(self._digest(candidate))
        before = self._registry.find_descriptor(reference)
        if before == manifest.descriptor:
            return
        try:
            self._registry.put_manifest(reference, manifest.data, manifest.descriptor.media_type)
        except (AnswerIsNo, AccessDenied) as error:
            # The candidate was taken under a name of its own a moment ago, so this is no lack of rights.
            if before is None:
                raise
            message = f"expected {reference} to take the stage that was built anew, found that the tag may not be written again"
            hint = f"the registry lost layers of what has the tag ({before.digest}): delete the tag there, then build again"
            raise AnswerIsNo(f"{message}: {error.message}", hint=hint, where=error.where) from error

    def bring(self, stage: StoredStage) -> ImageId:
        """Pull a stored stage by digest. Raises Gone where the registry lost its layers."""
        digest = self._digest(stage)
        return self._get_engine().pull(self._repository.at(digest)).id

    def relabel(self, signature: str, stage: StoredStage, labels: Mapping[str, str]) -> StoredStage:
        """A new config and manifest over the stored layers, under a tag of its own: no engine, and no layer is moved.

        Raises Gone where the registry lost the stage or its layers.
        """
        manifest = self._get_published(self._digest(stage))
        config = relabel_config(self._registry.get_blob(self._repository, manifest.get_config(), LARGEST_CONFIG), labels)
        relabelled = replace_config(manifest, config)
        restored: list[Digest] = []

        def restore() -> None:
            restored.append(self._registry.put_blob(self._repository, config))

        self._registry.put_blob(self._repository, config)
        try:
            self._registry.put_manifest(self._unique(signature), relabelled.data, relabelled.descriptor.media_type, restore)
        except AnswerIsNo as error:
            if not restored:
                raise
            # The config was brought back, so what the registry still misses are layers.
            lost = f"expected {self._repository} to have the layers of {manifest.descriptor.digest}, found some lost"
            raise Gone(f"{lost}: {error.message}", where=error.where) from error
        self._published[relabelled.descriptor.digest] = relabelled
        return self._stored(relabelled, self._repository.at(relabelled.descriptor.digest))

    def copy(self, name: str, source: Repository, stage: StoredStage) -> StoredStage:
        """A stage of another repository under ``<name>-<random>`` here: mounted or passed on, without an engine. Raises Gone."""
        manifest = self._registry.find_manifest(source.at(self._digest(stage)))
        if manifest is None:
            raise Gone(f"expected {source.at(self._digest(stage))}, found nothing")
        for blob in (manifest.get_config(), *manifest.layers):
            self._registry.copy_blob(source, blob, self._repository)
        self._registry.put_manifest(self._unique(name), manifest.data, manifest.descriptor.media_type)
        self._published[manifest.descriptor.digest] = manifest
        return self._stored(manifest, self._repository.at(manifest.descriptor.digest))

    def publish_index(self, signature: str, images: Mapping[Platform, StoredStage]) -> Descriptor | None:
        """The index under ``<signature>``, which is of these images: one of others is replaced. Raises Unavailable where it is gone again.

        Images that all builders adopted give all of them the same bytes, so there is nothing more to elect. Raises AnswerIsNo where the
        tag is written once and has another index.
        """
        reference = self._repository.tagged(signature)
        index = make_index({platform: self._get_published(self._digest(stage)).descriptor for platform, stage in images.items()})
        before = self.find_index(signature)
        if before is None or before.descriptor != index.descriptor:
            self._registry.put_manifest(self._unique(signature), index.data, index.descriptor.media_type)
            self._put_index(reference, index, before.descriptor if before else None)
        published = self.find_index(signature)
        if published is None:
            message = f"expected the index {reference} after publishing it, found nothing"
            raise Unavailable(message, hint="run the job again: the build converges on what is stored then")
        return published.descriptor

    def _put_index(self, reference: Reference, index: Manifest, before: Descriptor | None) -> None:
        if before is None:
            self._put_if_absent(reference, index)
            return
        try:
            self._registry.put_manifest(reference, index.data, index.descriptor.media_type)
        except (AnswerIsNo, AccessDenied) as error:
            message = f"expected {reference} to take the index {index.descriptor.digest}, found that the tag may not be written again"
            hint = f"what has the tag ({before.digest}) lists other images than this build has: delete the tag there, then build again"
            raise AnswerIsNo(f"{message}: {error.message}", hint=hint, where=error.where) from error

    def find_index(self, signature: str) -> Manifest | None:
        """The index of several platforms, or None. Raises AnswerIsNo where the tag holds something else."""
        manifest = self._registry.find_manifest(self._repository.tagged(signature))
        if manifest and not manifest.descriptor.is_index:
            message = f"expected an index at {self._repository.tagged(signature)}, found an image of one platform"
            raise AnswerIsNo(message, hint="somebody overwrote the tag; delete it in the repository, then build again")
        return manifest

    def put_document(self, data: bytes) -> str:
        """Keep a document as an artifact of the repository."""
        return self._documents.put(data)

    def find_document(self, name: str) -> bytes | None:
        """The document, or None."""
        return self._documents.find(name)

    def name_reuse(self, key: str, stage: StoredStage) -> None:
        """The tag ``reuse-<key>``, unless something has it."""
        self._name(f"reuse-{key}", stage)

    def find_reuse(self, key: str) -> StoredStage | None:
        """The stage under ``reuse-<key>``, or None where it, or its config, is confirmed absent."""
        try:
            return self.find(f"reuse-{key}")
        except Gone:
            return None

    def _name(self, tag: str, stage: StoredStage) -> None:
        reference, digest = self._repository.tagged(tag), self._digest(stage)
        if self._registry.find_descriptor(reference) is None:
            self._put_if_absent(reference, self._get_published(digest))

    def _put_if_absent(self, reference: Reference, manifest: Manifest) -> None:
        """What was just seen to be absent is written. Immutable tags: the registry itself holds the name for the first writer."""
        try:
            self._registry.put_manifest(reference, manifest.data, manifest.descriptor.media_type)
        except (AnswerIsNo, AccessDenied):
            if self._registry.find_descriptor(reference) is None:
                raise

    def _unique(self, signature: str) -> Reference:
        return self._repository.tagged(f"{signature}-{secrets.token_hex(4)}")

    def _digest(self, stage: StoredStage) -> Digest:
        if stage.descriptor is None:
            raise Bug(f"expected a stage of {self._repository}, found one without a manifest")
        return stage.descriptor.digest

    def _get_engine(self) -> Engine:
        if self._engine is None:
            message = "expected a Docker engine to build, publish or fetch stages with, found none"
            raise InputError(message, hint="run this where an engine is reachable (DOCKER_HOST), or use plan and verify, which need none")
        return self._engine

    def _get_published(self, digest: Digest) -> Manifest:
        manifest = self._published.get(digest) or self._registry.find_manifest(self._repository.at(digest))
        if manifest is None:
            raise Gone(f"expected {self._repository.at(digest)}, which is stored; found nothing")
        return manifest

    def _get_pushed(self, digest: Digest) -> Manifest:
        manifest = self._registry.find_manifest(self._repository.at(digest))
        if manifest is None:
            raise Gone(f"expected {self._repository.at(digest)}, which the engine just pushed; found nothing")
        return manifest

    def _unwrap(self, manifest: Manifest) -> Manifest:
        """The one image in what was pushed: an engine with the containerd store pushes an index of it and its attestations."""
        if not manifest.descriptor.is_index:
            return manifest
        images: list[Descriptor] = [descriptor for platform, descriptor in manifest.entries if platform]
        if len(images) != 1:
            raise AnswerIsNo(f"expected one image in the pushed index {manifest.descriptor.digest}, found {len(images)}")
        return self._get_pushed(images[0].digest)

    def _check_identity(self, image: ImageId, top: Manifest, manifest: Manifest) -> None:
        """The engine's ID is the config's digest, or with the containerd store that of the manifest or index it pushed."""
        ours = {str(manifest.image_id), str(manifest.descriptor.digest), str(top.descriptor.digest)}
        if str(image) not in ours:
            message = f"expected the registry to hold the image {image} that was pushed, found image {manifest.image_id}"
            raise AnswerIsNo(message, hint="does somebody else push to this repository under our tags?")

    def _stored(self, manifest: Manifest, reference: Reference) -> StoredStage:
        if manifest.config is None:
            raise AnswerIsNo(f"expected a stage (an image of one platform) at {reference}, found an index")
        return StoredStage(manifest.image_id, manifest.descriptor, self._config(manifest.config, reference))

    def _config(self, blob: Descriptor, reference: Reference) -> ImageConfig:
        if blob.digest not in self._configs:
            data = self._registry.get_blob(self._repository, blob, LARGEST_CONFIG)
            try:
                self._configs[blob.digest] = parse_image_config(data)
            except ValueError as error:
                raise AnswerIsNo(f"expected a stage (an image) at {reference}, found something else: {error}") from None
        return self._configs[blob.digest]
