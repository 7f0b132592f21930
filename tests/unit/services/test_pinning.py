"""Pinning over stores in memory: adopt, create, lose, expire, and never resolve where pins are only needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AnswerIsNo, DocumentError, InputError, Location, StagepinError, Unavailable
from ci_plugin.pins.pin_file import format_pin_file, parse_pin_file, pin_checksum
from ci_plugin.pins.pin_set import Pin, PinSet
from ci_plugin.ports import Registry
from ci_plugin.services.pinning import DEFAULT_POLICY, Adopted, Asking, PinPolicy, adopt_or_create, fetch_pins, find_pins, get_pins
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, Descriptor
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Reference, Repository, parse_reference
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
    policy: PinPolicy = DEFAULT_POLICY,
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
        policy=policy,
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

    ASSURE = PinPolicy(assure=True)

    def test_the_pin_job_gives_a_store_the_pins_it_lacks(self) -> None:
        ours, store = format_pin_file(pin_set()), MemoryStore()
        assert create(MemoryWorkspace(ours), store, NOBODY, policy=self.ASSURE).source == "workspace"
        assert store.pins == {ASKING.key.short_hash: ours}

    @pytest.mark.parametrize("policy", [PinPolicy(assure=True, locked=True), PinPolicy(assure=True, publish=False), DEFAULT_POLICY])
    def test_who_may_not_write_or_resolves_nothing_asks_no_store(self, policy: PinPolicy) -> None:
        store = MemoryStore(loses_everything=True)
        create(MemoryWorkspace(format_pin_file(pin_set())), store, NOBODY, policy=policy)
        by_name = replace(ASKING, by_name=True)
        create(MemoryWorkspace(format_pin_file(pin_set())), store, NOBODY, asking=by_name, policy=self.ASSURE)
        assert store.pins == {}

    def test_two_pin_sets_of_one_scope_are_refused_by_name(self) -> None:
        ours, theirs = pin_set(), pin_set(content=b"stored")
        store, workspace = MemoryStore({ASKING.key.short_hash: format_pin_file(theirs)}), MemoryWorkspace(format_pin_file(ours))
        with pytest.raises(DocumentError) as caught:
            create(workspace, store, NOBODY, policy=self.ASSURE)
        told = f"expected the pins {pin_checksum(ours)} in the memory store too, found {pin_checksum(theirs)}: "
        assert caught.value.message == f"{told}the scope pipeline:1001 has two pin sets"
        assert caught.value.hint.startswith("remove .stagepin/pins.json and run `stagepin pin` again")
        assert workspace.pins == format_pin_file(ours)

    def test_one_stale_read_does_not_hide_the_pins_a_checksum_speaks_of(self) -> None:
        stored = format_pin_file(pin_set())
        store, clock = MemoryStore({ASKING.key.short_hash: stored}, lag=5.0, stale_reads=1), FakeClock()
        asking = replace(ASKING, checksum=pin_checksum(pin_set()))
        assert create(MemoryWorkspace(), store, NOBODY, asking=asking, clock=clock).document == stored
        assert clock.slept == [5.0]

    @pytest.mark.parametrize("read", [get_pins, fetch_pins])
    def test_one_stale_read_does_not_hide_pins_from_who_needs_them(
        self, read: Callable[[Asking, MemoryWorkspace, MemoryStore, FakeClock], Adopted]
    ) -> None:
        stored = format_pin_file(pin_set())
        store, clock = MemoryStore({ASKING.key.short_hash: stored}, lag=5.0, stale_reads=1), FakeClock()
        assert read(ASKING, MemoryWorkspace(), store, clock).document == stored
        assert clock.slept == [5.0]

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
            create(MemoryWorkspace(), MemoryStore(), NOBODY, policy=PinPolicy(locked=True))
        assert "run `stagepin pin` without --locked" in caught.value.hint
        document = format_pin_file(pin_set())
        assert create(MemoryWorkspace(document), None, NOBODY, policy=PinPolicy(locked=True)).document == document


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
            create(MemoryWorkspace(format_pin_file(pin_set(LOCAL))), None, NOBODY, asking=LOCAL, clock=clock, policy=PinPolicy(locked=True))


class TestAge:
    """``--max-age``: never a silent new resolve."""

    LIMIT = PinPolicy(max_age=timedelta(hours=12))

    def test_pins_that_are_too_old_are_the_answer_no_wherever_they_are(self) -> None:
        clock, document = FakeClock(), format_pin_file(pin_set())
        clock.advance(12 * 3600)
        assert create(MemoryWorkspace(document), None, NOBODY, clock=clock, policy=self.LIMIT).document == document
        clock.advance(1)
        places = [(MemoryWorkspace(document), None), (MemoryWorkspace(), MemoryStore({ASKING.key.short_hash: document}))]
        for (workspace, store), place in zip(places, [".stagepin/pins.json", "memory store"], strict=True):
            with pytest.raises(AnswerIsNo, match="expected the pins of pipeline:1001 to be at most 12h old, found them 12h old") as caught:
                create(workspace, store, NOBODY, clock=clock, policy=self.LIMIT)
            assert str(caught.value.where) == place

    def test_without_a_limit_age_does_not_matter(self) -> None:
        clock = FakeClock()
        clock.advance(400 * 24 * 3600)
        assert create(MemoryWorkspace(format_pin_file(pin_set())), None, NOBODY, clock=clock).source == "workspace"

    def test_pins_from_the_future_are_refused_where_age_matters(self) -> None:
        document = format_pin_file(pin_set(created=datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC)))
        assert create(MemoryWorkspace(document), None, NOBODY).document == document
        with pytest.raises(AnswerIsNo, match="created 365d in the future"):
            create(MemoryWorkspace(document), None, NOBODY, policy=self.LIMIT)

    def test_a_rival_whose_pins_are_too_old_is_not_adopted_either(self) -> None:
        workspace, store = MemoryWorkspace(), MemoryStore()
        rival = format_pin_file(pin_set(created=datetime(2026, 1, 1, 0, 0, 0, tzinfo=UTC)))
        store.before_create = lambda: store.pins.update({ASKING.key.short_hash: rival})
        with pytest.raises(AnswerIsNo, match="at most 12h old, found them 1d 3h old"):
            create(workspace, store, CountingRegistry(), policy=self.LIMIT)
        assert workspace.pins is None

    def test_local_pins_that_are_too_old_or_from_the_future_are_made_anew(self) -> None:
        workspace, clock = MemoryWorkspace(format_pin_file(pin_set(LOCAL))), FakeClock()
        clock.advance(12 * 3600 + 1)
        assert create(workspace, None, CountingRegistry(), asking=LOCAL, clock=clock, policy=self.LIMIT).source == "resolved"
        clock.advance(-24 * 3600)
        assert create(workspace, None, CountingRegistry(), asking=LOCAL, clock=clock).source == "resolved"


class TestSecondChannel:
    """A checksum that came by another way than the pins."""

    def asking(self, pins: PinSet) -> Asking:
        return replace(ASKING, checksum=pin_checksum(pins))

    def test_the_pins_it_is_of_are_adopted_wherever_they_are(self) -> None:
        document = format_pin_file(pin_set())
        for workspace, store in ((MemoryWorkspace(document), None), (MemoryWorkspace(), MemoryStore({ASKING.key.short_hash: document}))):
            assert create(workspace, store, NOBODY, asking=self.asking(pin_set())).document == document
            assert get_pins(self.asking(pin_set()), workspace, store, FakeClock()).document == document

    def test_other_pins_are_refused_and_not_brought_into_the_workspace(self) -> None:
        document, workspace = format_pin_file(pin_set(content=b"other")), MemoryWorkspace()
        store = MemoryStore({ASKING.key.short_hash: document})
        acts: list[Callable[[], Adopted]] = [
            lambda: create(workspace, store, NOBODY, asking=self.asking(pin_set())),
            lambda: get_pins(self.asking(pin_set()), workspace, store, FakeClock()),
            lambda: fetch_pins(self.asking(pin_set()), workspace, store, FakeClock()),
        ]
        for act in acts:
            with pytest.raises(DocumentError) as caught:
                act()
            assert caught.value.message == (
                f"expected the pins whose checksum the pin job handed on, {pin_checksum(pin_set())}, "
                f"found {pin_checksum(pin_set(content=b'other'))}"
            )
            assert caught.value.hint.startswith("somebody wrote other pins of this scope after the pin job")
        assert workspace.pins is None

    def test_the_workspace_is_not_passed_over_for_a_store_that_has_the_right_ones(self) -> None:
        store = MemoryStore({ASKING.key.short_hash: format_pin_file(pin_set())})
        with pytest.raises(DocumentError, match="expected the pins whose checksum the pin job handed on"):
            get_pins(self.asking(pin_set()), MemoryWorkspace(format_pin_file(pin_set(content=b"other"))), store, FakeClock())

    def test_where_there_are_no_pins_none_are_made(self) -> None:
        with pytest.raises(DocumentError) as caught:
            create(MemoryWorkspace(), MemoryStore(), NOBODY, asking=self.asking(pin_set()))
        assert caught.value.message.startswith("expected the pins of pipeline:1001 whose checksum the pin job handed on, sha256:")
        assert caught.value.message.endswith(", found none")
        assert caught.value.hint.startswith("bring them: the pin job's CI artifact or the repository it wrote to")


class TestForks:
    FORK = replace(ASKING, fork="mallory/app")

    def test_a_fork_that_may_not_publish_keeps_its_marked_pins_to_itself(self) -> None:
        workspace, store = MemoryWorkspace(), MemoryStore()
        adopted = create(workspace, store, CountingRegistry(), asking=self.FORK, policy=PinPolicy(publish=False))
        assert (adopted.pins.fork, workspace.pins, store.pins) == ("mallory/app", adopted.document, {})

    def test_a_fork_that_has_a_store_of_its_own_writes_there(self) -> None:
        store = MemoryStore()
        adopted = create(MemoryWorkspace(), store, CountingRegistry(), asking=self.FORK)
        assert store.pins == {ASKING.key.short_hash: adopted.document}

    def test_a_fork_adopts_the_projects_pins_and_its_own(self) -> None:
        ours, own = format_pin_file(pin_set()), format_pin_file(replace(pin_set(), fork="mallory/app"))
        for document in (ours, own):
            assert create(MemoryWorkspace(document), None, NOBODY, asking=self.FORK).document == document

    def test_nobody_else_adopts_a_forks_pins(self) -> None:
        document, workspace = format_pin_file(replace(pin_set(), fork="mallory/app")), MemoryWorkspace()
        store = MemoryStore({ASKING.key.short_hash: document})
        for asking in (ASKING, replace(ASKING, fork="eve/app")):
            for held, kept in ((MemoryWorkspace(document), None), (workspace, store)):
                with pytest.raises(DocumentError, match="found those of the fork mallory/app: its code decided what they are"):
                    create(held, kept, NOBODY, asking=asking)
        assert workspace.pins is None
        assert get_pins(replace(ASKING, fork=None), workspace, store, FakeClock()).pins.fork == "mallory/app"

    def test_a_fork_without_pins_is_not_told_to_write_into_the_projects_repository(self) -> None:
        with pytest.raises(DocumentError) as caught:
            get_pins(self.FORK, MemoryWorkspace(), MemoryStore(), FakeClock())
        assert caught.value.hint.endswith("or name a repository of the fork's own with --repo")


class TestKeep:
    """Copies of the bases are made before anybody can read the pins that promise them."""

    TARGET = Repository("registry.example.com", "bases")

    def policy(self, copied: list[PinSet], store: MemoryStore | None = None, keep: Repository | None = TARGET) -> PinPolicy:
        def copy(pins: PinSet, target: Repository, _registry: Registry) -> None:
            assert target == pins.keep
            assert not (store and store.pins), "expected the copies before the pins"
            copied.append(pins)

        return PinPolicy(keep=keep, copy=copy)

    def test_new_pins_name_the_repository_their_copies_were_made_in(self) -> None:
        store, copied = MemoryStore(), list[PinSet]()
        adopted = create(MemoryWorkspace(), store, CountingRegistry(), policy=self.policy(copied, store))
        assert adopted.pins.keep == self.TARGET
        assert copied == [adopted.pins]
        assert parse_pin_file(store.pins[ASKING.key.short_hash], "x") == adopted.pins

    def test_where_copies_fail_no_pins_are_made(self) -> None:
        def fail(_pins: PinSet, _target: Repository, _registry: Registry) -> None:
            raise Unavailable("expected the copy to be taken, found 503")

        workspace, store = MemoryWorkspace(), MemoryStore()
        with pytest.raises(Unavailable):
            create(workspace, store, CountingRegistry(), policy=PinPolicy(keep=self.TARGET, copy=fail))
        assert (workspace.pins, store.pins) == (None, {})

    def test_adopted_pins_have_their_copies_made_sure_of(self) -> None:
        copied, pins = list[PinSet](), replace(pin_set(), keep=self.TARGET)
        create(MemoryWorkspace(format_pin_file(pins)), None, NOBODY, policy=self.policy(copied))
        assert copied == [pins]

    @pytest.mark.parametrize("held", [None, Repository("registry.example.com", "others")])
    def test_pins_that_promise_other_copies_or_none_stay_as_they_are(self, held: Repository | None) -> None:
        copied, pins = list[PinSet](), replace(pin_set(), keep=held)
        assert create(MemoryWorkspace(format_pin_file(pins)), None, NOBODY, policy=self.policy(copied)).pins == pins
        assert create(MemoryWorkspace(format_pin_file(pins)), None, NOBODY, policy=self.policy(copied, keep=None)).pins == pins
        assert copied == []


def test_a_rival_that_lacks_a_reference_is_told_by_the_pin_job_and_not_by_the_first_build() -> None:
    store, workspace = MemoryStore(), MemoryWorkspace()
    store.before_create = lambda: store.pins.update({ASKING.key.short_hash: format_pin_file(replace(pin_set(), pins=()))})
    with pytest.raises(InputError, match=r"expected docker\.io/library/alpine:latest among the 0 pins of pipeline:1001, found it missing"):
        create(workspace, store, CountingRegistry())
    assert workspace.pins is None


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
        assert fetch_pins(ASKING, workspace, MemoryStore({ASKING.key.short_hash: stored}), FakeClock()).document == stored
        assert workspace.pins == stored

    def test_fetch_leaves_the_workspace_alone_where_the_store_has_nothing_or_rubbish(self) -> None:
        workspace = MemoryWorkspace(b"what was there")
        for store in (MemoryStore(), MemoryStore({ASKING.key.short_hash: b"rubbish"})):
            with pytest.raises(DocumentError):
                fetch_pins(ASKING, workspace, store, FakeClock())
        with pytest.raises(InputError, match="found no repository"):
            fetch_pins(ASKING, workspace, None, FakeClock())
        assert workspace.pins == b"what was there"

    def test_any_commit_is_for_those_who_named_the_scope(self) -> None:
        workspace = MemoryWorkspace(format_pin_file(pin_set(replace(ASKING, commit="b" * 40))))
        with pytest.raises(DocumentError):
            get_pins(ASKING, workspace, None, FakeClock())
        assert get_pins(replace(ASKING, any_commit=True), workspace, None, FakeClock()).pins.commit == "b" * 40
