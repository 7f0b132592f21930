"""The election on a storage in memory: what is put up, what replaces what, what is waited for and read again."""

from __future__ import annotations

import pytest

from ci_plugin.errors import Unavailable
from ci_plugin.ports import ImageChange, StoredStage
from ci_plugin.services.election import Election
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import DEFAULT_PLATFORM
from tests.fakes.clock import FakeClock
from tests.fakes.engine import FakeEngine
from tests.fakes.stages_storage import MemoryStagesStorage

SIGNATURE, OTHER = "a" * 64, "b" * 64


class Parts:
    """One run's election, and the engine its stages are in."""

    def __init__(self, settle: float = 2.0) -> None:
        self.engine = FakeEngine()
        self.storage = MemoryStagesStorage(self.engine)
        self.clock = FakeClock()
        self.seconds = 0.0
        self.stalled: list[tuple[str, float]] = []
        self.election = Election(
            self.storage,
            self.clock,
            settle,
            stalled=lambda signature, seconds: self.stalled.append((signature, seconds)),
            monotonic=lambda: self.seconds,
        )

    def image(self, text: str = "ours") -> ImageId:
        base = self.engine.import_rootfs(None, DEFAULT_PLATFORM, {})
        return self.engine.derive(base.id, ImageChange(labels={"text": text})).id

    def stored(self, text: str, signature: str = SIGNATURE) -> StoredStage:
        """A stage somebody else published."""
        return self.storage.publish_unique(signature, self.image(text))


def test_what_was_first_is_adopted_at_once_and_what_was_built_is_not_pushed() -> None:
    parts = Parts()
    first = parts.stored("first")
    parts.storage.set_if_absent(SIGNATURE, first)
    names = set(parts.storage.names)
    assert parts.election.publish(SIGNATURE, parts.image()) == first
    assert set(parts.storage.names) == names


def test_a_lost_stage_is_replaced_and_not_adopted() -> None:
    parts = Parts()
    lost = parts.stored("lost")
    parts.storage.set_if_absent(SIGNATURE, lost)
    rebuilt = parts.election.publish(SIGNATURE, parts.image(), lost)
    assert rebuilt.image_id != lost.image_id
    assert parts.storage.replaced == [SIGNATURE]
    assert parts.election.settle(SIGNATURE, lost) == rebuilt


def test_where_somebody_else_has_replaced_the_lost_stage_theirs_is_adopted() -> None:
    parts = Parts()
    lost, theirs = parts.stored("lost"), parts.stored("theirs")
    parts.storage.set_if_absent(SIGNATURE, theirs)
    assert parts.election.publish(SIGNATURE, parts.image(), lost) == theirs
    assert parts.election.publish_stored(SIGNATURE, parts.stored("ours"), lost) == theirs
    assert parts.storage.replaced == []


def test_a_lost_stage_that_is_absent_by_now_is_named_as_any() -> None:
    parts = Parts()
    rebuilt = parts.election.publish(SIGNATURE, parts.image(), parts.stored("lost"))
    assert parts.storage.find(SIGNATURE) == rebuilt
    assert parts.storage.replaced == []


def test_a_relabelled_stage_is_elected_as_one_that_was_built() -> None:
    parts = Parts()
    relabelled = parts.stored("relabelled")
    assert parts.election.publish_stored(SIGNATURE, relabelled) == relabelled
    winner = parts.storage.names[SIGNATURE] = parts.stored("winner")
    assert parts.election.settle(SIGNATURE, relabelled) == winner


def test_one_wait_serves_all_that_was_put_up_before_it() -> None:
    parts = Parts()
    stages = {signature: parts.election.publish(signature, parts.image(signature)) for signature in (SIGNATURE, OTHER)}
    for signature, stage in stages.items():
        assert parts.election.settle(signature, stage) == stage
    assert parts.election.adopt(stages) == stages
    assert parts.clock.slept == [2.0]


def test_what_was_put_up_after_the_wait_has_a_wait_of_its_own() -> None:
    parts = Parts()
    for signature in (SIGNATURE, OTHER):
        parts.election.settle(signature, parts.election.publish(signature, parts.image(signature)))
    assert parts.clock.slept == [2.0, 2.0]


