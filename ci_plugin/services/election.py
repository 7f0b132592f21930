"""The election: all builders of one stage adopt one digest, without compare-and-set (DESIGN.md §8, docs/adr/0005).

Two writers that look and then PUT can disagree; with a settle time before the last read they do not, as long as no writer stalls for
longer than that between looking and writing. Above it two records may differ; both stay pullable and both verify, and who stalled says so.

Rules
- A stage that others are made from is settled before anything is made from it; images that do not need it go on meanwhile.
- The settle time counts from the moment a stage was put up, and one wait serves all that were put up before it.
- A run that waits reads again, after the wait, what it only found: its builder may have been in an election just then.
  A run that builds nothing does not wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from ci_plugin.errors import AnswerIsNo, Gone, Unavailable
from ci_plugin.ports import Clock, StagesStorage, StoredStage
from ci_plugin.records.build_record import BaseRecord, BaseState
from ci_plugin.records.stage_labels import StageLabels, parse_stage_labels
from ci_plugin.threads import thread_pool
from ci_plugin.values.digest import ImageId

DEFAULT_SETTLE_SECONDS = 2.0
_READERS = 8


def _tell_nobody(_signature: str, _seconds: float) -> None:
    pass


class Election:
    """One run's elections. ``stalled`` is told of a stage whose name took longer to write than the settle time, and the seconds it took.

    ``monotonic`` gives seconds, as ``time.monotonic`` does.
    """

    def __init__(
        self,
        storage: StagesStorage,
        clock: Clock,
        settle_seconds: float = DEFAULT_SETTLE_SECONDS,
        *,
        stalled: Callable[[str, float], None] = _tell_nobody,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._settle_seconds = settle_seconds if storage.repository else 0.0
        self._stalled = stalled
        self._monotonic = monotonic
        self._put_up: dict[str, float] = {}
        """Signature → when it was put up, for those that no wait has covered yet."""
        self._settled: dict[str, StoredStage | None] = {}
        """What was put up and has settled; None until it is read again."""
        self._lock = threading.Lock()

    def publish(self, signature: str, image: ImageId, lost: StoredStage | None = None) -> StoredStage:
        """Put a freshly built stage up for election: what is stored under the signature now, ours or somebody's who was first.

        ``lost``: what was stored there and lost its layers; that does not count as being first. Either may be overwritten by one who
        looked before it was there: what counts is what ``settle`` reads.
        """
        stored = self._find(signature)
        if stored is not None and not _is(stored, lost):
            self._note(signature)
            return stored
        return self.publish_stored(signature, self._storage.publish_unique(signature, image), lost)

    def publish_stored(self, signature: str, stage: StoredStage, lost: StoredStage | None = None) -> StoredStage:
        """The same for a stage that is in the storage already, under a name of its own (a relabelled one)."""
        began = self._monotonic()
        if lost is not None and _is(self._find(signature), lost):
            self._storage.replace(signature, stage)
        else:
            self._storage.set_if_absent(signature, stage)
        seconds = self._monotonic() - began
        if 0 < self._settle_seconds < seconds:
            self._stalled(signature, seconds)
        self._note(signature)
        # With immutable tags this is the winner already; else it is one read fewer that can differ from what the others see.
        try:
            return self._storage.find(signature) or stage
        except Gone:
            # What has the name lost its config: nobody can adopt it.
            self._storage.replace(signature, stage)
            return stage

    def settle(self, signature: str, known: StoredStage) -> StoredStage:
        """The stage everybody adopts: ``known`` where this run did not put it up, else what is read after the settle time.

        Raises Unavailable where it is gone again.
        """
        with self._lock:
            put_up, is_ours = self._put_up.get(signature), signature in self._put_up or signature in self._settled
        if put_up is not None:
            self._wait(put_up)
        return self._read(signature) if is_ours else known

    def adopt(self, found: Mapping[str, StoredStage]) -> Mapping[str, StoredStage]:
        """What everybody adopts of these stages, by signature: as they are where this run put nothing up, else all read after a wait."""
        with self._lock:
            latest = max(self._put_up.values(), default=None)
            if latest is None and not self._settled:
                return dict(found)
        if latest is not None:
            self._wait(latest)
        with thread_pool(min(_READERS, max(1, len(found)))) as pool:
            return dict(zip(found, pool.map(self._read, found), strict=True))

    def _find(self, signature: str) -> StoredStage | None:
        """What is stored, None also where the registry lost its config."""
        try:
            return self._storage.find(signature)
        except Gone:
            return None

    def _note(self, signature: str) -> None:
        with self._lock:
            self._put_up[signature] = self._monotonic()
            self._settled.pop(signature, None)

    def _wait(self, put_up: float) -> None:
        """Return when the settle time has passed since ``put_up``; the lock is free meanwhile, so that others put up and wait, too."""
        with self._lock:
            covered = dict(self._put_up)
        if self._monotonic() - put_up < self._settle_seconds:
            self._clock.sleep(self._settle_seconds)
        else:
            covered = {signature: moment for signature, moment in covered.items() if moment <= put_up}
        with self._lock:
            for signature, moment in covered.items():
                if self._put_up.get(signature) == moment:
                    del self._put_up[signature]
                    self._settled[signature] = None

    def _read(self, signature: str) -> StoredStage:
        adopted = self._settled.get(signature) or self._storage.find(signature)
        if adopted is None:
            message = f"expected stage {signature} in the storage after publishing it, found nothing"
            raise Unavailable(message, hint="run the job again: the build converges on what is stored then")
        with self._lock:
            if signature not in self._put_up:
                self._settled[signature] = adopted
        return adopted


def _is(stored: StoredStage | None, lost: StoredStage | None) -> bool:
    return stored is not None and lost is not None and stored.image_id == lost.image_id


def is_superseded(base: BaseRecord, adopted: Mapping[str, StoredStage]) -> bool:
    """Whether an image was built on a build of another image that is not the one everybody adopts; ``adopted``: by stage signature.

    That is no fault of the image: what it was built on keeps a tag of its own, and is what its labels name.
    """
    stage = adopted.get((base.reference or "").rpartition(":")[2]) if base.state is BaseState.IMAGE else None
    return stage is not None and stage.descriptor is not None and stage.descriptor.digest != base.digest


def trusted_labels(stored: StoredStage, signature: str) -> StageLabels:
    """The labels of a stored stage. Raises AnswerIsNo where the tag holds something that is not that stage: somebody overwrote it."""
    where = stored.descriptor.digest if stored.descriptor else stored.image_id
    try:
        labels = parse_stage_labels(stored.config.labels)
    except ValueError as error:
        raise AnswerIsNo(
            f"expected the stage {signature} under its tag, found the image {where}: {error}",
            hint="somebody overwrote the tag; delete it in the repository, then build again",
        ) from None
    if labels.signature != signature:
        raise AnswerIsNo(
            f"expected the stage {signature} under its tag, found {where}, which is the stage {labels.signature}",
            hint="somebody overwrote the tag; delete it in the repository, then build again",
        )
    return labels
