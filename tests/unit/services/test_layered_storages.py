"""Storages over storages: what stays in the engine with ``--no-publish``, and what is taken from cache repositories."""

from __future__ import annotations

from ci_plugin.errors import AccessDenied, Unavailable
from ci_plugin.ports import ImageChange, StagesStorage, StoredStage
from ci_plugin.records.build_record import BaseRecord, BaseState, BuiltBy
from ci_plugin.records.stage_labels import StageLabels
from ci_plugin.services.cache_repos import CachedStagesStorage, Caches
from ci_plugin.services.unpublished import UnpublishedStagesStorage
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Repository
from tests.fakes.engine import FakeEngine
from tests.fakes.stages_storage import MemoryStagesStorage

SIGNATURE, KEY = "a" * 64, "c" * 64
CACHE = Repository("registry.example.com", "cache")
LABELS = StageLabels("from", SIGNATURE, (), BaseRecord(None, None, BaseState.SCRATCH, ()), BuiltBy("local", "0" * 40)).to_labels()


def make_image(engine: FakeEngine) -> ImageId:
    return engine.derive(engine.import_rootfs(None, DEFAULT_PLATFORM, {}).id, ImageChange(labels=LABELS)).id


def name(storage: StagesStorage, engine: FakeEngine) -> StoredStage:
    stage = storage.publish_unique(SIGNATURE, make_image(engine))
    storage.set_if_absent(SIGNATURE, stage)
    return stage


class TestUnpublished:
    def setup_method(self) -> None:
        self.engine = FakeEngine()
        self.shared, self.own = MemoryStagesStorage(self.engine), MemoryStagesStorage(self.engine, None)
        self.storage = UnpublishedStagesStorage(self.shared, self.own)

    def test_the_repositorys_stage_goes_before_the_engines(self) -> None:
        ours = name(self.own, self.engine)
        assert (self.storage.find(SIGNATURE), self.storage.has(SIGNATURE)) == (ours, True)
        theirs = name(self.shared, self.engine)
        assert self.storage.find(SIGNATURE) == theirs

    def test_a_stage_the_repository_lost_is_replaced_in_the_engine_and_found_there(self) -> None:
        name(self.shared, self.engine)
        rebuilt = self.storage.publish_unique(SIGNATURE, make_image(self.engine))
        self.storage.replace(SIGNATURE, rebuilt)
        assert self.storage.find(SIGNATURE) == rebuilt
        assert self.shared.replaced == []

    def test_a_stage_is_brought_from_where_it_is(self) -> None:
        for storage in (self.shared, self.own):
            stage = storage.publish_unique(SIGNATURE, make_image(self.engine))
            assert self.storage.bring(stage) == stage.image_id
            assert storage.brought == [stage.image_id]

    def test_a_stage_of_the_repository_is_relabelled_in_the_engine(self) -> None:
        theirs = name(self.shared, self.engine)
        before = dict(self.shared.names)
        relabelled = self.storage.relabel("b" * 64, theirs, {"also": "this"})
        assert relabelled.descriptor is None
        assert relabelled.config.labels == {**LABELS, "also": "this"}
        assert self.shared.names == before

    def test_documents_and_reuse_names_are_written_in_the_engine_and_read_from_both(self) -> None:
        theirs, ours = self.shared.put_document(b"theirs"), self.storage.put_document(b"ours")
        assert (self.storage.find_document(theirs), self.storage.find_document(ours)) == (b"theirs", b"ours")
        assert list(self.shared.documents) == [theirs]
        stage = self.storage.publish_unique(SIGNATURE, make_image(self.engine))
        self.storage.name_reuse(KEY, stage)
        assert (self.shared.find_reuse(KEY), self.storage.find_reuse(KEY)) == (None, stage)

    def test_no_index_is_published(self) -> None:
        stage = self.storage.publish_unique(SIGNATURE, make_image(self.engine))
        assert self.storage.publish_index(SIGNATURE, {DEFAULT_PLATFORM: stage}) is None
        assert self.storage.find_index(SIGNATURE) is None
        assert self.storage.repository is None

    def test_a_reuse_name_of_a_stage_of_the_repository_is_not_written(self) -> None:
        self.storage.name_reuse(KEY, name(self.shared, self.engine))
        assert (self.own.find_reuse(KEY), self.shared.find_reuse(KEY)) == (None, None)


class Unreadable(MemoryStagesStorage):
    """A cache whose every answer is an error; ``asked`` counts them."""

    def __init__(self, engine: FakeEngine, error: type[AccessDenied | Unavailable]) -> None:
        super().__init__(engine, CACHE)
        self.asked, self._error = 0, error

    def find(self, signature: str) -> StoredStage | None:
        self.asked += 1
        raise self._error("expected to be let in", hint="log in")


