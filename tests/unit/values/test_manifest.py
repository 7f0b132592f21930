from __future__ import annotations

import json
from typing import Any

import pytest

from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    parse_image_config,
    parse_manifest,
)
from ci_plugin.values.platform import Platform

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": A, "size": 10}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": B, "size": 20}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}


def entry(digest: str, os: str | None = None, architecture: str = "", variant: str | None = None) -> dict[str, Any]:
    platform = {"os": os, "architecture": architecture} | ({"variant": variant} if variant else {})
    return {"mediaType": OCI_MANIFEST, "digest": digest, "size": 5} | ({"platform": platform} if os else {})


INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [entry(A, "linux", "amd64"), entry(B, "linux", "arm64", "v8"), entry(C, "unknown", "unknown"), entry(D)],
}


def dump(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST])
def test_a_manifest_says_its_config_and_layers(media_type: str) -> None:
    data = dump(MANIFEST | {"mediaType": media_type})
    manifest = parse_manifest(data, media_type)
    assert manifest.descriptor == Descriptor(Digest.of(data), media_type, len(data))
    assert manifest.data == data
    assert manifest.image_id == ImageId(A)
    assert manifest.layers == (Descriptor(Digest(B), str(LAYER["mediaType"]), 20),)
    assert not manifest.descriptor.is_index


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX])
def test_an_index_finds_the_entry_of_a_platform_and_never_an_attestation(media_type: str) -> None:
    index = parse_manifest(dump(INDEX | {"mediaType": media_type}), media_type)
    assert index.descriptor.is_index
    found = [index.find_platform(Platform(*text.split("/"))) for text in ("linux/amd64", "linux/arm64", "linux/arm", "unknown/unknown")]
    assert [descriptor and str(descriptor.digest) for descriptor in found] == [A, B, None, None]
    assert [platform for platform, _ in index.entries[2:]] == [None, None]
    with pytest.raises(ValueError, match="expected an image manifest, found an index"):
        index.get_config()


def test_a_manifest_may_leave_its_media_type_to_the_header() -> None:
    data = dump({key: value for key, value in MANIFEST.items() if key != "mediaType"})
    assert parse_manifest(data, OCI_MANIFEST).descriptor.media_type == OCI_MANIFEST


@pytest.mark.parametrize(
    ("document", "media_type", "message"),
    [
        (MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws", "expected a manifest of Docker schema 2 or OCI, found"),
        (MANIFEST, "text/html", "found media type 'text/html'"),
        (MANIFEST | {"schemaVersion": 1}, OCI_MANIFEST, "expected schemaVersion 2"),
        ({}, OCI_MANIFEST, "expected schemaVersion 2"),
        (MANIFEST | {"fsLayers": []}, OCI_MANIFEST, "expected schemaVersion 2"),
        (MANIFEST | {"manifests": []}, OCI_MANIFEST, "expected either manifests or config and layers, found both"),
        (INDEX | {"layers": []}, OCI_INDEX, "expected either manifests or config and layers, found both"),
        (INDEX | {"config": CONFIG}, OCI_INDEX, "expected either manifests or config and layers, found both"),
        (MANIFEST, DOCKER_MANIFEST, f"expected mediaType {DOCKER_MANIFEST}, found '{OCI_MANIFEST}'".replace("+", r"\+")),
        (MANIFEST | {"mediaType": None}, OCI_MANIFEST, "found 'None'"),
        (MANIFEST | {"mediaType": OCI_INDEX}, OCI_MANIFEST, "expected mediaType"),
        (INDEX | {"manifests": {}}, OCI_INDEX, "expected a list of objects in 'manifests'"),
        (INDEX | {"manifests": [1]}, OCI_INDEX, "expected a list of objects in 'manifests'"),
        (MANIFEST | {"layers": None}, OCI_MANIFEST, "expected a list of objects in 'layers'"),
        (MANIFEST | {"config": None}, OCI_MANIFEST, "expected a descriptor object"),
        (MANIFEST | {"config": CONFIG | {"digest": 5}}, OCI_MANIFEST, "expected sha256"),
        (MANIFEST | {"config": CONFIG | {"digest": A.upper()}}, OCI_MANIFEST, "expected sha256"),
        *(
            (MANIFEST | {"config": CONFIG | {"size": size}}, OCI_MANIFEST, "expected a size in bytes")
            for size in (-1, 2**63, True, 1.5, "1", None)
        ),
        ([], OCI_MANIFEST, "expected a JSON object, found list"),
        (None, OCI_MANIFEST, "expected a JSON object, found NoneType"),
    ],
)
def test_what_is_no_manifest_is_refused(document: object, media_type: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_manifest(dump(document), media_type)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"\xff",
        b"\xef\xbb\xbf{}",
        dump(MANIFEST)[:-1],
        dump(MANIFEST) + b"x",
        b"[" * 100_000,
        b'{"schemaVersion":2,"schemaVersion":2}',
        dump(MANIFEST).replace(b'"size": 10', b'"size": 10, "size": 11'),
    ],
)
def test_bytes_that_are_no_json_or_say_a_thing_twice_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="expected JSON, found "):
        parse_manifest(data, OCI_MANIFEST)


def test_a_config_says_platform_layers_and_labels() -> None:
    config = {"os": "linux", "architecture": "arm", "variant": "v6", "rootfs": {"type": "layers", "diff_ids": [A, B]}}
    found = parse_image_config(dump(config | {"config": {"Labels": {"a": "b"}}}))
    assert (found.platform, found.diff_ids, found.labels) == (Platform("linux", "arm", "v6"), (Digest(A), Digest(B)), {"a": "b"})
    for nothing in ({}, {"config": None}, {"config": {"Labels": None}}):
        assert parse_image_config(dump(config | nothing)).labels == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rootfs": None}, "expected an image config with rootfs"),
        ({"config": 5}, "expected an image config with rootfs"),
        ({"config": {"Labels": [1]}}, "expected Labels to be an object and diff_ids a list"),
        ({"rootfs": {"diff_ids": {"a": 1}}}, "expected Labels to be an object and diff_ids a list"),
        ({"rootfs": {"diff_ids": ["x"]}}, "expected sha256"),
        ({"os": ""}, "expected os and architecture in the image config"),
        ({"architecture": "unknown"}, "expected os and architecture in the image config"),
    ],
)
def test_what_is_no_image_config_is_refused(change: dict[str, Any], message: str) -> None:
    config = {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [A]}, "config": {}}
    with pytest.raises(ValueError, match=message):
        parse_image_config(dump(config | change))