def test_what_was_put_up_long_ago_has_settled_without_a_wait() -> None:
    parts = Parts()
    stage = parts.election.publish(SIGNATURE, parts.image())
    parts.seconds += 2.5
    winner = parts.storage.names[SIGNATURE] = parts.stored("winner")
    assert parts.election.settle(SIGNATURE, stage) == winner
    assert parts.clock.slept == []


def test_a_stage_this_run_only_found_is_not_waited_for_before_it_is_built_on() -> None:
    parts = Parts()
    found = parts.stored("found")
    assert parts.election.settle(SIGNATURE, found) is found
    assert parts.clock.slept == []


def test_a_run_that_put_nothing_up_adopts_what_it_found_and_reads_nothing() -> None:
    parts = Parts()
    found = parts.stored("found")
    parts.storage.names.clear()
    assert parts.election.adopt({SIGNATURE: found}) == {SIGNATURE: found}
    assert parts.clock.slept == []


def test_a_run_that_waits_reads_what_it_found_again_after_the_wait() -> None:
    parts = Parts()
    found = parts.stored("loser", OTHER)
    ours = parts.election.publish(SIGNATURE, parts.image())
    winner = parts.storage.names[OTHER] = parts.stored("winner", OTHER)
    assert parts.election.adopt({OTHER: found, SIGNATURE: ours}) == {OTHER: winner, SIGNATURE: ours}
    assert parts.clock.slept == [2.0]


def test_what_has_settled_once_stays_for_the_whole_run() -> None:
    parts = Parts()
    ours = parts.election.publish(SIGNATURE, parts.image())
    assert parts.election.settle(SIGNATURE, ours) == ours
    parts.storage.names[SIGNATURE] = parts.stored("much later")
    assert parts.election.adopt({SIGNATURE: ours}) == {SIGNATURE: ours}


def test_what_is_replaced_after_it_settled_settles_again() -> None:
    parts = Parts()
    lost = parts.election.publish(SIGNATURE, parts.image("lost"))
    parts.election.settle(SIGNATURE, lost)
    rebuilt = parts.election.publish(SIGNATURE, parts.image("rebuilt"), lost)
    assert parts.election.settle(SIGNATURE, rebuilt) == rebuilt
    assert parts.clock.slept == [2.0, 2.0]


def test_a_stage_that_is_gone_when_it_should_have_settled_may_be_tried_again() -> None:
    parts = Parts()
    stage = parts.election.publish(SIGNATURE, parts.image())
    del parts.storage.names[SIGNATURE]
    with pytest.raises(Unavailable, match=f"expected stage {SIGNATURE} in the storage after publishing it, found nothing") as caught:
        parts.election.settle(SIGNATURE, stage)
    assert caught.value.hint == "run the job again: the build converges on what is stored then"


@pytest.mark.parametrize(("seconds", "is_told"), [(2.0, False), (2.5, True)])
def test_a_writer_that_took_longer_than_the_settle_time_is_told(seconds: float, is_told: bool) -> None:
    class Slow(MemoryStagesStorage):
        def set_if_absent(self, signature: str, candidate: StoredStage) -> None:
            parts.seconds += seconds
            super().set_if_absent(signature, candidate)

    parts = Parts()
    parts.storage = Slow(parts.engine)
    election = Election(
        parts.storage,
        parts.clock,
        stalled=lambda signature, took: parts.stalled.append((signature, took)),
        monotonic=lambda: parts.seconds,
    )
    election.publish(SIGNATURE, parts.image())
    assert parts.stalled == ([(SIGNATURE, seconds)] if is_told else [])


def test_an_engines_own_store_has_nobody_to_wait_for() -> None:
    parts = Parts()
    storage = MemoryStagesStorage(parts.engine, None)
    election = Election(storage, parts.clock, monotonic=lambda: parts.seconds)
    stage = election.publish(SIGNATURE, parts.image())
    assert election.settle(SIGNATURE, stage) == stage
    assert parts.clock.slept == []
