"""Mirrors over HTTP: two servers, who of them is asked how often, and what each of them gets to see."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ci_plugin.errors import Gone
from ci_plugin.registry.mirrors import MirroredRegistry
from ci_plugin.values.credentials import Credentials
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, Descriptor
from ci_plugin.values.reference import Reference, Repository, parse_reference
from tests.fakes.canary import make_canary
from tests.fakes.clock import FakeClock
from tests.fakes.registry import FakeRegistry, make_image
from tests.fakes.registry_client import make_client
from tests.fakes.watch import watch
from tests.scenarios.pipeline import Project

SECRETS = {name: make_canary(name) for name in ("origin", "mirror")}


@pytest.fixture
def origin() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def mirror() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


def mirrored(origin: FakeRegistry, *mirrors: str) -> MirroredRegistry:
    return MirroredRegistry(make_client(), {origin.address: mirrors})


def store(registry: FakeRegistry, count: int, prefix: str = "") -> None:
    for number in range(count):
        registry.put_image(f"{prefix}base/image-{number}", "latest", seed=str(number))


def images(registry: FakeRegistry, count: int) -> list[Reference]:
    return [Repository(registry.address, f"base/image-{number}").tagged("latest") for number in range(count)]


def test_a_mirror_that_has_everything_is_asked_once_each_and_the_origin_never(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    store(mirror, 20, "cache/")
    references = images(origin, 20)
    found = mirrored(origin, f"{mirror.address}/cache").resolve(references)
    assert [getattr(found[one], "digest", None) for one in references] == [make_image(seed=str(number)).digest for number in range(20)]
    assert sorted(map(str, mirror.requests)) == sorted(f"HEAD /v2/cache/base/image-{number}/manifests/latest" for number in range(20))
    assert origin.requests == []


def test_what_the_mirror_lacks_is_asked_of_the_origin_alone(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    store(mirror, 3)
    store(origin, 5)
    references = images(origin, 6)
    found = mirrored(origin, mirror.address).resolve(references)
    assert [isinstance(found[one], Descriptor) for one in references] == [True] * 5 + [False]
    error = found[references[5]]
    assert isinstance(error, Gone)
    assert error.message == f"expected {references[5]} in its registry, found nothing: not found in the registry"
    assert (mirror.count("HEAD"), mirror.count("GET")) == (6, 3), "absence is confirmed with a GET"
    assert (origin.count("HEAD"), origin.count("GET")) == (3, 1)


def test_docker_hub_is_read_from_its_mirror_under_library(mirror: FakeRegistry) -> None:
    digest = mirror.put_image("library/alpine", "latest")
    alpine = parse_reference("alpine")
    registry = MirroredRegistry(make_client(), {"docker.io": (mirror.address,)})
    assert registry.resolve([alpine]) == {alpine: Descriptor(digest, DOCKER_MANIFEST, len(make_image().manifest))}
    manifest = registry.find_manifest(alpine.at(digest))
    assert manifest is not None
    assert registry.get_blob(alpine.repository, manifest.get_config(), 10_000) == make_image().blobs[0]
    assert list(map(str, mirror.requests)) == [
        "HEAD /v2/library/alpine/manifests/latest",
        f"GET /v2/library/alpine/manifests/{digest}",
        f"GET /v2/library/alpine/blobs/{manifest.get_config().digest}",
    ]


def test_other_bytes_from_a_mirror_are_not_taken(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    store(origin, 1)
    store(mirror, 1)
    mirror.fail(change=lambda body: body + b" ", times=None)
    digest, reference = make_image(seed="0").digest, images(origin, 1)[0]
    manifest = mirrored(origin, mirror.address).find_manifest(reference.at(digest))
    assert manifest is not None
    assert manifest.data == make_image(seed="0").manifest
    assert (len(mirror.requests), len(origin.requests)) == (1, 1)


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_whatever_a_mirror_says_the_origin_answers(origin: FakeRegistry, mirror: FakeRegistry, status: int) -> None:
    store(origin, 1)
    mirror.fail(status=status, times=None)
    reference = images(origin, 1)[0]
    registry = mirrored(origin, mirror.address)
    assert isinstance(registry.resolve([reference])[reference], Descriptor)
    assert registry.find_manifest(reference) is not None
    assert len(origin.requests) == 2


def test_a_mirror_that_is_down_costs_its_tries_once(origin: FakeRegistry) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    store(origin, 3)
    clock, references = FakeClock(), images(origin, 3)
    registry = MirroredRegistry(make_client(clock=clock), {origin.address: (address,)})
    assert all(isinstance(one, Descriptor) for one in registry.resolve(references).values())
    waited = len(clock.slept)
    assert all(registry.find_manifest(reference) for reference in references)
    assert (waited, len(clock.slept)) == (15, 15), "five waits for each of the three, and none later"
    assert (origin.count("HEAD"), origin.count("GET")) == (3, 3)


def test_each_server_sees_its_own_credentials_alone(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    store(origin, 2)
    store(mirror, 1)
    known = {origin.address: Credentials("o", SECRETS["origin"].text), mirror.address: Credentials("m", SECRETS["mirror"].text)}
    origin.require_token("o", SECRETS["origin"].text)
    mirror.require_basic("m", SECRETS["mirror"].text)
    registry = MirroredRegistry(make_client(known.get), {origin.address: (mirror.address,)})
    assert all(isinstance(one, Descriptor) for one in registry.resolve(images(origin, 2)).values())
    for server, secret in ((origin, SECRETS["mirror"]), (mirror, SECRETS["origin"])):
        seen = "\n".join(f"{request} {dict(request.headers)}" for request in server.requests)
        secret.assert_hidden(seen)
        with pytest.raises(AssertionError, match="shows"):
            next(one for one in SECRETS.values() if one is not secret).assert_hidden(seen)


def test_a_mirror_without_credentials_of_its_own_is_asked_anonymously(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    store(origin, 1)
    store(mirror, 1)
    mirror.require_basic("m", "right")
    known = {origin.address: Credentials("o", SECRETS["origin"].text)}
    origin.require_basic("o", SECRETS["origin"].text)
    reference = images(origin, 1)[0]
    registry = MirroredRegistry(make_client(known.get), {origin.address: (mirror.address,)})
    assert isinstance(registry.resolve([reference])[reference], Descriptor)
    assert [request.authorization for request in mirror.requests] == [""]


def test_a_push_goes_to_the_origin_alone(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    image, registry = make_image(), mirrored(origin, mirror.address)
    repository = Repository(origin.address, "app")
    assert [registry.put_blob(repository, blob) for blob in image.blobs] == [Digest.of(blob) for blob in image.blobs]
    assert registry.put_manifest(repository.tagged("one"), image.manifest, image.media_type) == image.digest
    assert mirror.requests == []


def test_pins_through_a_mirror_name_the_origin_which_is_never_asked(tmp_path: Path, origin: FakeRegistry, mirror: FakeRegistry) -> None:
    digest = mirror.put_image("cache/library/alpine", "3.20", seed="hub")
    project = Project(tmp_path, origin)
    project.write(".stagepin.yaml", f"registries:\n  mirrors:\n    docker.io: [{mirror.address}/cache]\n")
    project.commit(config="image: app\nfrom: alpine:3.20\nfromLatest: true\n")
    job = project.pipeline().job()
    with watch() as seen:
        job.must("pin")
    assert job.pinned("docker.io/library/alpine:3.20") == str(digest)
    assert seen.hosts <= {origin.address, mirror.address, "?127.0.0.1"}
    assert [str(request) for request in mirror.requests] == ["HEAD /v2/cache/library/alpine/manifests/3.20"]
    assert not [request for request in origin.requests if "alpine" in request.path]
