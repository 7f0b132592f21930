"""Build one image: take what the storage has, make the stages it lacks, each published before the next is begun.

Nothing here decides what is needed (conveyor/plan.py) or in which order images come (scheduler.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.conveyor.stage import (
    BuildDockerfile,
    FromArchive,
    FromExternal,
    FromImage,
    FromScratch,
    PutDependencies,
    PutFiles,
    RunCommands,
    Stage,
    Unpinned,
    WriteConfig,
    WriteSpec,
)
from ci_plugin.errors import AnswerIsNo, Bug, InputError
from ci_plugin.ports import Engine, EngineImage, OutputSink, SourceTree, StagesStorage, StoredStage
from ci_plugin.records.build_record import BaseRecord, BuiltBy
from ci_plugin.records.stage_labels import Ancestor, StageLabels
from ci_plugin.services.election import Election, trusted_labels
from ci_plugin.services.stage_work.commands import run_commands
from ci_plugin.services.stage_work.config_change import write_config
from ci_plugin.services.stage_work.dockerfile import build_dockerfile, open_dockerfile
from ci_plugin.services.stage_work.opening import OpenBase, open_archive, open_external, open_image, open_scratch
from ci_plugin.services.stage_work.pulling import Bases, Places, pinned_place_only
from ci_plugin.values.digest import ImageId
from ci_plugin.values.reference import Reference


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An image that is in the storage now; ``seconds`` holds the stages this run built and how long each took."""

    planned: PlannedImage
    stored: StoredStage
    labels: StageLabels
    seconds: Mapping[str, float] = field(default_factory=dict)


def _tell_nobody(_pinned: Reference, _copy: Reference) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Workshop:
    """What building needs. The engine is not asked for anything where there is nothing to build."""

    storage: StagesStorage
    election: Election
    engine: Engine
    source: SourceTree
    directory: Path
    built_by: BuiltBy
    output: Callable[[str, str], OutputSink]
    """Image and stage name → where the lines of its build go."""
    stage_built: Callable[[str, str, float], None]
    """Told image, stage and seconds after every stage."""
    places: Places = pinned_place_only
    copy_used: Callable[[Reference, Reference], None] = _tell_nobody
    """Told once of every base that only a copy still has: what was pinned, and the copy."""
    bases: Bases = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bases", Bases(self.engine, self.places, self.copy_used))


def build_image(planned: PlannedImage, parents: Mapping[str, BuiltImage], workshop: Workshop) -> BuiltImage:
    """The image as the storage has it now. Where nothing changed: one manifest and one config request, no engine."""
    stored = workshop.storage.find(planned.signature)
    if stored is not None:
        return BuiltImage(planned, stored, trusted_labels(stored, planned.signature))
    _check_platform(planned, workshop.engine)
    return _Line(planned, parents, workshop).run()


def _check_platform(planned: PlannedImage, engine: Engine) -> None:
    native = engine.native_platform()
    if not planned.platform_was_chosen and not native.serves(planned.platform):
        raise InputError(
            f"expected an engine that runs {planned.platform} (the default platform), found one that runs {native}",
            hint=f"choose: `--platform {native}` builds for this engine; `--platform {planned.platform}` emulates, if the engine can",
        )


class _Line:
    """One image's stages being built in order: the parent so far, and what its labels will say."""

    def __init__(self, planned: PlannedImage, parents: Mapping[str, BuiltImage], workshop: Workshop) -> None:
        self._planned = planned
        self._parents = parents
        self._shop = workshop
        self._ancestors: list[Ancestor] = []
        self._base: BaseRecord | None = None
        self._parent: ImageId | None = None
        self._seconds: dict[str, float] = {}

    def run(self) -> BuiltImage:
        first_missing, stored = self._resume()
        for stage in self._planned.stages[first_missing:]:
            stored = self._build(stage)
        if stored is None:
            raise Bug(f"expected image {self._planned.name!r} to have a stage, found none")
        return BuiltImage(self._planned, stored, trusted_labels(stored, self._planned.signature), self._seconds)

    def _resume(self) -> tuple[int, StoredStage | None]:
        """Bring the latest stage the storage has; the number of the first one it lacks."""
        for index in range(len(self._planned.stages) - 2, -1, -1):
            stage = self._planned.stages[index]
            stored = self._shop.storage.find(stage.signature)
            if stored is not None:
                self._adopt(stage, stored, self._shop.storage.bring(stored))
                return index + 1, stored
        return 0, None

    def _build(self, stage: Stage) -> StoredStage:
        started = time.monotonic()
        try:
            image = self._make(stage)
        except AnswerIsNo as error:
            error.message = f"stage {stage.name!r} of image {self._planned.title!r}: {error.message}"
            error.where = error.where or self._planned.image.location
            raise
        stored = self._shop.election.publish(stage.signature, image.id)
        self._adopt(stage, stored, image.id if stored.image_id == image.id else self._shop.storage.bring(stored))
        self._seconds[stage.name] = time.monotonic() - started
        self._shop.stage_built(self._planned.title, stage.name, self._seconds[stage.name])
        return stored

    def _adopt(self, stage: Stage, stored: StoredStage, image: ImageId) -> None:
        """What the storage holds is the parent of what comes next, and its labels say what it was built on."""
        labels = trusted_labels(stored, stage.signature)
        digest = stored.descriptor.digest if stored.descriptor else None
        self._parent, self._base = image, labels.base
        self._ancestors = [*labels.ancestors, Ancestor(stage.name, stage.signature, digest)]

    def _make(self, stage: Stage) -> EngineImage:
        engine, output = self._shop.engine, self._shop.output(self._planned.title, stage.name)
        match stage.work:
            case Unpinned() as work:
                raise work.refusal
            case RunCommands() as work:
                return run_commands(work, self._get_parent(), self._labels(stage), engine, output)
            case WriteConfig() as work:
                return write_config(work, self._get_parent(), self._labels(stage), engine)
            case BuildDockerfile() as work:
                self._base, named = open_dockerfile(work, self._shop.bases, self._planned.platform)
                return build_dockerfile(named, self._labels(stage), self._planned.platform, engine, self._shop.source, output)
            case PutFiles() | PutDependencies() | WriteSpec():
                raise Bug(f"expected a stage that is built, found {stage.name!r}")
            case FromExternal() | FromScratch() | FromArchive() | FromImage() as work:
                opened = self._open(work, engine)
                self._base = opened.record
                return opened.begin(self._labels(stage))

    def _open(self, work: FromExternal | FromScratch | FromArchive | FromImage, engine: Engine) -> OpenBase:
        match work:
            case FromExternal():
                return open_external(work, self._shop.bases, engine)
            case FromScratch():
                return open_scratch(work, self._planned.platform, engine)
            case FromArchive():
                return open_archive(work, self._planned.platform, engine, self._shop.directory)
            case FromImage():
                parent = self._shop.election.settle(work.signature, self._parents[work.image].stored)
                return open_image(work, parent, self._shop.storage, engine)

    def _labels(self, stage: Stage) -> dict[str, str]:
        if self._base is None:
            raise Bug(f"expected a base before stage {stage.name!r}, found none")
        return StageLabels(stage.name, stage.signature, tuple(self._ancestors), self._base, self._shop.built_by).to_labels()

    def _get_parent(self) -> ImageId:
        if self._parent is None:
            raise Bug("expected a parent image, found none")
        return self._parent
