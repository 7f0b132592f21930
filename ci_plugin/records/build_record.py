"""The build record of a scope: which image every name is, what it was built on, and by which stages.

Rules: a record names the pin file it was built from by its checksum; a partial record (one leg of a matrix) is never taken for the whole;
in ``:local`` an image has an image ID and no digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ci_plugin.errors import AnswerIsNo, DocumentError, Location
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository


class BaseState(StrEnum):
    """How an image came to its base: ``kept`` is a reused stage that keeps the base it was built on (no ``fromLatest``)."""

    PINNED = "pinned"
    KEPT = "kept"
    SCRATCH = "scratch"
    ARCHIVE = "archive"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class BaseRecord:
    """The base an image begins with: its layers are ``diff_ids``, in order. ``digest`` is the manifest that was pulled."""

    reference: str | None
    digest: Digest | None
    state: BaseState
    diff_ids: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class BuiltBy:
    """The scope and commit of the job that built an image first."""

    scope: str
    commit: str


@dataclass(frozen=True, slots=True)
class StageRecord:
    """One stage: ``inputs`` are (label, sha256 of the value, 64 hex); ``seconds`` is the time its build took in this job, else 0."""

    name: str
    signature: str
    digest: Digest | None
    built: bool
    seconds: float
    inputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class DependencyValue:
    """A fact about another image that was handed to a build: its ``type`` (``ImageID`` …), the variable or build argument, the value."""

    image: str
    type: str
    target: str
    value: str


@dataclass(frozen=True, slots=True)
class PlatformRecord:
    """An image for one platform; ``dependencies`` are the values its build was really given."""

    signature: str
    digest: Digest | None
    image_id: ImageId
    built_by: BuiltBy
    base: BaseRecord
    stages: tuple[StageRecord, ...]
    dependencies: tuple[DependencyValue, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An image by name; ``reference`` (``repository@digest``) and ``digest`` are what deploys use, None in ``:local``."""

    reference: Reference | None
    digest: Digest | None
    media_type: str
    tags: tuple[str, ...]
    platforms: Mapping[Platform, PlatformRecord]


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """What one scope built from its pins (``pins`` is the pin file's checksum)."""

    scope: Scope
    pipeline: PipelineId
    commit: str
    repository: Repository | None
    pins: str
    complete: bool
    published: bool
    images: Mapping[str, ImageRecord]
    dirty: bool = False
    """Whether uncommitted files went into the images; such a record is never published."""

    def select(self, names: Iterable[str], where: Location) -> Mapping[str, ImageRecord]:
        """The named images, or all of a complete record; at least one.

        Raises AnswerIsNo for a partial record without names, a name it lacks, and a record of nothing: no proof is no yes.
        """
        wanted = tuple(names)
        if not wanted and not self.complete:
            raise AnswerIsNo(
                f"expected a complete build record, found a partial one with {', '.join(self.images) or 'no image'}",
                hint="run `stagepin build --require-built` after the last build job, or name the images",
                where=where,
            )
        if not wanted and not self.images:
            raise AnswerIsNo(
                "expected an image in the build record, found none",
                hint="only images that are neither artifacts nor `final: false` are recorded; build one of those in this scope",
                where=where,
            )
        missing = [name for name in wanted if name not in self.images]
        if missing:
            raise AnswerIsNo(
                f"expected {', '.join(missing)} in the build record, found {', '.join(self.images) or 'no image'}",
                hint="build it in this scope first: `stagepin build " + " ".join(missing) + "`",
                where=where,
            )
        return {name: self.images[name] for name in (wanted or self.images)}

    def check_ours(self, key: ScopeKey, *, by_name: bool, where: Location) -> None:
        """Raise DocumentError unless this record is of that scope and (unless asked for by name outside CI) of our identity."""
        facts = [("scope", key.scope.text, self.scope.text)]
        if not by_name:
            facts += zip(("forge", "host", "project id"), key.pipeline.identity, self.pipeline.identity, strict=True)
        for name, expected, found in facts:
            if expected != found:
                raise DocumentError(
                    f"expected a build record of {name} {expected}, found {name} {found}",
                    hint=f"remove {where.file} and run `stagepin fetch`, or ask for that scope with `--scope {self.scope}`",
                    where=where,
                )
