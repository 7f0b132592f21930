"""What a registry keeps beside its stages: other labels on the same layers, indexes, documents, reuse names; and what is written again."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial

import pytest

from ci_plugin.errors import AnswerIsNo, Bug, Gone, InputError, Unavailable
from ci_plugin.ports import ImageChange, StagesStorage, StoredStage
from ci_plugin.registry.documents import pack
from ci_plugin.registry.read_only import ReadOnlyStagesStorage
from ci_plugin.registry.stages_storage import RegistryStagesStorage
from ci_plugin.values.digest import Digest
from ci_plugin.values.image_listing import ImageListing, MappedFile, parse_image_listing
from ci_plugin.values.kept_document import LARGEST_KEPT
from ci_plugin.values.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from ci_plugin.values.reference import Repository
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import FakeRegistry, make_image
from tests.fakes.registry_client import make_client, push_image

SIGNATURE, OTHER, KEY = "5f" * 32, "6a" * 32, "7b" * 32
ARM = Platform("linux", "arm64")
LISTING = ImageListing.of(MappedFile(f"/app/file-{number}", "100644", "ab" * 20) for number in range(50))


def make_storage(repository: Repository) -> StagesStorage:
    """A storage that has an engine for nothing: whatever asks one fails."""
    return RegistryStagesStorage(repository, make_client(), None)


def publish(repository: Repository, text: str = "stage") -> StoredStage:
    """Push a stage of two layers, under a name of its own."""
    engine = FakeEngine(make_client())
    base = engine.import_rootfs(None, DEFAULT_PLATFORM, {})
    image = engine.derive(base.id, ImageChange(labels={"text": text, "theirs": "kept"}, cmd=("serve",)))
    return RegistryStagesStorage(repository, make_client(), engine).publish_unique(SIGNATURE, image.id)


def push(repository: Repository, *, platform: str, media_type: str = DOCKER_MANIFEST) -> StoredStage:
    """A stage of any platform, as an engine of that platform would have pushed it."""
    image = make_image(platform=platform, media_type=media_type)
    push_image(make_client(), repository.tagged(OTHER), image)
    found = make_storage(repository).find(OTHER)
    assert found is not None
    return found


def digest_of(stage: StoredStage) -> Digest:
    assert stage.descriptor is not None
    return stage.descriptor.digest


def test_a_stage_that_was_lost_is_replaced(repository: Repository) -> None:
    storage, lost, rebuilt = make_storage(repository), publish(repository, "lost"), publish(repository, "rebuilt")
    storage.set_if_absent(SIGNATURE, lost)
    storage.replace(SIGNATURE, rebuilt)
    assert storage.find(SIGNATURE) == rebuilt


def test_replacing_what_is_absent_names_it(repository: Repository) -> None:
    storage, stage = make_storage(repository), publish(repository)
    storage.replace(SIGNATURE, stage)
    assert storage.find(SIGNATURE) == stage


def test_a_tag_is_not_written_again_with_the_stage_it_has() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        storage, stage = make_storage(repository), publish(repository)
        storage.replace(SIGNATURE, stage)
        registry.requests.clear()
        storage.replace(SIGNATURE, stage)
        assert registry.count("PUT") == 0


def test_where_tags_are_immutable_a_lost_stage_says_which_tag_to_delete() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        storage, lost, rebuilt = make_storage(repository), publish(repository, "lost"), publish(repository, "rebuilt")
        storage.set_if_absent(SIGNATURE, lost)
        registry.immutable_tags = True
        with pytest.raises(AnswerIsNo, match=f"expected {repository}:{SIGNATURE} to take the stage that was built anew") as caught:
            storage.replace(SIGNATURE, rebuilt)
        assert "found that the tag may not be written again" in caught.value.message
        assert caught.value.hint == (
            f"the registry lost layers of what has the tag ({digest_of(lost)}): delete the tag there, then build again"
        )


def test_a_first_name_that_is_refused_is_a_lack_of_rights() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        storage, stage = make_storage(repository), publish(repository)
        registry.fail(method="PUT", status=403, times=None)
        with pytest.raises(InputError, match="found status 403"):
            storage.replace(SIGNATURE, stage)


def test_relabelling_keeps_layers_config_and_other_labels(repository: Repository) -> None:
    storage, stage = make_storage(repository), publish(repository)
    relabelled = storage.relabel(OTHER, stage, {"text": "other"})
    assert relabelled.config.labels == {"text": "other", "theirs": "kept"}
    assert relabelled.config.diff_ids == stage.config.diff_ids
    assert not storage.has(OTHER)
    storage.set_if_absent(OTHER, relabelled)
    assert make_storage(repository).find(OTHER) == relabelled
    before, after = (make_client().find_manifest(repository.at(digest_of(one))) for one in (stage, relabelled))
    assert before is not None
    assert after is not None
    assert (before.layers, before.descriptor.media_type) == (after.layers, after.descriptor.media_type)
    configs = [json.loads(make_client().get_blob(repository, one.get_config(), 1 << 20)) for one in (before, after)]
    assert configs[0]["config"].pop("Labels") != configs[1]["config"].pop("Labels")
    assert configs[0] == configs[1]


def test_relabelling_moves_no_layer() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        manifest = make_client().find_manifest(repository.at(digest_of(stage)))
        assert manifest is not None
        registry.requests.clear()
        make_storage(repository).relabel(OTHER, stage, {"text": "other"})
        asked = " ".join(request.path for request in registry.requests)
        assert manifest.layers
        assert not any(str(layer.digest) in asked for layer in manifest.layers)


def test_what_lost_its_layers_cannot_be_relabelled(repository: Repository) -> None:
    # The registry finds out, because it looks for every blob of a manifest it takes.
    elsewhere = Repository(repository.registry, f"{repository.path}-elsewhere")
    stage = publish(elsewhere)
    manifest = make_client().find_manifest(elsewhere.at(digest_of(stage)))
    assert manifest is not None
    with pytest.raises(Gone, match=f"expected {repository}@{digest_of(stage)}, which is stored; found nothing"):
        make_storage(repository).relabel(OTHER, stage, {})


def test_a_lost_layer_is_gone_and_not_a_refusal() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        manifest = make_client().find_manifest(repository.at(digest_of(stage)))
        assert manifest is not None
        registry.collect_blob(manifest.layers[0].digest)
        with pytest.raises(Gone, match=f"expected {repository} to have the layers of {digest_of(stage)}, found some lost"):
            make_storage(repository).relabel(OTHER, stage, {"text": "other"})


def test_a_refusal_of_a_relabelled_stage_stays_a_refusal() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        registry.fail(method="PUT", path="/manifests/", status=400, times=None)
        with pytest.raises(AnswerIsNo, match="found status 400") as caught:
            make_storage(repository).relabel(OTHER, stage, {"text": "other"})
        assert not isinstance(caught.value, Gone)


def test_an_index_serves_every_platform(repository: Repository) -> None:
    storage = make_storage(repository)
    images = {platform: push(repository, platform=str(platform)) for platform in (ARM, DEFAULT_PLATFORM)}
    published = storage.publish_index(SIGNATURE, images)
    found = storage.find_index(SIGNATURE)
    assert found is not None
    assert published == found.descriptor
    assert found.descriptor.media_type == DOCKER_INDEX
    assert {platform: entry.digest for platform, entry in found.entries} == {p: digest_of(stage) for p, stage in images.items()}


def test_an_index_of_oci_manifests_and_dockers_is_an_oci_index(repository: Repository) -> None:
    images = {
        ARM: push(repository, platform="linux/arm/v7", media_type=OCI_MANIFEST),
        DEFAULT_PLATFORM: push(repository, platform="linux/amd64"),
    }
    published = make_storage(repository).publish_index(SIGNATURE, images)
    assert published is not None
    assert published.media_type == OCI_INDEX
    found = make_storage(repository).find_index(SIGNATURE)
    assert found is not None
    assert len([platform for platform, _ in found.entries if platform]) == 2


def test_the_same_images_give_the_same_index_whoever_publishes_it(repository: Repository) -> None:
    images = {platform: push(repository, platform=str(platform)) for platform in (ARM, DEFAULT_PLATFORM)}
    published = [make_storage(repository).publish_index(SIGNATURE, dict(items)) for items in (images.items(), reversed(images.items()))]
    assert published[0] == published[1]


def test_an_index_of_the_same_images_stays_and_one_of_others_is_replaced(repository: Repository) -> None:
    images = {ARM: push(repository, platform=str(ARM))}
    first = make_storage(repository).publish_index(SIGNATURE, images)
    assert make_storage(repository).publish_index(SIGNATURE, images) == first
    second = make_storage(repository).publish_index(SIGNATURE, {DEFAULT_PLATFORM: push(repository, platform="linux/amd64")})
    assert second != first
    found = make_storage(repository).find_index(SIGNATURE)
    assert found is not None
    assert found.descriptor == second


def test_an_index_nobody_published_is_absent(repository: Repository) -> None:
    assert make_storage(repository).find_index(SIGNATURE) is None


def test_an_image_under_the_name_is_no_index(repository: Repository) -> None:
    storage, stage = make_storage(repository), publish(repository)
    storage.set_if_absent(SIGNATURE, stage)
    with pytest.raises(AnswerIsNo, match=f"expected an index at {repository}:{SIGNATURE}, found an image of one platform") as caught:
        storage.publish_index(SIGNATURE, {DEFAULT_PLATFORM: stage})
    assert "somebody overwrote the tag" in caught.value.hint


def test_an_index_that_goes_at_once_may_be_tried_again() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        image = push(repository, platform="linux/amd64")
        absent = b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
        for method in ("GET", "HEAD"):
            registry.fail(method=method, path=f"/manifests/{SIGNATURE}", status=404, body=absent, times=None)
        with pytest.raises(Unavailable, match=f"expected the index {repository}:{SIGNATURE} after publishing it, found nothing"):
            make_storage(repository).publish_index(SIGNATURE, {DEFAULT_PLATFORM: image})


def test_a_document_is_kept_and_found_by_what_it_holds(repository: Repository) -> None:
    storage = make_storage(repository)
    name = storage.put_document(LISTING.to_document())
    data = make_storage(repository).find_document(name)
    assert data is not None
    assert parse_image_listing(data) == LISTING
    assert storage.find_document("0" * 64) is None


def test_a_kept_document_has_a_tag_of_ours_and_is_small(repository: Repository) -> None:
    name = make_storage(repository).put_document(LISTING.to_document())
    manifest = make_client().find_manifest(repository.tagged(f"listing-{name}"))
    assert manifest is not None
    assert manifest.layers[0].size < len(LISTING.to_document()) / 5


def test_keeping_a_document_again_writes_nothing() -> None:
    with FakeRegistry() as registry:
        storage = make_storage(Repository(registry.address, "app"))
        storage.put_document(LISTING.to_document())
        registry.requests.clear()
        storage.put_document(LISTING.to_document())
        assert [request.method for request in registry.requests] == ["HEAD", "HEAD"]


def test_a_document_whose_bytes_got_lost_is_absent_until_it_is_kept_again() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        storage = make_storage(repository)
        name = storage.put_document(LISTING.to_document())
        registry.collect_blob(Digest.of(pack(LISTING.to_document())))
        assert storage.find_document(name) is None
        assert storage.put_document(LISTING.to_document()) == name
        assert storage.find_document(name) == LISTING.to_document()


def test_what_was_collected_between_upload_and_manifest_is_uploaded_again() -> None:
    with FakeRegistry() as registry:
        storage = make_storage(Repository(registry.address, "app"))

        def collect(request: object) -> None:
            if str(request).startswith("PUT /v2/app/manifests/"):
                registry.on_request = None
                registry.collect_blob(Digest.of(pack(LISTING.to_document())))

        registry.on_request = collect
        assert storage.find_document(storage.put_document(LISTING.to_document())) == LISTING.to_document()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda data: gzip.compress(b"{}", mtime=0), "found other bytes"),
        (lambda data: b"no gzip", "found bytes that are no gzip"),
        (lambda data: gzip.compress(b"0" * (LARGEST_KEPT + 1), mtime=0), "found other bytes"),
    ],
    ids=["another", "not packed", "a bomb"],
)
def test_another_document_under_the_name_is_refused(change: Callable[[bytes], bytes], found: str) -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        name = make_storage(repository).put_document(LISTING.to_document())
        media_type, data = registry.manifests["app", registry.tags["app", f"listing-{name}"]]
        document, blob = json.loads(data), change(b"")
        make_client().put_blob(repository, blob)
        document["layers"][0] |= {"digest": str(Digest.of(blob)), "size": len(blob)}
        registry.put_manifest("app", f"listing-{name}", json.dumps(document).encode(), media_type)
        with pytest.raises(AnswerIsNo, match=f"expected the document {name} at {repository}:listing-{name}, {found}") as caught:
            make_storage(repository).find_document(name)
        assert caught.value.hint == "somebody overwrote the tag; delete it, then build again"


def test_an_image_under_a_documents_name_is_refused() -> None:
    with FakeRegistry() as registry:
        registry.put_image("app", f"listing-{KEY}")
        with pytest.raises(AnswerIsNo, match="found a manifest with 0 of them"):
            make_storage(Repository(registry.address, "app")).find_document(KEY)


def test_a_document_nobody_could_read_again_is_not_kept(repository: Repository) -> None:
    with pytest.raises(InputError, match=f"expected a listing of an image's files of at most {LARGEST_KEPT} bytes") as caught:
        make_storage(repository).put_document(b"0" * (LARGEST_KEPT + 1))
    assert "excludePaths" in caught.value.hint


def test_a_stage_is_found_by_its_reuse_key_and_the_first_has_it(repository: Repository) -> None:
    storage, first, second = make_storage(repository), publish(repository, "first"), publish(repository, "second")
    assert storage.find_reuse(KEY) is None
    storage.name_reuse(KEY, first)
    storage.name_reuse(KEY, second)
    assert make_storage(repository).find_reuse(KEY) == first
    assert not storage.has(SIGNATURE)


def test_a_reuse_key_whose_stage_lost_its_config_finds_nothing() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        make_storage(repository).name_reuse(KEY, stage)
        registry.collect_blob(Digest(str(stage.image_id)))
        assert make_storage(repository).find_reuse(KEY) is None


def test_reading_a_stage_again_costs_one_request() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        storage = make_storage(repository)
        storage.set_if_absent(SIGNATURE, publish(repository))
        assert storage.find(SIGNATURE)
        registry.requests.clear()
        assert storage.find(SIGNATURE)
        assert len(registry.requests) == 1


def test_a_stage_without_a_manifest_is_a_mistake_of_ours() -> None:
    with FakeRegistry() as registry:
        storage = make_storage(Repository(registry.address, "app"))
        published = publish(Repository(registry.address, "app"))
        local = StoredStage(published.image_id, None, published.config)
        for ask in (partial(storage.replace, SIGNATURE, local), partial(storage.relabel, SIGNATURE, local, {})):
            with pytest.raises(Bug):
                ask()


def test_a_fork_reads_everything_and_writes_nothing() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        ours, stage = make_storage(repository), publish(repository)
        ours.name_reuse(KEY, stage)
        ours.publish_index(OTHER, {DEFAULT_PLATFORM: stage})
        name = ours.put_document(b"kept")
        storage = ReadOnlyStagesStorage(ours, "group/fork")
        assert (storage.find_reuse(KEY), storage.find_document(name)) == (stage, b"kept")
        assert storage.find_index(OTHER) == ours.find_index(OTHER)
        before = dict(registry.tags)
        for write in (
            partial(storage.replace, SIGNATURE, stage),
            partial(storage.relabel, SIGNATURE, stage, {}),
            partial(storage.publish_index, SIGNATURE, {}),
            partial(storage.put_document, b"new"),
            partial(storage.name_reuse, OTHER, stage),
        ):
            with pytest.raises(InputError, match="this job runs the code of the fork group/fork"):
                write()
        assert registry.tags == before
