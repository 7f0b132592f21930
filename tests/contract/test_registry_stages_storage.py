"""The port StagesStorage over registries, fake and real, with the engine in memory; then what only a registry does."""

from __future__ import annotations

import re
from functools import partial

import pytest

from ci_plugin.errors import AnswerIsNo, Bug, Gone, InputError, Unavailable
from ci_plugin.ports import ImageChange, StagesStorage, StoredStage
from ci_plugin.registry.stages_storage import RegistryStagesStorage
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.manifest import OCI_INDEX
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Reference, Repository
from tests.fakes.engine import FakeEngine
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_client import make_client

SIGNATURE = "5f" * 32


def make_storage(repository: Repository, engine: FakeEngine | None = None) -> StagesStorage:
    return RegistryStagesStorage(repository, make_client(), engine)


def make_engine() -> FakeEngine:
    return FakeEngine(make_client())


def make_image(engine: FakeEngine, text: str = "stage") -> ImageId:
    base = engine.import_rootfs(None, DEFAULT_PLATFORM, {})
    return engine.derive(base.id, ImageChange(labels={"text": text})).id


def publish(repository: Repository, text: str = "stage") -> StoredStage:
    engine = make_engine()
    return make_storage(repository, engine).publish_unique(SIGNATURE, make_image(engine, text))


def test_what_nobody_published_is_absent(repository: Repository) -> None:
    storage = make_storage(repository)
    assert storage.repository == repository
    assert not storage.has(SIGNATURE)
    assert storage.find(SIGNATURE) is None


def test_a_published_stage_has_no_name_yet(repository: Repository) -> None:
    storage, stage = make_storage(repository), publish(repository)
    assert stage.descriptor is not None
    assert not storage.has(SIGNATURE)


def test_a_named_stage_is_found_with_its_labels_and_layers(repository: Repository) -> None:
    engine = make_engine()
    storage, image = make_storage(repository, engine), make_image(engine)
    stage = storage.publish_unique(SIGNATURE, image)
    storage.set_if_absent(SIGNATURE, stage)
    assert storage.has(SIGNATURE)
    found = make_storage(repository).find(SIGNATURE)
    assert found == stage
    known = engine.find_image(str(image))
    assert known is not None
    assert (found.image_id, found.config.labels, found.config.diff_ids) == (image, {"text": "stage"}, known.diff_ids)


def test_the_first_name_stays_and_the_other_stage_stays_too(repository: Repository) -> None:
    storage, first, second = make_storage(repository), publish(repository, "first"), publish(repository, "second")
    storage.set_if_absent(SIGNATURE, first)
    storage.set_if_absent(SIGNATURE, second)
    assert storage.find(SIGNATURE) == first
    assert second.descriptor is not None
    assert make_client().find_descriptor(repository.at(second.descriptor.digest)) == second.descriptor


def test_two_signatures_may_name_one_stage(repository: Repository) -> None:
    storage, stage = make_storage(repository), publish(repository)
    storage.set_if_absent(SIGNATURE, stage)
    storage.set_if_absent("6a" * 32, stage)
    assert storage.find("6a" * 32) == storage.find(SIGNATURE) == stage


def test_a_stage_is_brought_to_another_machine(repository: Repository) -> None:
    stage, elsewhere = publish(repository), make_engine()
    assert make_storage(repository, elsewhere).bring(stage) == stage.image_id
    assert elsewhere.find_image(str(stage.image_id)) is not None


def test_publishing_leaves_no_name_in_the_engine_and_one_of_ours_in_the_registry() -> None:
    with FakeRegistry() as registry:
        engine, repository = make_engine(), Repository(registry.address, "app")
        stage = make_storage(repository, engine).publish_unique(SIGNATURE, make_image(engine))
        ((_, tag),) = registry.tags
        assert re.fullmatch(f"{SIGNATURE}-[0-9a-f]{{8}}", tag)
        assert engine.find_image(f"{repository}:{tag}") is None
        assert engine.find_image(str(stage.image_id)) is not None


def test_a_failed_push_leaves_no_name_in_the_engine() -> None:
    with FakeRegistry() as registry:
        engine, repository = make_engine(), Repository(registry.address, "app")
        engine.fail_push(Unavailable("expected the push to end, found a reset"))
        image = make_image(engine)
        with pytest.raises(Unavailable, match="found a reset"):
            make_storage(repository, engine).publish_unique(SIGNATURE, image)
        assert registry.tags == {}


def test_looking_costs_one_request_and_finding_two() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        make_storage(repository).set_if_absent(SIGNATURE, publish(repository))
        registry.requests.clear()
        storage = make_storage(repository)
        assert storage.has(SIGNATURE)
        assert [request.method for request in registry.requests] == ["HEAD"]
        assert storage.find(SIGNATURE)
        assert [request.path.split("/")[3] for request in registry.requests[1:]] == ["manifests", "blobs"]


def test_a_name_that_is_there_is_not_written_again() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        make_storage(repository).set_if_absent(SIGNATURE, stage)
        registry.requests.clear()
        make_storage(repository).set_if_absent(SIGNATURE, stage)
        assert registry.count("PUT") == 0


