"""``:local`` as stages storage, over the fake engine and over a real one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from ci_plugin.demo.rig import busybox_rootfs
from ci_plugin.engine.docker_engine import DockerEngine
from ci_plugin.engine.local_storage import LocalStagesStorage
from ci_plugin.errors import AnswerIsNo, Gone, InputError
from ci_plugin.ports import Engine, EngineImage, ImageChange, StagesStorage, StoredStage
from ci_plugin.values.digest import ImageId
from ci_plugin.values.kept_document import LARGEST_KEPT
from ci_plugin.values.manifest import ImageConfig
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import parse_reference
from tests.fakes.engine import FakeEngine
from tests.fakes.registry_client import no_credentials

SIGNATURE, KEY = "a" * 64, "c" * 64
DOCUMENT = b'{"version": 1, "files": []}' * 1000


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.engine)])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "fake":
        yield FakeEngine()
        return
    real = DockerEngine(request.getfixturevalue("docker_host"), credentials=no_credentials, environ={})
    yield real
    real.close()


@pytest.fixture
def project() -> str:
    return f"contract-{secrets.token_hex(4)}"


@pytest.fixture
def storage(engine: Engine, project: str) -> StagesStorage:
    return LocalStagesStorage(project, engine)


@pytest.fixture
def stage(engine: Engine, tmp_path: Path) -> EngineImage:
    (tmp_path / "rootfs.tar").write_bytes(busybox_rootfs("local"))
    base = engine.import_rootfs(tmp_path / "rootfs.tar", Platform("linux", "amd64"), {})
    return engine.derive(base.id, ImageChange(labels={"stage": "one"}), ["echo hi"])


def test_local_has_no_repository(storage: StagesStorage) -> None:
    assert storage.repository is None


def test_a_signature_nobody_built_is_absent(storage: StagesStorage) -> None:
    assert not storage.has(SIGNATURE)
    assert storage.find(SIGNATURE) is None


def test_a_candidate_is_not_the_stage_until_it_is_set(storage: StagesStorage, stage: EngineImage) -> None:
    candidate = storage.publish_unique(SIGNATURE, stage.id)
    assert not storage.has(SIGNATURE)
    storage.set_if_absent(SIGNATURE, candidate)
    assert storage.has(SIGNATURE)
    assert storage.find(SIGNATURE) == candidate


def test_a_stored_stage_has_no_manifest_and_the_engines_config(storage: StagesStorage, stage: EngineImage) -> None:
    config = ImageConfig(stage.platform, stage.diff_ids, {"stage": "one"})
    assert storage.publish_unique(SIGNATURE, stage.id) == StoredStage(stage.id, None, config)


def test_the_first_candidate_stays(storage: StagesStorage, stage: EngineImage, engine: Engine) -> None:
    other = engine.derive(stage.id, ImageChange(labels={"stage": "two"}))
    first, second = storage.publish_unique(SIGNATURE, stage.id), storage.publish_unique(SIGNATURE, other.id)
    storage.set_if_absent(SIGNATURE, first)
    storage.set_if_absent(SIGNATURE, second)
    found = storage.find(SIGNATURE)
    assert found is not None
    assert found.image_id == stage.id


def test_a_stage_is_where_it_is_needed(storage: StagesStorage, stage: EngineImage) -> None:
    assert storage.bring(storage.publish_unique(SIGNATURE, stage.id)) == stage.id


def test_a_stage_somebody_removed_is_gone(storage: StagesStorage, stage: EngineImage) -> None:
    stored = storage.publish_unique(SIGNATURE, stage.id)
    lost = StoredStage(ImageId.of(b"removed"), None, stored.config)
    with pytest.raises(Gone, match="expected the engine to have the stage") as caught:
        storage.bring(lost)
    assert "build again" in caught.value.hint


def test_a_stage_that_was_lost_is_replaced(storage: StagesStorage, stage: EngineImage, engine: Engine) -> None:
    other = engine.derive(stage.id, ImageChange(labels={"stage": "two"}))
    storage.set_if_absent(SIGNATURE, storage.publish_unique(SIGNATURE, stage.id))
    storage.replace(SIGNATURE, storage.publish_unique(SIGNATURE, other.id))
    found = storage.find(SIGNATURE)
    assert found is not None
    assert found.image_id == other.id


def test_a_relabelled_stage_has_the_same_layers_and_its_other_labels(storage: StagesStorage, stage: EngineImage) -> None:
    stored = storage.publish_unique(SIGNATURE, stage.id)
    relabelled = storage.relabel("b" * 64, stored, {"also": "this"})
    assert relabelled.config == ImageConfig(stage.platform, stage.diff_ids, {"stage": "one", "also": "this"})
    assert not storage.has("b" * 64)


def test_a_stage_is_found_by_its_reuse_key_and_the_first_has_it(storage: StagesStorage, stage: EngineImage, engine: Engine) -> None:
    other = engine.derive(stage.id, ImageChange(labels={"stage": "two"}))
    assert storage.find_reuse(KEY) is None
    for image in (stage, other):
        storage.name_reuse(KEY, storage.publish_unique(SIGNATURE, image.id))
    found = storage.find_reuse(KEY)
    assert found is not None
    assert found.image_id == stage.id


def test_an_engines_store_has_no_index(storage: StagesStorage, stage: EngineImage) -> None:
    stored = storage.publish_unique(SIGNATURE, stage.id)
    assert storage.publish_index(SIGNATURE, {stage.platform: stored}) is None
    assert storage.find_index(SIGNATURE) is None


def test_a_document_is_kept_once_and_found_by_what_it_holds(storage: StagesStorage) -> None:
    assert storage.find_document(sha256(DOCUMENT).hexdigest()) is None
    name = storage.put_document(DOCUMENT)
    assert storage.put_document(DOCUMENT) == name == sha256(DOCUMENT).hexdigest()
    assert storage.find_document(name) == DOCUMENT


def test_another_document_under_the_name_is_refused(storage: StagesStorage, engine: Engine, project: str) -> None:
    name, other = storage.put_document(DOCUMENT), storage.put_document(b"other")
    repository = f"stagepin.local/{project}"
    image = engine.find_image(f"{repository}:listing-{other}")
    assert image is not None
    engine.tag(image.id, parse_reference(f"{repository}:listing-{name}"))
    with pytest.raises(AnswerIsNo, match=f"expected the document {name} at {repository}:listing-{name}, found other bytes") as caught:
        storage.find_document(name)
    assert caught.value.hint == "somebody overwrote the tag; delete it, then build again"


def test_a_document_nobody_could_read_again_is_not_kept(storage: StagesStorage) -> None:
    with pytest.raises(InputError, match=f"expected a listing of an image's files of at most {LARGEST_KEPT} bytes"):
        storage.put_document(b"0" * (LARGEST_KEPT + 1))


def test_two_projects_do_not_see_each_others_stages(engine: Engine, storage: StagesStorage, stage: EngineImage) -> None:
    storage.set_if_absent(SIGNATURE, storage.publish_unique(SIGNATURE, stage.id))
    assert not LocalStagesStorage("somebody/else", engine).has(SIGNATURE)
