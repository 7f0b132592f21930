"""Pinning over stores in memory: adopt, create, lose, expire, and never resolve where pins are only needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AnswerIsNo, DocumentError, InputError, Location, StagepinError, Unavailable
from ci_plugin.pins.pin_file import format_pin_file, parse_pin_file
from ci_plugin.pins.pin_set import Pin, PinSet
from ci_plugin.ports import Registry
from ci_plugin.services.pinning import Adopted, Asking, PinPolicy, adopt_or_create, fetch_pins, find_pins, get_pins
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, Descriptor
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Reference, parse_reference
from tests.fakes.clock import FakeClock
from tests.unit.services.memory_store import MemoryStore, MemoryWorkspace, SilentRegistry

COMMIT = "a" * 40
PIPELINE = PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001")
ASKING = Asking(ScopeKey(PIPELINE, Scope("pipeline:1001")), COMMIT)
LOCAL = Asking(ScopeKey(PipelineId("local", "localhost", "app", "app", "local"), Scope("local")), COMMIT)
ALPINE = parse_reference("alpine")
USE = ConfigReference(ALPINE, "from", "app", Location("werf.yaml", 5), True, DEFAULT_PLATFORM)
NOBODY: Registry = SilentRegistry()


class CountingRegistry(SilentRegistry):
    """Resolves everything to one digest, and counts."""

    def __init__(self, content: bytes = b"one") -> None:
        self.digest = Digest.of(content)
        self.asked: list[Reference] = []

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        self.asked += references
        return {reference: Descriptor(self.digest, DOCKER_MANIFEST, 3) for reference in references}


def pin_set(asking: Asking = ASKING, content: bytes = b"rival", created: datetime = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) -> PinSet:
    digest = Digest.of(content)
    pin = Pin(ALPINE, digest, DOCKER_MANIFEST, 3, {DEFAULT_PLATFORM: digest}, True, created, ())
    return PinSet("stagepin/0", asking.key.scope, asking.key.pipeline, asking.commit, created, ("app",), (pin,))


def create(
    workspace: MemoryWorkspace,
    store: MemoryStore | None,
    registry: Registry,
    *,
    asking: Asking = ASKING,
    clock: FakeClock | None = None,
    locked: bool = False,
) -> Adopted:
    return adopt_or_create(
        asking,
        [USE],
        images=["app"],
        tool="stagepin/0",
        workspace=workspace,
        store=store,
        registry=registry,
        clock=clock or FakeClock(),
        policy=PinPolicy(locked=locked),
    )


class TestAdoptOrCreate:
    def test_what_is_nowhere_is_resolved_once_and_kept_in_both_places(self) -> None:
        workspace, store, registry = MemoryWorkspace(), MemoryStore(), CountingRegistry()
        adopted = create(workspace, store, registry)
        assert (adopted.source, registry.asked) == ("resolved", [ALPINE])
        assert workspace.pins == adopted.document == store.pins[ASKING.key.short_hash]
        assert parse_pin_file(adopted.document, "pins.json") == adopted.pins

    def test_the_workspace_comes_before_the_store(self) -> None:
        ours, stored = format_pin_file(pin_set()), format_pin_file(pin_set(content=b"stored"))
        store = MemoryStore({ASKING.key.short_hash: stored})
        assert create(MemoryWorkspace(ours), store, NOBODY).source == "workspace"
        workspace = MemoryWorkspace()
        assert create(workspace, store, NOBODY).source == "memory store"
        assert workspace.pins == stored

    def test_whoever_created_first_is_adopted_by_whoever_resolved_meanwhile(self) -> None:
        store, workspace, rival = MemoryStore(), MemoryWorkspace(), format_pin_file(pin_set())
        store.before_create = lambda: store.pins.update({ASKING.key.short_hash: rival})
        adopted = create(workspace, store, CountingRegistry())
        assert (adopted.document, adopted.source, workspace.pins) == (rival, "memory store", rival)

    def test_a_rival_of_another_commit_is_refused_and_not_written_to_the_workspace(self) -> None:
        store, workspace = MemoryStore(), MemoryWorkspace()
        rival = format_pin_file(pin_set(replace(ASKING, commit="b" * 40)))
        store.before_create = lambda: store.pins.update({ASKING.key.short_hash: rival})
        with pytest.raises(DocumentError, match=f"expected pins of commit {COMMIT}, found commit {'b' * 40}"):
            create(workspace, store, CountingRegistry())
        assert workspace.pins is None

    def test_a_store_that_loses_what_it_took_may_be_tried_again(self) -> None:
        workspace = MemoryWorkspace()
        with pytest.raises(Unavailable, match="expected the pins just created in the memory store, found none") as caught:
            create(workspace, MemoryStore(loses_everything=True), CountingRegistry())
        assert caught.value.hint == "run the job again"
        assert workspace.pins is None

    def test_locked_resolves_nothing(self) -> None:
        with pytest.raises(AnswerIsNo, match="expected the pins of pipeline:1001 to exist, found none: 1 references") as caught:
            create(MemoryWorkspace(), MemoryStore(), NOBODY, locked=True)
        assert "run `stagepin pin` without --locked" in caught.value.hint
        document = format_pin_file(pin_set())
        assert create(MemoryWorkspace(document), None, NOBODY, locked=True).document == document


class TestLocal:
    def test_pins_of_a_day_are_adopted_and_older_ones_made_anew(self) -> None:
        workspace, clock = MemoryWorkspace(), FakeClock()
        first = create(workspace, None, CountingRegistry(b"one"), asking=LOCAL, clock=clock)
        clock.advance(24 * 3600)
        assert create(workspace, None, NOBODY, asking=LOCAL, clock=clock).document == first.document
        clock.advance(1)
        registry = CountingRegistry(b"two")
        assert create(workspace, None, registry, asking=LOCAL, clock=clock).pins.get(ALPINE).digest == registry.digest

    def test_expired_pins_are_none_where_pins_are_needed(self) -> None:
        workspace, clock = MemoryWorkspace(format_pin_file(pin_set(LOCAL))), FakeClock()
        assert get_pins(LOCAL, workspace, None, clock).source == "workspace"
        clock.advance(24 * 3600 + 1)
        with pytest.raises(DocumentError, match="expected the pins of local, found none"):
            get_pins(LOCAL, workspace, None, clock)

    def test_pins_of_a_pipeline_never_expire(self) -> None:
        clock = FakeClock()
        clock.advance(400 * 24 * 3600)
        assert find_pins(ASKING, MemoryWorkspace(format_pin_file(pin_set())), None, clock) is not None

    def test_locked_refuses_expired_pins(self) -> None:
        clock = FakeClock()
        clock.advance(24 * 3600 + 1)
        with pytest.raises(AnswerIsNo):
            create(MemoryWorkspace(format_pin_file(pin_set(LOCAL))), None, NOBODY, asking=LOCAL, clock=clock, locked=True)


class TestGetAndFetch:
    def test_no_pins_is_an_error_that_says_where_was_looked_and_what_to_do(self) -> None:
        with pytest.raises(DocumentError) as caught:
            get_pins(ASKING, MemoryWorkspace(), MemoryStore(), FakeClock())
        assert caught.value.message == "expected the pins of pipeline:1001, found none (looked in .stagepin/pins.json and memory store)"
        assert caught.value.hint.startswith("run `stagepin pin` in an earlier job of this scope")
        with pytest.raises(DocumentError, match="no repository is set to look in"):
            get_pins(ASKING, MemoryWorkspace(), None, FakeClock())

    def test_no_local_pins_does_not_ask_for_a_repository_which_would_not_help(self) -> None:
        with pytest.raises(DocumentError) as caught:
            get_pins(LOCAL, MemoryWorkspace(), None, FakeClock())
        assert caught.value.message.endswith("(looked in .stagepin/pins.json; those of the scope local are kept in the workspace alone)")
        assert caught.value.hint == "run `stagepin pin` here first; outside CI, --scope or --pipeline names whose pins to fetch"

    def test_fetch_replaces_whatever_the_workspace_holds(self) -> None:
        stored = format_pin_file(pin_set())
        workspace = MemoryWorkspace(b"rubbish")
        assert fetch_pins(ASKING, workspace, MemoryStore({ASKING.key.short_hash: stored})).document == stored
        assert workspace.pins == stored

    def test_fetch_leaves_the_workspace_alone_where_the_store_has_nothing_or_rubbish(self) -> None:
        workspace = MemoryWorkspace(b"what was there")
        for store in (MemoryStore(), MemoryStore({ASKING.key.short_hash: b"rubbish"})):
            with pytest.raises(DocumentError):
                fetch_pins(ASKING, workspace, store)
        with pytest.raises(InputError, match="found no repository"):
            fetch_pins(ASKING, workspace, None)
        assert workspace.pins == b"what was there"

    def test_any_commit_is_for_those_who_named_the_scope(self) -> None:
        workspace = MemoryWorkspace(format_pin_file(pin_set(replace(ASKING, commit="b" * 40))))
        with pytest.raises(DocumentError):
            get_pins(ASKING, workspace, None, FakeClock())
        assert get_pins(replace(ASKING, any_commit=True), workspace, None, FakeClock()).pins.commit == "b" * 40
