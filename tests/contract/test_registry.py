"""The port Registry: the client against the fake server and against a real distribution registry, so that the fake cannot lie."""

from __future__ import annotations

import json

import pytest

from ci_plugin.errors import AnswerIsNo, Gone
from ci_plugin.ports import Registry
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    parse_image_config,
)
from ci_plugin.values.platform import parse_platform
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.registry import make_image
from tests.fakes.registry_client import make_client, push_image

KINDS = [(DOCKER_MANIFEST, DOCKER_INDEX), (OCI_MANIFEST, OCI_INDEX)]
ABSENT = Digest.of(b"nobody has these bytes")


def index_of(children: dict[str, Digest], media_type: str, child_type: str, size: int) -> bytes:
    entries = []
    for text, digest in children.items():
        platform = parse_platform(text)
        described = {"os": platform.os, "architecture": platform.architecture}
        entries.append({"mediaType": child_type, "digest": str(digest), "size": size, "platform": described})
    return json.dumps({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).encode()


def test_client_is_a_registry() -> None:
    registry: Registry = make_client()
    assert registry.resolve([]) == {}


@pytest.mark.parametrize("media_type", [DOCKER_MANIFEST, OCI_MANIFEST])
def test_a_tag_resolves_to_digest_media_type_and_size(repository: Repository, media_type: str) -> None:
    client, image = make_client(), make_image(media_type=media_type)
    reference = repository.tagged(f"tag-{len(media_type)}")
    digest = push_image(client, reference, image)
    assert digest == image.digest
    assert client.resolve([reference]) == {reference: Descriptor(digest, media_type, len(image.manifest))}


@pytest.mark.parametrize(("child_type", "index_type"), KINDS)
def test_an_index_resolves_to_itself_by_tag_and_by_digest(repository: Repository, child_type: str, index_type: str) -> None:
    client, image = make_client(), make_image(media_type=child_type)
    child = push_image(client, repository.tagged(f"child-{len(index_type)}"), image)
    data = index_of({"linux/amd64": child}, index_type, child_type, len(image.manifest))
    reference = repository.tagged(f"index-{len(index_type)}")
    digest = client.put_manifest(reference, data, index_type)
    found = client.resolve([reference, repository.at(digest)])
    assert found == dict.fromkeys([reference, repository.at(digest)], Descriptor(digest, index_type, len(data)))
    manifest = client.find_manifest(repository.at(digest))
    assert manifest is not None
    assert manifest.data == data
    assert manifest.find_platform(parse_platform("linux/amd64")) == Descriptor(child, child_type, len(image.manifest))


def test_a_moved_tag_resolves_to_the_new_digest_and_the_old_one_stays(repository: Repository) -> None:
    client, reference = make_client(), repository.tagged("latest")
    old = push_image(client, reference, make_image(seed="old"))
    new = push_image(client, reference, make_image(seed="new"))
    found = client.resolve([reference, repository.at(old)])
    assert [getattr(one, "digest", None) for one in found.values()] == [new, old]


def test_absence_is_none_for_repository_tag_and_digest(repository: Repository) -> None:
    client = make_client()
    push_image(client, repository.tagged("there"), make_image())
    nowhere = Repository(repository.registry, "nobody/pushed-this").tagged("latest")
    for reference in (nowhere, repository.tagged("absent"), repository.at(ABSENT)):
        assert client.find_descriptor(reference) is None
        assert client.find_manifest(reference) is None


def test_resolve_says_which_reference_is_not_there(repository: Repository) -> None:
    client, there, absent = make_client(), repository.tagged("there"), repository.tagged("absent")
    digest = push_image(client, there, make_image())
    found = client.resolve([absent, there])
    assert list(found) == [absent, there]
    error, descriptor = found[absent], found[there]
    assert isinstance(error, Gone)
    assert error.message == f"expected {absent} in its registry, found nothing: not found in the registry"
    assert "spelling" in error.hint
    assert isinstance(descriptor, Descriptor)
    assert descriptor.digest == digest


def test_blobs_come_back_as_they_went(repository: Repository) -> None:
    client = make_client()
    digest = client.put_blob(repository, b"hello")
    assert client.put_blob(repository, b"hello") == digest
    assert client.get_blob(repository, Descriptor(digest, "text/plain", 5), 100) == b"hello"


def test_a_config_is_read_from_its_manifest(repository: Repository) -> None:
    client, reference = make_client(), repository.tagged("app")
    push_image(client, reference, make_image(labels={"a": "b"}, platform="linux/arm64"))
    manifest = client.find_manifest(reference)
    assert manifest is not None
    assert manifest.config is not None
    config = parse_image_config(client.get_blob(repository, manifest.config, 10_000))
    assert (config.labels, str(config.platform)) == ({"a": "b"}, "linux/arm64")


def test_a_lost_blob_is_gone(repository: Repository) -> None:
    client = make_client()
    client.put_blob(repository, b"something else, so that the repository exists")
    with pytest.raises(Gone, match=f"expected blob {ABSENT} in {repository}, found nothing"):
        client.get_blob(repository, Descriptor(ABSENT, "", 1), 10)


def test_a_manifest_whose_blobs_are_missing_is_refused(repository: Repository) -> None:
    with pytest.raises(AnswerIsNo, match=r"found status 400 from .*MANIFEST_BLOB_UNKNOWN"):
        make_client().put_manifest(repository.tagged("broken"), make_image(seed="never uploaded").manifest, DOCKER_MANIFEST)


def test_a_manifest_may_be_put_by_digest(repository: Repository) -> None:
    client, image = make_client(), make_image(seed="by digest")
    by_digest = Reference(repository, None, image.digest)
    assert push_image(client, by_digest, image) == image.digest
    found = client.find_descriptor(by_digest)
    assert found is not None
    assert found.digest == image.digest
