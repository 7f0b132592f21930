"""The election: all builders of one stage adopt one digest, without compare-and-set (DESIGN.md §8, docs/adr/0005).

Two writers that look and then PUT can disagree; with a settle time before the last read they do not, as long as no writer stalls for
longer than that. Above it two records may differ; both stay pullable and both verify.
"""

from __future__ import annotations

import threading

from ci_plugin.errors import AnswerIsNo, Unavailable
from ci_plugin.ports import Clock, StagesStorage, StoredStage
from ci_plugin.records.stage_labels import StageLabels, parse_stage_labels
from ci_plugin.values.digest import ImageId

DEFAULT_SETTLE_SECONDS = 2.0


class Election:
    """One run's elections. The settle time is waited once for all stages put up before the wait, not once per stage."""

    def __init__(self, storage: StagesStorage, clock: Clock, settle_seconds: float = DEFAULT_SETTLE_SECONDS) -> None:
        self._storage = storage
        self._clock = clock
        self._settle_seconds = settle_seconds if storage.repository else 0.0
        self._unsettled: set[str] = set()
        self._settled: dict[str, StoredStage | None] = {}
        self._waiting = threading.Lock()

    def publish(self, signature: str, image: ImageId) -> StoredStage:
        """Put a freshly built stage up for election: what is stored under the signature now, ours or somebody's who was first.

        Either may be overwritten by one who looked before it was there: what counts is what ``settle`` reads.
        """
        stored = self._storage.find(signature)
        if stored is None:
            stored = self._storage.publish_unique(signature, image)
            self._storage.set_if_absent(signature, stored)
        self._unsettled.add(signature)
        return stored

    def settle(self, signature: str, known: StoredStage) -> StoredStage:
        """The stage everybody adopts: ``known`` where this run did not build it, else what is read after the settle time.

        Raises Unavailable where it is gone again.
        """
        with self._waiting:
            if signature in self._unsettled:
                published_by_now = set(self._unsettled)
                self._clock.sleep(self._settle_seconds)
                self._unsettled -= published_by_now
                self._settled |= dict.fromkeys(published_by_now)
            if signature not in self._settled:
                return known
            adopted = self._settled[signature] or self._storage.find(signature)
            self._settled[signature] = adopted
        if adopted is None:
            message = f"expected stage {signature} in the storage after publishing it, found nothing"
            raise Unavailable(message, hint="run the job again: the build converges on what is stored then")
        return adopted


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
