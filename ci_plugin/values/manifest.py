"""Manifests, indexes and image configs as registries serve them: bytes → types, nothing else.

Sources: OCI image-spec v1.1 (manifest.md, image-index.md, config.md) and Docker's schema 2. Refused: schema 1, a document that has both
``manifests`` and ``layers`` (GHSA-77vh-xpmg-72qh), a ``mediaType`` other than the one served, sizes that are no sizes, duplicate keys.
All errors are ValueError; the registry client turns them into ours with the address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.platform import Platform

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MEDIA_TYPES = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
"""Sent in one ``Accept`` header, always: which digest a tag has depends on it (measured, distribution 2.8)."""

LARGEST_CONFIG = 8 * 1024 * 1024
"""Bytes of an image config that are read at most."""


_PLATFORM = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}/[\w.+-]{0,64}", re.ASCII)
"""What a registry calls a platform is printed and written down; other text is none."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a reference resolves to: digest, media type and size in bytes."""

    digest: Digest
    media_type: str
    size: int

    @property
    def is_index(self) -> bool:
        """Whether this is a multi-platform index, by its media type."""
        return self.media_type in (OCI_INDEX, DOCKER_INDEX)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One manifest or index: its exact bytes and what they say.

    An index has ``entries`` (the platform each serves or None, descriptor); an image manifest has ``config`` and ``layers``.
    """

    descriptor: Descriptor
    data: bytes = field(repr=False)
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    entries: tuple[tuple[Platform | None, Descriptor], ...] = ()

    def get_config(self) -> Descriptor:
        """The descriptor of the image's config. Raises ValueError for an index."""
        if self.config is None:
            raise ValueError("expected an image manifest, found an index")
        return self.config

    @property
    def image_id(self) -> ImageId:
        """The digest of the image's config. Raises ValueError for an index."""
        return ImageId(str(self.get_config().digest))

    def find_platform(self, wanted: Platform) -> Descriptor | None:
        """The index entry that serves ``wanted``; attestations (``unknown/unknown``) never do."""
        return next((descriptor for platform, descriptor in self.entries if platform and platform.serves(wanted)), None)


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What verification needs of an image's config blob."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    labels: Mapping[str, str]


def parse_manifest(data: bytes, media_type: str) -> Manifest:
    """The manifest in these bytes; its digest is their sha256. Raises ValueError."""
    if media_type not in MEDIA_TYPES:
        raise ValueError(f"expected a manifest of Docker schema 2 or OCI, found media type {media_type[:100]!r}")
    document = _load_object(data)
    if document.get("schemaVersion") != 2 or "fsLayers" in document:
        raise ValueError("expected schemaVersion 2, found another schema")
    if "manifests" in document and not {"config", "layers"}.isdisjoint(document):
        raise ValueError("expected either manifests or config and layers, found both")
    if document.get("mediaType", media_type) != media_type:
        raise ValueError(f"expected mediaType {media_type}, found {str(document['mediaType'])[:100]!r}")
    descriptor = Descriptor(Digest.of(data), media_type, len(data))
    if descriptor.is_index:
        entries = tuple((_parse_platform(item), _parse_descriptor(item)) for item in _objects(document, "manifests"))
        return Manifest(descriptor, data, entries=entries)
    layers = tuple(_parse_descriptor(item) for item in _objects(document, "layers"))
    return Manifest(descriptor, data, config=_parse_descriptor(document.get("config")), layers=layers)


def parse_image_config(data: bytes) -> ImageConfig:
    """Platform, diff_ids and labels of a config blob. Raises ValueError."""
    document = _load_object(data)
    rootfs, config = document.get("rootfs"), document.get("config") or {}
    if not isinstance(rootfs, dict) or not isinstance(config, dict):
        raise ValueError("expected an image config with rootfs")
    labels = config.get("Labels") or {}
    diff_ids = rootfs.get("diff_ids") or []
    if not isinstance(labels, dict) or not isinstance(diff_ids, list):
        raise ValueError("expected Labels to be an object and diff_ids a list")
    platform = _platform(document)
    if platform is None:
        raise ValueError("expected os and architecture in the image config")
    return ImageConfig(platform, tuple(Digest(str(item)) for item in diff_ids), {str(k): str(v) for k, v in labels.items()})


def _load_object(data: bytes) -> dict[str, Any]:
    def no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ValueError("duplicate keys")
        return dict(pairs)

    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=no_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON, found {data[:40]!r} ({type(error).__name__})") from None
    if not isinstance(document, dict):
        raise ValueError(f"expected a JSON object, found {type(document).__name__}")
    return document


def _objects(document: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError(f"expected a list of objects in {key!r}")
    return items


def _parse_descriptor(item: object) -> Descriptor:
    if not isinstance(item, dict):
        raise ValueError("expected a descriptor object")
    size = item.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**63:
        raise ValueError(f"expected a size in bytes, found {size!r:.40}")
    return Descriptor(Digest(str(item.get("digest"))), str(item.get("mediaType", "")), size)


def _parse_platform(item: Mapping[str, Any]) -> Platform | None:
    """The platform an index entry serves; None for attestations, and for anything but an image: an index in an index serves none."""
    platform = item.get("platform")
    return _platform(platform) if isinstance(platform, dict) and item.get("mediaType") in (OCI_MANIFEST, DOCKER_MANIFEST) else None


def _platform(document: Mapping[str, Any]) -> Platform | None:
    os, architecture = str(document.get("os") or ""), str(document.get("architecture") or "")
    variant = str(document.get("variant") or "")
    if not os or not architecture or "unknown" in (os, architecture) or not _PLATFORM.fullmatch(f"{os}/{architecture}/{variant}"):
        return None
    return Platform(os, architecture, variant)
