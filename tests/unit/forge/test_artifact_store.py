"""CI artifacts as a store: the oldest pins are the pins, the newest whole record is the record, others are passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from ci_plugin.errors import DocumentError, InputError, Unavailable
from ci_plugin.forge.artifact_store import PINS_PATH, RECORD_PATH, ArtifactStore
from ci_plugin.pins.pin_file import format_pin_file
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.build_record import BuildRecord
from ci_plugin.records.record_file import format_record_file
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.reference import Repository
from tests.fakes.clock import FakeClock

PIPELINE = PipelineId("github", "github.com", "7", "group/app", "1001")
KEY = ScopeKey(PIPELINE, Scope("pipeline:1001"))


def pins(tool: str = "stagepin/1", pipeline: PipelineId = PIPELINE, scope: str = "pipeline:1001") -> bytes:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return format_pin_file(PinSet(tool, Scope(scope), pipeline, "a" * 40, at, ("app",), ()))


class Files:
    """Implements ``Artifacts`` over lists, oldest first; ``read`` is what was handed out."""

    name = "github.com/group/app"
    life = "kept for a while"

    def __init__(self) -> None:
        self.files: dict[str, list[bytes]] = {PINS_PATH: [], RECORD_PATH: []}
        self.read: list[bytes] = []
        self.asked: list[tuple[str, str]] = []
        self.before: Callable[[int], None] = lambda position: None

    def read_files(self, pipeline: str, path: str) -> Iterator[bytes]:
        self.asked.append((pipeline, path))
        for position, data in enumerate(self.files[path]):
            self.before(position)
            self.read.append(data)
            yield data


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def store(files: Files) -> ArtifactStore:
    return ArtifactStore(files, RetryPolicy(FakeClock().sleep))


def test_without_artifacts_there_are_neither_pins_nor_record(store: ArtifactStore, files: Files) -> None:
    assert (store.find_pins(KEY), store.find_record(KEY)) == (None, None)
    assert files.asked == [("1001", ".stagepin/pins.json"), ("1001", ".stagepin/build.json")]


def test_the_oldest_pins_are_the_pins_and_newer_ones_are_not_even_downloaded(store: ArtifactStore, files: Files) -> None:
    files.files[PINS_PATH] = [pins("first"), pins("retried")]
    assert store.find_pins(KEY) == pins("first")
    assert files.read == [pins("first")]


def test_pins_of_another_identity_or_scope_are_passed_over(store: ArtifactStore, files: Files) -> None:
    other = PipelineId("github", "github.com", "8", "group/fork", "1001")
    files.files[PINS_PATH] = [pins(pipeline=other), pins(scope="train-7"), pins("ours")]
    assert store.find_pins(KEY) == pins("ours")


def test_a_broken_pin_file_stops_the_job_rather_than_giving_way_to_a_newer_one(store: ArtifactStore, files: Files) -> None:
    files.files[PINS_PATH] = [b"<html>", pins()]
    with pytest.raises(DocumentError, match="expected a whole JSON document") as caught:
        store.find_pins(KEY)
    assert str(caught.value.where) == "CI artifacts of github.com/group/app"


def test_what_an_earlier_try_handed_on_goes_before_ones_own(store: ArtifactStore, files: Files) -> None:
    assert store.create_pins(KEY, pins("mine")) == pins("mine")
    files.files[PINS_PATH] = [pins("first")]
    assert store.create_pins(KEY, pins("mine")) == pins("first")


def test_a_record_counts_only_with_the_pins_that_were_handed_on(store: ArtifactStore, files: Files) -> None:
    assert store.put_record(KEY, b"record", pins("mine"))
    files.files[PINS_PATH] = [pins("first")]
    assert not store.put_record(KEY, b"record", pins("mine"))
    assert store.put_record(KEY, b"record", pins("first"))


def record(tag: str, *, complete: bool, scope: str = "pipeline:1001") -> bytes:
    return format_record_file(
        BuildRecord(
            scope=Scope(scope),
            pipeline=PIPELINE,
            commit="a" * 40,
            repository=Repository("registry.example.com", tag),
            pins="sha256:" + "0" * 64,
            complete=complete,
            published=True,
            images={},
        )
    )


def test_the_newest_whole_record_is_the_record_else_the_newest(store: ArtifactStore, files: Files) -> None:
    files.files[RECORD_PATH] = [record("leg1", complete=False), record("leg2", complete=False)]
    assert store.find_record(KEY) == record("leg2", complete=False)
    files.files[RECORD_PATH] = [record("old", complete=True), record("new", complete=True), record("leg", complete=False)]
    assert store.find_record(KEY) == record("new", complete=True)
    files.files[RECORD_PATH] = [record("other", complete=True, scope="train")]
    assert store.find_record(KEY) is None


@pytest.mark.parametrize("scope", ["commit:" + "a" * 40, "train-7"])
def test_a_scope_that_is_no_pipelines_has_no_artifacts(scope: str, store: ArtifactStore, files: Files) -> None:
    key = ScopeKey(PIPELINE, Scope(scope))
    actions: list[Callable[[], object]] = [
        lambda: store.find_pins(key),
        lambda: store.create_pins(key, pins()),
        lambda: store.find_record(key),
    ]
    for action in actions:
        with pytest.raises(InputError) as caught:
            action()
        assert caught.value.message == f"expected a scope of one pipeline for the CI artifacts of github.com/group/app, found {scope}"
        assert caught.value.hint == ("artifacts belong to a pipeline: leave --scope out, or choose another store (--store stages-storage)")
    assert files.asked == []


@pytest.mark.parametrize("at", [0, 1])
def test_a_download_that_fails_is_tried_again_from_the_listing_on(at: int, store: ArtifactStore, files: Files) -> None:
    other = pins(scope="train")
    files.files[PINS_PATH] = [other, pins("ours")]
    failures = [Unavailable("cut")]

    def fail(position: int) -> None:
        if position == at and failures:
            raise failures.pop()

    files.before = fail
    assert store.find_pins(KEY) == pins("ours")
    assert len(files.asked) == 2


def test_an_artifact_that_cannot_be_had_is_never_absence(store: ArtifactStore, files: Files) -> None:
    files.files[PINS_PATH] = [pins()]

    def fail(position: int) -> None:
        raise Unavailable("gone from the blob store")

    files.before = fail
    with pytest.raises(Unavailable, match="gone from the blob store"):
        store.create_pins(KEY, pins("mine"))
    assert len(files.asked) == 6


def test_the_store_says_what_it_is_and_what_it_promises(store: ArtifactStore) -> None:
    assert store.name == "CI artifacts of github.com/group/app"
    assert store.guarantee == (
        "single writer by the job graph: one winner as long as one pin job hands .stagepin/pins.json on; kept for a while"
    )
    assert store.lag == 5.0