class TestCached:
    def setup_method(self) -> None:
        self.engine = FakeEngine()
        self.own, self.cache = MemoryStagesStorage(self.engine), MemoryStagesStorage(self.engine, CACHE)
        self.told: list[str] = []
        self.storage = self.over(self.cache)

    def over(self, *caches: StagesStorage) -> CachedStagesStorage:
        def copy(signature: str, source: StagesStorage, stage: StoredStage) -> StoredStage:
            return self.own.publish_unique(signature, source.bring(stage))

        return CachedStagesStorage(self.own, Caches(caches, self.told.append), copy)

    def test_what_only_a_cache_has_is_stored_when_it_is_found(self) -> None:
        stage = name(self.cache, self.engine)
        assert (self.own.has(SIGNATURE), self.storage.has(SIGNATURE)) == (False, True)
        found = self.storage.find(SIGNATURE)
        assert found is not None
        assert found.image_id == stage.image_id
        assert self.own.find(SIGNATURE) == found
        assert self.told == [f"stage from ({SIGNATURE}) is taken from {CACHE}"]

    def test_what_the_storage_has_is_asked_of_no_cache(self) -> None:
        ours = name(self.own, self.engine)
        broken = Unreadable(self.engine, AccessDenied)
        assert self.over(broken).find(SIGNATURE) == ours
        assert broken.asked == 0

    def test_the_first_cache_that_has_it_is_taken(self) -> None:
        name(self.cache, self.engine)
        other = MemoryStagesStorage(self.engine, Repository("registry.example.com", "first"))
        name(other, self.engine)
        assert self.over(other, self.cache).find(SIGNATURE)
        assert self.told == [f"stage from ({SIGNATURE}) is taken from registry.example.com/first"]

    def test_a_cache_that_cannot_be_read_is_asked_once_and_the_next_one_is_asked(self) -> None:
        for error in (AccessDenied, Unavailable):
            self.told.clear()
            broken = Unreadable(self.engine, error)
            storage = self.over(broken, self.cache)
            assert storage.find(SIGNATURE) is None
            assert storage.find("b" * 64) is None
            assert broken.asked == 1
            assert self.told == [f"the cache repository {CACHE} is not asked any more in this run: expected to be let in (log in)"]

    def test_what_another_image_of_the_build_took_meanwhile_is_not_copied_again(self) -> None:
        case = self

        class Meanwhile(MemoryStagesStorage):
            def find(self, signature: str) -> StoredStage | None:
                if not case.own.has(signature):
                    name(case.own, case.engine)
                return super().find(signature)

        cache = Meanwhile(self.engine, CACHE)
        name(cache, self.engine)
        assert self.over(cache).find(SIGNATURE) == self.own.find(SIGNATURE)
        assert (cache.brought, self.told) == ([], [])

    def test_a_stage_whose_layers_the_cache_lost_is_not_taken(self) -> None:
        name(self.cache, self.engine)
        self.cache.lose(SIGNATURE)
        assert self.storage.find(SIGNATURE) is None
        assert self.told[0].startswith(f"stage {SIGNATURE} is not taken from {CACHE}: expected")
        assert not self.own.has(SIGNATURE)

    def test_a_document_that_only_a_cache_has_is_kept_when_it_is_found(self) -> None:
        kept = self.cache.put_document(b"listing")
        assert self.storage.find_document(kept) == b"listing"
        assert self.own.documents == {kept: b"listing"}
        assert self.storage.find_document("0" * 64) is None

    def test_everything_else_is_the_storages(self) -> None:
        stage = self.storage.publish_unique(SIGNATURE, make_image(self.engine))
        self.storage.set_if_absent(SIGNATURE, stage)
        self.storage.replace(SIGNATURE, stage)
        self.storage.name_reuse(KEY, stage)
        assert self.storage.find_reuse(KEY) == stage
        assert self.storage.bring(stage) == stage.image_id
        assert self.storage.relabel(SIGNATURE, stage, {"a": "b"}).config.labels["a"] == "b"
        assert self.storage.put_document(b"new") in self.own.documents
        published = self.storage.publish_index("d" * 64, {DEFAULT_PLATFORM: stage})
        index = self.storage.find_index("d" * 64)
        assert index is not None
        assert index.descriptor == published
        assert self.storage.repository == self.own.repository
        assert (self.cache.names, self.cache.documents) == ({}, {})
