"""Copies of pinned bases: what is copied, under which tags, at which cost, and what is said where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ci_plugin.errors import AnswerIsNo, Gone, Unavailable
from ci_plugin.pins.pin_set import Pin, PinSet
from ci_plugin.services.keeping import keep_bases, keep_tag, places_of
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, OCI_INDEX
from ci_plugin.values.pipeline import PipelineId, Scope
from ci_plugin.values.reference import Reference, Repository, parse_reference
from tests.fakes.registry import FakeRegistry, make_image
from tests.fakes.registry_client import make_client

KEPT = "group/app/bases"
TIME = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        yield running


@pytest.fixture
def upstream() -> Iterator[FakeRegistry]:
    """Somebody else's registry."""
    with FakeRegistry() as running:
        yield running


def pins_of(registry: FakeRegistry, **digests: Digest | None) -> PinSet:
    """Pins of ``registry/base/NAME:latest``."""
    pins = tuple(
        Pin(Repository(registry.address, f"base/{name}").tagged("latest"), digest, OCI_INDEX, 1, {}, True, TIME, (), "" if digest else "no")
        for name, digest in digests.items()
    )
    pipeline = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")
    return PinSet("stagepin/test", Scope("pipeline:1001"), pipeline, "a" * 40, TIME, ("app",), pins)


def put_index(registry: FakeRegistry, repository: str = "base/debian") -> dict[str, Digest]:
    """An index of two platforms with its attestations, as Docker Hub's are; ``index`` and the children by platform."""
    children = {platform: registry.put_image(repository, platform=platform, seed=platform) for platform in ("linux/amd64", "linux/arm64")}
    return {**children, "index": registry.put_index(repository, "latest", children, attestation=True)}


def keep(pins: PinSet, target: FakeRegistry) -> tuple[Reference, ...]:
    return keep_bases(pins, Repository(target.address, KEPT), make_client())


