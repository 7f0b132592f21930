"""Built stages in a registry repository: ``ports.StagesStorage`` over a registry and an engine.

A stage is the manifest under the tag ``<stage signature>``. It gets there in two steps, because registries have no compare-and-set:
pushed under ``<stage signature>-<random>``, then named ``<stage signature>`` where nothing has that name yet. The first tag stays: every
digest a record may name carries a tag of ours. Whether a found stage's labels say what they should is the caller's question.
"""

from __future__ import annotations

import secrets

from ci_plugin.errors import AccessDenied, AnswerIsNo, Bug, Gone, InputError, Unavailable
from ci_plugin.ports import Engine, Registry, StoredStage
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.manifest import LARGEST_CONFIG, Descriptor, Manifest, parse_image_config
from ci_plugin.values.reference import Reference, Repository

_PUSHES = 3


class RegistryStagesStorage:
    """The stages of one repository. Without an engine it answers questions only."""

    def __init__(self, repository: Repository, registry: Registry, engine: Engine | None) -> None:
        self._repository = repository
        self._registry = registry
        self._engine = engine

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
        name = self._repository.tagged(f"{signature}-{secrets.token_hex(4)}")
        engine.tag(image, name)
        try:
            pushed = engine.push(name)
        finally:
            engine.untag(name)
        top = self._get_pushed(pushed)
        manifest = self._unwrap(top)
        self._check_identity(image, top, manifest)
        return self._stored(manifest, self._repository.at(manifest.descriptor.digest))

    def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
        """Give the candidate the tag ``<signature>`` unless something has it. A refused write counts as "somebody was first" if one was."""
        reference = self._repository.tagged(signature)
        if candidate.descriptor is None:
            raise Bug(f"expected a stage that was published to {self._repository}, found one without a manifest")
        if self._registry.find_descriptor(reference):
            return
        manifest = self._registry.find_manifest(self._repository.at(candidate.descriptor.digest))
        if manifest is None:
            raise Gone(f"expected {self._repository.at(candidate.descriptor.digest)}, which was just published; found nothing")
        try:
            self._registry.put_manifest(reference, manifest.data, manifest.descriptor.media_type)
        except (AnswerIsNo, AccessDenied):
            # Immutable tags: the registry itself holds the name for the first writer.
            if self._registry.find_descriptor(reference) is None:
                raise

    def bring(self, stage: StoredStage) -> ImageId:
        """Pull a stored stage by digest. Raises Gone where the registry lost its layers."""
        if stage.descriptor is None:
            raise Bug(f"expected a stage of {self._repository}, found one without a manifest")
        return self._get_engine().pull(self._repository.at(stage.descriptor.digest)).id

    def _get_engine(self) -> Engine:
        if self._engine is None:
            message = "expected a Docker engine to build, publish or fetch stages with, found none"
            raise InputError(message, hint="run this where an engine is reachable (DOCKER_HOST), or use plan and verify, which need none")
        return self._engine

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
        data = self._registry.get_blob(self._repository, manifest.config, LARGEST_CONFIG)
        try:
            config = parse_image_config(data)
        except ValueError as error:
            raise AnswerIsNo(f"expected a stage (an image) at {reference}, found something else: {error}") from None
        return StoredStage(manifest.image_id, manifest.descriptor, config)
