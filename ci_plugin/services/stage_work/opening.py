"""Open the base of an image: make it present in the engine, prove what it is, and say which layers it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ci_plugin.conveyor.stage import FromArchive, FromExternal, FromImage, FromScratch
from ci_plugin.errors import AnswerIsNo
from ci_plugin.ports import Engine, EngineImage, ImageChange, StagesStorage, StoredStage
from ci_plugin.records.build_record import BaseRecord, BaseState
from ci_plugin.services.stage_work.pulling import Bases
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform


@dataclass(frozen=True, slots=True)
class OpenBase:
    """A base that is ready: what the record will say of it, and how to make the ``from`` stage with given labels."""

    record: BaseRecord
    begin: Callable[[Mapping[str, str]], EngineImage]


def open_external(work: FromExternal, bases: Bases, engine: Engine) -> OpenBase:
    """Pull ``repository@digest``, from wherever it is. Raises AnswerIsNo where the pinned digest is for another platform."""
    image = bases.pull(work.pinned).image
    return OpenBase(external_record(work, image), lambda labels: engine.derive(image.id, ImageChange(labels=labels)))


def external_record(work: FromExternal, image: EngineImage) -> BaseRecord:
    """What was pinned, wherever it was pulled from. Raises AnswerIsNo where that is for another platform."""
    platform = work.platform
    if platform and not image.platform.serves(platform):
        raise AnswerIsNo(
            f"expected {work.pinned} to be an image for {platform}, found one for {image.platform}",
            hint=f"choose a base for {platform}, or ask for `--platform {image.platform}` when you pin and build",
        )
    return BaseRecord(str(work.name), work.pinned.digest, BaseState.PINNED, image.diff_ids)


def open_scratch(_work: FromScratch, platform: Platform, engine: Engine) -> OpenBase:
    """The empty base."""
    return OpenBase(BaseRecord(None, None, BaseState.SCRATCH, ()), lambda labels: engine.import_rootfs(None, platform, labels))


def open_archive(work: FromArchive, platform: Platform, engine: Engine, directory: Path) -> OpenBase:
    """A root filesystem below the project directory. Raises AnswerIsNo where it changed since the plan was made."""

    def begin(labels: Mapping[str, str]) -> EngineImage:
        image = engine.import_rootfs(directory / work.path, platform, labels)
        if image.diff_ids[:1] != (work.diff_id,):
            found = image.diff_ids[0] if image.diff_ids else "no layer"
            message = f"expected {work.path} to hold a tar of {work.diff_id}, found {found}: it changed while it was being built"
            raise AnswerIsNo(message, hint="run the build again")
        return image

    return OpenBase(BaseRecord(work.path, None, BaseState.ARCHIVE, (work.diff_id,)), begin)


def image_record(work: FromImage, parent: StoredStage, storage: StagesStorage) -> BaseRecord:
    """Another image of the configuration, as the storage has it."""
    digest = parent.descriptor.digest if parent.descriptor else None
    reference = str(storage.repository.tagged(work.signature)) if storage.repository else work.image
    return BaseRecord(reference, digest, BaseState.IMAGE, parent.config.diff_ids)


def open_image(image: ImageId, record: BaseRecord, engine: Engine) -> OpenBase:
    """Another image of the configuration, which was brought."""
    return OpenBase(record, lambda labels: engine.derive(image, ImageChange(labels=labels)))
