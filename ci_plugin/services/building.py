"""Build one image: take what the storage has, make the stages it lacks, each published before the next is begun.

Nothing here decides what is needed (conveyor/plan.py), in which order images come (scheduler.py), or how a stage is made (making.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.conveyor.stage import FromImage, Stage
from ci_plugin.errors import AnswerIsNo, Bug, Gone, InputError
from ci_plugin.ports import Engine, StoredStage
from ci_plugin.records.stage_labels import StageLabels, parse_stage_labels
from ci_plugin.services.built import BuiltImage as BuiltImage
from ci_plugin.services.built import BuiltImages as BuiltImages
from ci_plugin.services.election import trusted_labels
from ci_plugin.services.foreign import tell_foreign
from ci_plugin.services.making import Maker, Making, Parent
from ci_plugin.services.sharing import SharedStages
from ci_plugin.services.stage_work.dependencies import list_outdated
from ci_plugin.services.stage_work.reuse import has_reuse_key, parent_identity, reuse_key
from ci_plugin.services.stage_work.sources import Sources
from ci_plugin.services.stage_work.spool import Spool
from ci_plugin.services.workshop import Workshop as Workshop


def build_image(planned: PlannedImage, built: BuiltImages, workshop: Workshop) -> BuiltImage:
    """The image as the storage has it now. Where nothing changed: one manifest and one config request, no engine.

    ``built``: what it is made of, at least. An image whose layers the storage lost is built anew when it is needed, and put there.
    """
    line = _Line(planned, built, workshop, shared=workshop.shared)
    stored = line.find(planned.stages[-1])
    return BuiltImage(planned, stored, trusted_labels(stored, planned.signature)) if stored else line.run()


def _check_platform(planned: PlannedImage, engine: Engine) -> None:
    native = engine.native_platform()
    if not planned.platform_was_chosen and not native.serves(planned.platform):
        raise InputError(
            f"expected an engine that runs {planned.platform} (the default platform), found one that runs {native}",
            hint=f"choose: `--platform {native}` builds for this engine; `--platform {planned.platform}` emulates, if the engine can",
        )


class _LostStage(Exception):
    """A stored stage that cannot be built on: its layers or its listing are lost."""

    def __init__(self, parent: Parent, error: Gone) -> None:
        super().__init__(error.message)
        self.parent, self.error = parent, error


class _Line:
    """One image's stages being made in order, beginning at the latest one that the storage has and that can be built on."""

    def __init__(
        self,
        planned: PlannedImage,
        built: BuiltImages,
        workshop: Workshop,
        lost: StoredStage | None = None,
        shared: SharedStages | None = None,
    ) -> None:
        self._planned, self._shop = planned, workshop
        # A line that is rebuilt for another one has SharedStages of its own: it would wait for who waits for it.
        self._shared = shared or SharedStages()
        self._sources = Sources(built, planned.platform, workshop.storage, workshop.election, self._rebuild, workshop.rebuilding)
        self._maker = Maker(planned, workshop, self._sources)
        self._lost = {planned.signature: lost} if lost else {}
        """What signatures named that is not to be trusted, and is replaced when it is made anew."""
        self._seconds: dict[str, float] = {}

    def run(self) -> BuiltImage:
        """Make what is missing. Raises StageFailed and every error of the storage and the engine."""
        _check_platform(self._planned, self._shop.engine)
        self._shop.begin()
        while True:
            try:
                return self._run()
            except _LostStage as found:
                signature = found.parent.stage.signature
                if signature in self._lost:
                    raise found.error from found
                self._lost[signature] = found.parent.stored

    def find(self, stage: Stage) -> StoredStage | None:
        """The stored stage, unless it is lost, or was told of other images what is no longer true of them."""
        try:
            stored = self._shop.storage.find(stage.signature)
        except Gone:
            return None
        if stored is None or stage.signature in self._lost:
            return None
        if self._is_outdated(trusted_labels(stored, stage.signature)):
            self._lost[stage.signature] = stored
            return None
        return stored

    def _is_outdated(self, labels: StageLabels) -> bool:
        used = labels.dependencies
        found = [self._sources.built.find(name, self._planned.platform) for name in {item.image for item in used}]
        signatures = {image.planned.name: image.planned.signature for image in found if image}
        now = {name: (signature, self._sources.find(name, signature)) for name, signature in signatures.items()}
        return bool(now) and bool(list_outdated(used, now, self._shop.stage_names))

    def _run(self) -> BuiltImage:
        first_missing, parent = self._resume()
        for stage in self._planned.stages[first_missing:]:
            parent = self._build(stage, parent)
        if parent is None:
            raise Bug(f"expected image {self._planned.name!r} to have a stage, found none")
        return BuiltImage(self._planned, parent.stored, parent.labels, self._seconds)

    def _resume(self) -> tuple[int, Parent | None]:
        """The latest stage the storage has before the last one; the number of the first one it lacks."""
        for index in range(len(self._planned.stages) - 2, -1, -1):
            stage = self._planned.stages[index]
            if stored := self.find(stage):
                return index + 1, self._parent(stage, stored)
        return 0, None

    def _parent(self, stage: Stage, stored: StoredStage) -> Parent:
        """A stored stage as the parent of what comes next; its labels say what it was built on."""
        return Parent(stage, stored, trusted_labels(stored, stage.signature))

    def _build(self, stage: Stage, parent: Parent | None) -> Parent:
        with self._shared.turn(stage.signature) as made:
            if made is not None and made != self._lost.get(stage.signature):
                return self._parent(stage, made)
            built = self._build_alone(stage, parent)
            self._shared.keep(stage.signature, built.stored)
            return built

    def _build_alone(self, stage: Stage, parent: Parent | None) -> Parent:
        with self._placed(stage), Spool() as spool, self._losing(parent):
            started = time.monotonic()
            self._shop.stage_begun(self._planned.title, stage.name)
            making = Making(stage, parent, self._maker.take(stage, spool))
            making = replace(making, key=self._reuse_key(making))
            if reused := self._reuse(making):
                self._shop.stage_reused(self._planned.title, stage.name)
                return reused
            made = self._make(making)
            self._seconds[stage.name] = time.monotonic() - started
            self._shop.stage_built(self._planned.title, stage.name, self._seconds[stage.name])
            return made

    def _make(self, making: Making) -> Parent:
        stage = making.stage
        image = self._maker.make(making)
        stored = self._shop.election.publish(stage.signature, image, self._lost.get(stage.signature))
        made = self._parent(stage, stored)
        if stored.image_id == image:
            made.image = image
        if making.key and made.labels.reuse == making.key:
            self._shop.storage.name_reuse(making.key, stored)
        return made

    def _reuse_key(self, making: Making) -> str:
        """The stage's reuse key, empty where it has none."""
        stage, parent = making.stage, making.parent
        if isinstance(stage.work, FromImage):
            source = self._sources.find(stage.work.image, stage.work.signature)
            parent = Parent(stage, source, trusted_labels(source, stage.work.signature))
        if parent is None or not has_reuse_key(stage, parent.labels):
            return ""
        actual = parent
        identity = parent_identity(actual.stored, actual.labels, lambda: self._maker.config_of(actual))
        line = self._planned.stages[: self._planned.stages.index(stage) + 1]
        return reuse_key(self._planned.platform, line, identity, making.taken.content)

    def _reuse(self, making: Making) -> Parent | None:
        """The stage that was made of the same before, under this stage's labels; nothing runs."""
        stage = making.stage
        found = self._shop.storage.find_reuse(making.key) if making.key and stage.signature not in self._lost else None
        before = _labels_of(found, making.key) if found else None
        if found is None or before is None or not found.config.platform.serves(self._planned.platform):
            return None
        labels = replace(self._maker.labels(making), listing=before.listing, built_by=before.built_by)
        try:
            relabelled = self._shop.storage.relabel(stage.signature, found, labels.to_labels())
        except Gone:
            return None
        return self._parent(stage, self._shop.election.publish_stored(stage.signature, relabelled))

    def _rebuild(self, planned: PlannedImage, lost: StoredStage | None) -> BuiltImage:
        return _Line(planned, self._sources.built, self._shop, lost).run()

    @contextmanager
    def _losing(self, parent: Parent | None) -> Iterator[None]:
        """A parent that turns out to be lost when it is built on sends the line back to an earlier one."""
        try:
            yield
        except Gone as error:
            if parent is None or error is not parent.lost:
                raise
            raise _LostStage(parent, error) from error

    @contextmanager
    def _placed(self, stage: Stage) -> Iterator[None]:
        try:
            yield
        except AnswerIsNo as error:
            error.message = f"stage {stage.name!r} of image {self._planned.title!r}: {error.message}"
            error.where = error.where or self._planned.image.location
            tell_foreign(error, self._planned, stage, self._shop.engine)
            raise
        except InputError as error:
            error.where = error.where or self._planned.image.location
            raise


def _labels_of(stored: StoredStage, key: str) -> StageLabels | None:
    """The labels of a stage that has this reuse key; None for anything else that has the name."""
    try:
        labels = parse_stage_labels(stored.config.labels)
    except ValueError:
        return None
    return labels if labels.reuse == key else None