def test_what_the_registry_collected_meanwhile_is_pushed_again() -> None:
    with FakeRegistry() as registry:
        repository, engine = Repository(registry.address, "app"), make_engine()
        image = make_image(engine)
        # What the real engine says of MANIFEST_BLOB_UNKNOWN and of a layer that went during the push (measured).
        engine.fail_push(Gone("expected the engine to push app, found: manifest blob unknown: blob unknown to registry"))
        stage = make_storage(repository, engine).publish_unique(SIGNATURE, image)
        assert (stage.image_id, len(engine.pushed)) == (image, 1)
        engine.fail_push(Gone("expected the engine to push app, found: unknown blob"), times=3)
        with pytest.raises(Unavailable, match="found it lost 3 times: expected the engine to push app, found: unknown blob") as caught:
            make_storage(repository, engine).publish_unique(SIGNATURE, image)
        assert "garbage collection" in caught.value.hint


def test_a_manifest_that_is_gone_right_after_the_push_is_pushed_again() -> None:
    with FakeRegistry() as registry:
        repository, engine = Repository(registry.address, "app"), make_engine()
        registry.fail(method="GET", path="/manifests/", status=404, body=b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', times=2)
        make_storage(repository, engine).publish_unique(SIGNATURE, make_image(engine))
        assert len(engine.pushed) == 2
        registry.fail(method="GET", path="/manifests/", status=404, body=b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}', times=None)
        with pytest.raises(Unavailable, match="which the engine just pushed; found nothing"):
            make_storage(repository, engine).publish_unique(SIGNATURE, make_image(engine))


def test_an_image_the_engine_lost_is_not_pushed_again() -> None:
    with FakeRegistry() as registry:
        engine = make_engine()
        image = make_image(engine)
        engine.on_push = lambda: engine.remove(image)
        with pytest.raises(Gone, match="does not exist locally"):
            make_storage(Repository(registry.address, "app"), engine).publish_unique(SIGNATURE, image)


def test_with_immutable_tags_a_refused_write_means_somebody_was_first() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        first, second = publish(repository, "first"), publish(repository, "second")
        registry.immutable_tags = True
        assert first.descriptor is not None
        winner = first.descriptor.digest

        def name_first_before_the_second_is_written(request: object) -> None:
            if str(request) == f"PUT /v2/app/manifests/{SIGNATURE}":
                registry.move_tag("app", SIGNATURE, winner)

        registry.on_request = name_first_before_the_second_is_written
        make_storage(repository).set_if_absent(SIGNATURE, second)
        assert make_storage(repository).find(SIGNATURE) == first


def test_a_refused_write_that_nobody_made_unnecessary_is_an_error() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        registry.fail(method="PUT", status=403, times=None)
        with pytest.raises(InputError, match="found status 403"):
            make_storage(repository).set_if_absent(SIGNATURE, stage)


def test_a_stage_whose_config_is_lost_is_gone() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        make_storage(repository).set_if_absent(SIGNATURE, stage)
        del registry.blobs[str(stage.image_id)]
        with pytest.raises(Gone, match=f"expected blob {stage.image_id} in {repository}, found nothing"):
            make_storage(repository).find(SIGNATURE)


def test_an_index_under_the_name_is_no_stage() -> None:
    with FakeRegistry() as registry:
        child = registry.put_image("app", None)
        registry.put_index("app", SIGNATURE, {"linux/amd64": child})
        with pytest.raises(AnswerIsNo, match=r"expected a stage \(an image of one platform\) at .*, found an index"):
            make_storage(Repository(registry.address, "app")).find(SIGNATURE)


class _PushesAnother(FakeEngine):
    """An engine whose push ends up as somebody else's manifest."""

    other: Digest

    def tag(self, image: ImageId, reference: Reference) -> None:
        pass

    def push(self, reference: Reference) -> Digest:
        return self.other


def test_another_image_than_the_one_pushed_is_refused() -> None:
    with FakeRegistry() as registry:
        engine = _PushesAnother(make_client())
        engine.other = registry.put_image("app", None)
        image = make_image(engine)
        with pytest.raises(AnswerIsNo, match=f"expected the registry to hold the image {image} that was pushed, found image"):
            make_storage(Repository(registry.address, "app"), engine).publish_unique(SIGNATURE, image)


def test_an_index_of_one_image_and_its_attestation_is_unwrapped() -> None:
    # What an engine with the containerd store pushes; its ID is the digest of the index.
    with FakeRegistry() as registry:
        engine = _PushesAnother(make_client())
        child = registry.put_image("app", None, labels={"a": "b"})
        engine.other = registry.put_index("app", None, {"linux/amd64": child}, media_type=OCI_INDEX, attestation=True)
        stage = make_storage(Repository(registry.address, "app"), engine).publish_unique(SIGNATURE, ImageId(str(engine.other)))
        assert stage.descriptor is not None
        assert (stage.descriptor.digest, stage.config.labels) == (child, {"a": "b"})


def test_without_an_engine_it_says_what_is_missing() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        stage = publish(repository)
        storage = make_storage(repository)
        for ask in (partial(storage.bring, stage), partial(storage.publish_unique, SIGNATURE, stage.image_id)):
            with pytest.raises(InputError, match="expected a Docker engine to build, publish or fetch stages with, found none") as caught:
                ask()
            assert "DOCKER_HOST" in caught.value.hint


def test_a_stage_without_a_manifest_is_a_mistake_of_ours() -> None:
    with FakeRegistry() as registry:
        repository = Repository(registry.address, "app")
        local = StoredStage(publish(repository).image_id, None, publish(repository).config)
        with pytest.raises(Bug):
            make_storage(repository).set_if_absent(SIGNATURE, local)
        with pytest.raises(Bug):
            make_storage(repository).bring(local)
