"""Pin file and build record in the stages storage: ``ports.PinStore`` over a registry.

One OCI artifact per scope under the tag ``stagepin-<12 hex>`` (image-spec v1.1, manifest.md, "Guidelines for Artifact Usage"): an empty
config, one layer with the pin file and, once there is one, a second with the build record. The layers are titled, so that any OCI tool
fetches them as ``pins.json`` and ``build.json``. A record is added by replacing the manifest; the pins' layer stays what it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ci_plugin.errors import AccessDenied, AnswerIsNo, DocumentError, Location, StagepinError, Unavailable
from ci_plugin.ports import Registry
from ci_plugin.registry.project_tag import tag_project
from ci_plugin.values.canonical import canonical_json
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import LARGEST_DOCUMENT
from ci_plugin.values.manifest import OCI_MANIFEST, Manifest
from ci_plugin.values.pipeline import ScopeKey
from ci_plugin.values.reference import Reference, Repository

ARTIFACT_TYPE = "application/vnd.stagepin.scope.v1+json"
PINS_TYPE = "application/vnd.stagepin.pins.v1+json"
RECORD_TYPE = "application/vnd.stagepin.record.v1+json"

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_TITLE = "org.opencontainers.image.title"


class RegistryPinStore:
    """The pins and records kept in one repository."""

    def __init__(self, repository: Repository, registry: Registry) -> None:
        self._repository = repository
        self._registry = registry

    @property
    def name(self) -> str:
        """``stages storage REPOSITORY``."""
        return f"stages storage {self._repository}"

    @property
    def guarantee(self) -> str:
        """What may be relied on."""
        return (
            "a registry has no compare-and-set: there is one winner as long as one pin job of the scope writes at a time, "
            "all later jobs read the same tag, and it is kept until somebody deletes that tag"
        )

    @property
    def lag(self) -> float:
        """A registry shows a tag as soon as it took the manifest."""
        return 0.0

    def find_pins(self, key: ScopeKey) -> bytes | None:
        """The pin file, or None where there is confirmed to be none. Raises DocumentError where the tag holds something else."""
        manifest = self._find(key)
        if manifest is None:
            return None
        pins = self._read(key, manifest, PINS_TYPE)
        if pins is None:
            raise self._foreign(key, "no pin file in it")
        return pins

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        """File the pins unless the scope has some, and read what it has then. Raises Unavailable where that is nothing."""
        self._create(key, document)
        # For a laptop's sake: a registry that refuses this tag has taken the pins all the same.
        with suppress(AnswerIsNo, AccessDenied):
            tag_project(self._repository, self._registry, key.pipeline)
        pins = self.find_pins(key)
        if pins is None:
            raise Unavailable(f"expected the pins just created in the {self.name}, found none", hint="run the job again")
        return pins

    def _create(self, key: ScopeKey, document: bytes) -> None:
        """A refused write counts as "somebody was first" if one was."""
        reference = self._reference(key)
        if self._registry.find_descriptor(reference):
            return
        layer = self._upload(document, PINS_TYPE, "pins.json")
        self._registry.put_blob(self._repository, _EMPTY)
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": _EMPTY_TYPE, "digest": str(Digest.of(_EMPTY)), "size": len(_EMPTY)},
            "layers": [layer],
        }
        try:
            self._put(reference, manifest, document)
        except (AnswerIsNo, AccessDenied):
            if self._registry.find_descriptor(reference) is None:
                raise

    def _put(self, reference: Reference, manifest: Mapping[str, object], *documents: bytes) -> None:
        """The manifest of documents that were uploaded; they are again where garbage collection took them meanwhile."""

        def restore() -> None:
            for blob in (*documents, _EMPTY):
                self._registry.put_blob(self._repository, blob)

        self._registry.put_manifest(reference, canonical_json(manifest), OCI_MANIFEST, restore)

    def find_record(self, key: ScopeKey) -> bytes | None:
        """The build record, or None where the scope has none."""
        manifest = self._find(key)
        return self._read(key, manifest, RECORD_TYPE) if manifest else None

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        """File the record beside these pins; False where the tag holds other pins.

        Raises Unavailable where it holds none after all, AnswerIsNo where the registry does not let a tag be written twice.
        """
        manifest = self._find(key)
        if manifest is None:
            self._create(key, pins)
            manifest = self._find(key)
        if manifest is None:
            raise Unavailable(f"expected the pins just created in the {self.name}, found none", hint="run the job again")
        if not any(layer.media_type == PINS_TYPE and layer.digest.matches(pins) for layer in manifest.layers):
            return False
        layer = self._upload(document, RECORD_TYPE, "build.json")
        body: dict[str, Any] = json.loads(manifest.data)
        body["layers"] = [*(kept for kept in body["layers"] if kept["mediaType"] != RECORD_TYPE), layer]
        # Writing the same bytes again would make readers see errors for a moment and change nothing.
        if not manifest.descriptor.digest.matches(canonical_json(body)):
            try:
                self._put(self._reference(key), body, pins, document)
            except (AnswerIsNo, AccessDenied) as error:
                # The layer before it was taken, so this is no lack of rights: who wrote the tag first wrote it for good.
                raise self._immutable(key, error) from error
        return True

    def _reference(self, key: ScopeKey) -> Reference:
        return self._repository.tagged(f"stagepin-{key.short_hash}")

    def _find(self, key: ScopeKey) -> Manifest | None:
        manifest = self._registry.find_manifest(self._reference(key))
        if manifest and (manifest.descriptor.media_type != OCI_MANIFEST or json.loads(manifest.data).get("artifactType") != ARTIFACT_TYPE):
            raise self._foreign(key, f"a manifest of {manifest.descriptor.media_type} that is none")
        return manifest

    def _read(self, key: ScopeKey, manifest: Manifest, media_type: str) -> bytes | None:
        """The one layer of that kind, None where there is none. Raises DocumentError, unread, for several and for one that is too large."""
        layers = [layer for layer in manifest.layers if layer.media_type == media_type]
        if len(layers) > 1:
            raise self._foreign(key, f"{len(layers)} documents of one kind")
        if layers and layers[0].size > LARGEST_DOCUMENT:
            raise self._foreign(key, f"a document of {layers[0].size} bytes (at most {LARGEST_DOCUMENT} are read)")
        return self._registry.get_blob(self._repository, layers[0], LARGEST_DOCUMENT) if layers else None

    def _upload(self, document: bytes, media_type: str, title: str) -> dict[str, Any]:
        if len(document) > LARGEST_DOCUMENT:
            raise DocumentError(f"expected a {title} of at most {LARGEST_DOCUMENT} bytes, found {len(document)}")
        digest: Digest = self._registry.put_blob(self._repository, document)
        return {"mediaType": media_type, "digest": str(digest), "size": len(document), "annotations": {_TITLE: title}}

    def _immutable(self, key: ScopeKey, error: StagepinError) -> AnswerIsNo:
        message = f"expected {self._reference(key)} to take the build record, found that the tag may not be written again: {error.message}"
        hint = "allow tags that begin with stagepin- to be overwritten, or hand .stagepin/build.json on as a CI artifact"
        return AnswerIsNo(message, hint=hint, where=error.where)

    def _foreign(self, key: ScopeKey, found: str) -> DocumentError:
        hint = "somebody else wrote this tag; remove it, or use another repository"
        return DocumentError(f"expected a pin set of stagepin, found {found}", hint=hint, where=Location(str(self._reference(key))))
