"""The stages storage in memory keeps what ``:local`` keeps, so that tests over it say something about the real ones."""

from __future__ import annotations

import pytest

from ci_plugin.ports import Engine, EngineImage, StagesStorage
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform
from tests.contract.test_local_stages_storage import (
    SIGNATURE,
    stage,
    test_a_candidate_is_not_the_stage_until_it_is_set,
    test_a_document_is_kept_once_and_found_by_what_it_holds,
    test_a_document_nobody_could_read_again_is_not_kept,
    test_a_relabelled_stage_has_the_same_layers_and_its_other_labels,
    test_a_signature_nobody_built_is_absent,
    test_a_stage_is_found_by_its_reuse_key_and_the_first_has_it,
    test_a_stage_is_where_it_is_needed,
    test_a_stage_somebody_removed_is_gone,
    test_a_stage_that_was_lost_is_replaced,
    test_a_stored_stage_has_no_manifest_and_the_engines_config,
    test_an_engines_store_has_no_index,
    test_local_has_no_repository,
    test_the_first_candidate_stays,
)
from tests.fakes.engine import FakeEngine
from tests.fakes.stages_storage import MemoryStagesStorage

__all__ = [
    "stage",
    "test_a_candidate_is_not_the_stage_until_it_is_set",
    "test_a_document_is_kept_once_and_found_by_what_it_holds",
    "test_a_document_nobody_could_read_again_is_not_kept",
    "test_a_relabelled_stage_has_the_same_layers_and_its_other_labels",
    "test_a_signature_nobody_built_is_absent",
    "test_a_stage_is_found_by_its_reuse_key_and_the_first_has_it",
    "test_a_stage_is_where_it_is_needed",
    "test_a_stage_somebody_removed_is_gone",
    "test_a_stage_that_was_lost_is_replaced",
    "test_a_stored_stage_has_no_manifest_and_the_engines_config",
    "test_an_engines_store_has_no_index",
    "test_local_has_no_repository",
    "test_the_first_candidate_stays",
]


@pytest.fixture
def engine() -> Engine:
    return FakeEngine()


@pytest.fixture
def storage(engine: Engine) -> StagesStorage:
    return MemoryStagesStorage(engine, None)


def test_with_a_repository_an_index_is_of_the_images_it_was_last_published_with(engine: Engine, stage: EngineImage) -> None:
    storage = MemoryStagesStorage(engine)
    stored = storage.publish_unique(SIGNATURE, stage.id)
    assert storage.find_index(SIGNATURE) is None
    for platforms in ((DEFAULT_PLATFORM,), (DEFAULT_PLATFORM, Platform("linux", "arm64"))):
        published = storage.publish_index(SIGNATURE, dict.fromkeys(platforms, stored))
        found = storage.find_index(SIGNATURE)
        assert found is not None
        assert found.descriptor == published
        assert tuple(platform for platform, _ in found.entries) == platforms
