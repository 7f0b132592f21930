"""The four ``dependencies…`` stages: files of other images in one layer, and facts about other images as variables.

Facts are read from the settled stage of the source, and what was used is recorded (``DependencyValue``), so that verification can say
whether it is still true of what is deployed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ci_plugin.config.model import Image
from ci_plugin.conveyor.stage import PlannedDependency
from ci_plugin.errors import InputError, Location
from ci_plugin.ports import Engine, EngineImage, FileChanges, ImageChange, StoredStage
from ci_plugin.records.build_record import DependencyValue
from ci_plugin.services.stage_work.imports import Taken
from ci_plugin.values.canonical import Value
from ci_plugin.values.digest import ImageId
from ci_plugin.values.reference import Repository


@dataclass(frozen=True, slots=True)
class TakenFromOthers:
    """What a stage takes from other images: files in the order they are written, and facts."""

    files: tuple[Taken, ...] = ()
    facts: tuple[DependencyValue, ...] = ()

    @property
    def content(self) -> Value:
        """What it is, whatever the sources' stage signatures are."""
        files = tuple(sorted((item.content for item in self.files), key=str))
        return files, tuple((fact.type, fact.target, fact.value) for fact in self.facts)

    @property
    def values(self) -> dict[str, str]:
        """Variable or build argument → value."""
        return {fact.target: fact.value for fact in self.facts}


def put_dependencies(taken: TakenFromOthers, parent: ImageId, labels: Mapping[str, str], engine: Engine) -> EngineImage:
    """The child image: at most one layer more."""
    change = ImageChange(labels=labels, env=taken.values)
    if not taken.files:
        return engine.derive(parent, change)
    return engine.put_files(parent, FileChanges(written=[item.file for item in taken.files]), change)


def dependency_values(
    planned: PlannedDependency, stored: StoredStage, names: Repository, where: Location | None = None
) -> tuple[DependencyValue, ...]:
    """What one dependency hands over; ``names``: what stages are called, a registry's repository or the engine's own names.

    Raises InputError for a digest where nothing has one.
    """
    source = planned.source
    return tuple(
        DependencyValue(source.image, kind, target, fact_value(kind, source.signature, stored, names, where))
        for kind, target in planned.facts
    )


def refuse_digests(images: Iterable[Image]) -> None:
    """Before anything is built where nothing has a manifest. Raises InputError for the first image that is told the digest of another."""
    for image in images:
        for fact in (fact for item in image.dependencies for fact in item.imports if fact.type == "ImageDigest"):
            raise _no_digest(fact.location)


def fact_value(kind: str, signature: str, stored: StoredStage, names: Repository, where: Location | None = None) -> str:
    """One fact about a stored stage. ImageID is the digest of its config, ImageDigest that of its manifest for this platform."""
    match kind:
        case "ImageName":
            return str(names.tagged(signature))
        case "ImageTag":
            return signature
        case "ImageRepo":
            return str(names)
        case "ImageID":
            return str(stored.image_id)
        case _:
            if stored.descriptor is None:
                raise _no_digest(where)
            return str(stored.descriptor.digest)


def _no_digest(where: Location | None) -> InputError:
    message = "expected an image that has a digest for ImageDigest, found one in :local, where none has"
    return InputError(message, hint="take ImageID there, or build into a registry: `--repo REPOSITORY`", where=where)


def list_outdated(
    used: Iterable[DependencyValue], now: Mapping[str, tuple[str, StoredStage]], names: Repository
) -> Sequence[DependencyValue]:
    """Which recorded values are not those of the images as they are ``now``: name → (stage signature, stored stage)."""
    return tuple(item for item in used if item.image in now and item.value != fact_value(item.type, *now[item.image], names))
