"""Manifests of stages that are written without an engine: the same layers under other labels, and the index of several platforms.

Pure functions of bytes. Sources: OCI image-spec v1.1 (config.md, image-index.md), Docker's image manifest version 2, schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ci_plugin.values.canonical import canonical_json
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, Descriptor, Manifest, parse_manifest
from ci_plugin.values.platform import Platform


def relabel_config(data: bytes, labels: Mapping[str, str]) -> bytes:
    """An image config with these labels added to its own; layers, history and everything else stay."""
    document: dict[str, Any] = json.loads(data)
    config = document.get("config") or {}
    document["config"] = {**config, "Labels": {**(config.get("Labels") or {}), **labels}}
    return canonical_json(document)


def replace_config(manifest: Manifest, config: bytes) -> Manifest:
    """The same layers with another config."""
    document: dict[str, Any] = json.loads(manifest.data)
    document["config"] = {**document["config"], "digest": str(Digest.of(config)), "size": len(config)}
    return parse_manifest(canonical_json(document), manifest.descriptor.media_type)


def make_index(images: Mapping[Platform, Descriptor]) -> Manifest:
    """The index of these manifests, sorted by platform: the same images give the same bytes.

    Docker's manifest list where all are Docker's, which every engine reads; else an OCI index.
    """
    entries = [
        {"mediaType": image.media_type, "digest": str(image.digest), "size": image.size, "platform": _platform(platform)}
        for platform, image in sorted(images.items())
    ]
    media_type = DOCKER_INDEX if all(image.media_type == DOCKER_MANIFEST for image in images.values()) else OCI_INDEX
    return parse_manifest(canonical_json({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}), media_type)


def _platform(platform: Platform) -> dict[str, str]:
    described = {"os": platform.os, "architecture": platform.architecture}
    return {**described, "variant": platform.variant} if platform.variant else described