def test_an_index_is_kept_with_all_its_children_each_under_a_tag_of_its_own(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digests = put_index(upstream)
    kept = keep(pins_of(upstream, debian=digests["index"]), server)
    assert kept == (Repository(server.address, KEPT).at(digests["index"]),)
    assert server.tags == {(KEPT, f"stagepin-keep-{digest.hex[:12]}"): str(digest) for digest in digests.values()}
    assert {key: server.manifests[key] for key in server.manifests} == {
        (KEPT, str(digest)): upstream.manifests["base/debian", str(digest)] for digest in digests.values()
    }
    assert server.blobs == upstream.blobs


def test_a_keep_tag_that_points_elsewhere_is_no_copy(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digest = upstream.put_image("base/alpine", "latest")
    server.put_image(KEPT, keep_tag(digest), seed="something else")
    assert server.tags[KEPT, keep_tag(digest)] != str(digest)
    keep(pins_of(upstream, alpine=digest), server)
    assert server.tags[KEPT, keep_tag(digest)] == str(digest)
    assert (KEPT, str(digest)) in server.manifests


def test_a_single_manifest_is_kept(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digest = upstream.put_image("base/alpine", "latest")
    keep(pins_of(upstream, alpine=digest), server)
    assert server.tags == {(KEPT, keep_tag(digest)): str(digest)}


def test_nothing_is_copied_from_the_tag(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digest = upstream.put_image("base/alpine", "latest", seed="pinned")
    upstream.put_image("base/alpine", "latest", seed="moved")
    keep(pins_of(upstream, alpine=digest), server)
    assert server.tags == {(KEPT, keep_tag(digest)): str(digest)}
    assert upstream.count(path="/manifests/latest") == 0


def test_what_is_there_costs_one_head(upstream: FakeRegistry, server: FakeRegistry) -> None:
    pins = pins_of(upstream, debian=put_index(upstream)["index"], alpine=upstream.put_image("base/alpine", "latest"))
    first = keep(pins, server)
    upstream.requests.clear()
    server.requests.clear()
    assert keep(pins, server) == first
    assert [request.method for request in server.requests] == ["HEAD", "HEAD"]
    assert upstream.requests == []


def test_within_a_registry_no_byte_of_a_layer_is_moved(server: FakeRegistry) -> None:
    keep(pins_of(server, debian=put_index(server)["index"]), server)
    assert (server.count("GET", "/blobs/"), server.count("PATCH")) == (0, 0)
    assert server.count("POST", "mount=") == 4


def test_parts_that_two_bases_share_are_copied_once(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digests = put_index(upstream)
    other = put_index(upstream, "base/other")
    assert other == digests
    keep(pins_of(upstream, debian=digests["index"], other=other["index"], child=None), server)
    assert server.count("PUT", "/manifests/") == 3
    assert server.count("PATCH") == 4


def test_a_child_that_is_pinned_itself_is_there_before_its_index(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digests = put_index(upstream)
    upstream.manifests["base/child", str(digests["linux/arm64"])] = upstream.manifests["base/debian", str(digests["linux/arm64"])]
    pins = pins_of(upstream, child=digests["linux/arm64"], debian=digests["index"])
    kept = keep(pins, server)
    assert [reference.digest for reference in kept] == [digests["linux/arm64"], digests["index"]]
    assert server.count("PUT", "/manifests/") == 3


def test_an_index_in_an_index_is_kept_from_the_inside_out(upstream: FakeRegistry, server: FakeRegistry) -> None:
    inner = put_index(upstream)["index"]
    outer = upstream.put_index("base/debian", "outer", {"linux/amd64": inner})
    keep(pins_of(upstream, debian=outer), server)
    assert (KEPT, keep_tag(outer)) in server.tags
    assert (KEPT, keep_tag(inner)) in server.tags
    deepest = outer
    for _ in range(4):
        deepest = upstream.put_index("base/debian", None, {"linux/amd64": deepest})
    with pytest.raises(AnswerIsNo, match="expected an image in at most 4 indexes, found more"):
        keep_bases(pins_of(upstream, debian=deepest), Repository(server.address, "elsewhere"), make_client())


def test_layers_that_no_registry_serves_are_left_where_they_are(upstream: FakeRegistry, server: FakeRegistry) -> None:
    manifest, elsewhere = json.loads(make_image().manifest), Digest.of(b"far away")
    foreign = {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": str(elsewhere), "size": 8}
    manifest["layers"].insert(0, {**foreign, "urls": ["https://example.com/layer"]})
    upstream.put_image("base/windows", "latest")
    digest = upstream.put_manifest("base/windows", "latest", json.dumps(manifest).encode(), DOCKER_MANIFEST)
    keep(pins_of(upstream, windows=digest), server)
    assert upstream.count(path=str(elsewhere)) == 0
    assert server.tags == {(KEPT, keep_tag(digest)): str(digest)}


def test_an_interrupted_copy_goes_on_where_it_stopped(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digests = put_index(upstream)
    pins = pins_of(upstream, debian=digests["index"])
    fault = server.fail(method="PUT", path=f"/manifests/{keep_tag(digests['index'])}", status=503, times=None)
    with pytest.raises(Unavailable) as caught:
        keep(pins, server)
    assert caught.value.message.startswith(f"keep {pins.pins[0].reference.at(digests['index'])} in {server.address}/{KEPT}: ")
    assert (KEPT, keep_tag(digests["index"])) not in server.tags
    fault.times = 0
    upstream.requests.clear()
    keep(pins, server)
    # The children have their tags, so they are whole: only the index was read again.
    assert [request.path for request in upstream.requests] == [f"/v2/base/debian/manifests/{digests['index']}"]
    assert (KEPT, keep_tag(digests["index"])) in server.tags


def test_a_blob_that_is_collected_before_its_manifest_is_copied_again(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digest = upstream.put_image("base/alpine", "latest")

    def collect(request: object) -> None:
        if str(request).startswith("PUT") and "/manifests/" in str(request):
            server.on_request = None
            for blob in list(server.blobs):
                server.collect_blob(Digest(blob))

    server.on_request = collect
    keep(pins_of(upstream, alpine=digest), server)
    assert server.blobs == upstream.blobs


def test_a_base_that_is_gone_already_is_named_with_what_to_do(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digest = upstream.put_image("base/alpine", "latest")
    upstream.delete("base/alpine", digest)
    pins = pins_of(upstream, alpine=digest)
    with pytest.raises(Gone) as caught:
        keep(pins, server)
    assert caught.value.message == (
        f"expected {upstream.address}/base/alpine@{digest} in its registry, to keep a copy of it, found nothing"
    )
    assert "run a new pipeline" in caught.value.hint


def test_a_lost_child_is_named_with_its_platform(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digests = put_index(upstream)
    upstream.delete("base/debian", digests["linux/arm64"])
    with pytest.raises(Gone) as caught:
        keep(pins_of(upstream, debian=digests["index"]), server)
    assert caught.value.message == (
        f"expected manifest {digests['linux/arm64']} (linux/arm64) of the index {upstream.address}/base/debian@{digests['index']} "
        "in its registry, to keep a copy of it, found nothing"
    )
    assert server.tags == {}


def test_a_lost_blob_is_said_of_its_base(upstream: FakeRegistry, server: FakeRegistry) -> None:
    digest = upstream.put_image("base/alpine", "latest")
    lost = Digest.of(make_image().blobs[1])
    upstream.collect_blob(lost)
    with pytest.raises(Gone) as caught:
        keep(pins_of(upstream, alpine=digest), server)
    assert caught.value.message == (
        f"keep {upstream.address}/base/alpine@{digest} in {server.address}/{KEPT}: "
        f"expected blob {lost} in {upstream.address}/base/alpine, found nothing"
    )
    assert server.tags == {}


def test_no_pins_need_no_request(server: FakeRegistry) -> None:
    assert keep(pins_of(server, unresolved=None), server) == ()
    assert server.requests == []


def test_places_are_asked_in_the_order_mirrors_origin_copy() -> None:
    digest = Digest.of(b"base")
    pinned = parse_reference("alpine").at(digest)
    mirror = Repository("mirror.example.com", "library/alpine").at(digest)
    keep_in = Repository("registry.example.com", "bases")
    assert places_of(pinned, [], None) == (pinned,)
    assert places_of(pinned, [mirror], keep_in) == (mirror, pinned, keep_in.at(digest))
    assert places_of(keep_in.at(digest), [], keep_in) == (keep_in.at(digest),)
