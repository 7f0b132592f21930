"""Small documents kept in a repository of stages: one OCI artifact each, under a tag, so that no garbage collection takes it.

Image-spec v1.1, manifest.md, "Guidelines for Artifact Usage": an empty config and one layer, the document compressed with gzip.
Its tag is ``listing-<sha256 of the uncompressed bytes>``.
"""

from __future__ import annotations

import gzip
import zlib

from ci_plugin.errors import AccessDenied, AnswerIsNo, Gone
from ci_plugin.ports import Registry
from ci_plugin.values.canonical import canonical_json
from ci_plugin.values.digest import Digest
from ci_plugin.values.kept_document import LARGEST_KEPT, foreign_document, name_of_document, prove_document
from ci_plugin.values.manifest import OCI_MANIFEST, Descriptor, Manifest
from ci_plugin.values.reference import Reference, Repository

ARTIFACT_TYPE = "application/vnd.stagepin.listing.v1"
LISTING_TYPE = "application/vnd.stagepin.listing.v1+json+gzip"

_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_GZIP = 31
"""zlib's window bits for a gzip header."""


class RegistryDocuments:
    """The documents of one repository."""

    def __init__(self, repository: Repository, registry: Registry) -> None:
        self._repository = repository
        self._registry = registry

    def put(self, data: bytes) -> str:
        """Keep a document; its name. Where it is there already nothing is sent, but a blob that got lost is brought back.

        Raises InputError where it is too large.
        """
        name = name_of_document(data)
        packed = pack(data)
        self._registry.put_blob(self._repository, packed)
        reference = self._reference(name)
        if self._registry.find_descriptor(reference) is None:
            self._put_manifest(reference, packed)
        return name

    def find(self, name: str) -> bytes | None:
        """The document, or None where it or its bytes are confirmed absent. Raises AnswerIsNo where the tag holds something else."""
        reference = self._reference(name)
        manifest = self._registry.find_manifest(reference)
        if manifest is None:
            return None
        try:
            packed = self._registry.get_blob(self._repository, _layer(manifest, name, reference), LARGEST_KEPT)
        except Gone:
            return None
        try:
            data = zlib.decompressobj(_GZIP).decompress(packed, LARGEST_KEPT + 1)
        except zlib.error:
            raise foreign_document(name, str(reference), "bytes that are no gzip") from None
        return prove_document(name, data, str(reference))

    def _put_manifest(self, reference: Reference, packed: bytes) -> None:
        """A refused write counts as "somebody was first" if one was."""

        def restore() -> None:
            for blob in (packed, _EMPTY):
                self._registry.put_blob(self._repository, blob)

        self._registry.put_blob(self._repository, _EMPTY)
        try:
            self._registry.put_manifest(reference, _manifest(packed), OCI_MANIFEST, restore)
        except (AnswerIsNo, AccessDenied):
            if self._registry.find_descriptor(reference) is None:
                raise

    def _reference(self, name: str) -> Reference:
        return self._repository.tagged(f"listing-{name}")


def pack(data: bytes) -> bytes:
    """The bytes of a document's layer; the same document gives the same ones."""
    return gzip.compress(data, compresslevel=6, mtime=0)


def _manifest(packed: bytes) -> bytes:
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": _EMPTY_TYPE, "digest": str(Digest.of(_EMPTY)), "size": len(_EMPTY)},
            "layers": [{"mediaType": LISTING_TYPE, "digest": str(Digest.of(packed)), "size": len(packed)}],
        }
    )


def _layer(manifest: Manifest, name: str, reference: Reference) -> Descriptor:
    layers = [layer for layer in manifest.layers if layer.media_type == LISTING_TYPE]
    if len(layers) != 1:
        raise foreign_document(name, str(reference), f"a manifest with {len(layers)} of them")
    return layers[0]
