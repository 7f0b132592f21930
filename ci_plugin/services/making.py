"""Make one stage: dispatch by kind of work to stage_work/, and write the labels that say what was really used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ci_plugin.config.model import StapelImage
from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.conveyor.stage import (
    BuildDockerfile,
    FromArchive,
    FromExternal,
    FromImage,
    FromScratch,
    PlannedDependency,
    PlannedImport,
    PutDependencies,
    PutFiles,
    RunCommands,
    SourceStage,
    Stage,
    Unpinned,
    WriteConfig,
    WriteSpec,
)
from ci_plugin.errors import Bug, Gone, Location
from ci_plugin.ports import ImageChange, OutputSink, PathChange, StoredStage
from ci_plugin.records.build_record import BaseRecord, DependencyValue
from ci_plugin.records.stage_labels import Ancestor, StageLabels
from ci_plugin.services.stage_work.commands import run_commands
from ci_plugin.services.stage_work.config_change import write_config
from ci_plugin.services.stage_work.dependencies import TakenFromOthers, dependency_values, put_dependencies
from ci_plugin.services.stage_work.dockerfile import build_dockerfile, build_settings, named_parents, open_dockerfile
from ci_plugin.services.stage_work.files import sync_files, tracked_finding, tracked_writes
from ci_plugin.services.stage_work.image_spec import write_spec
from ci_plugin.services.stage_work.imports import ImportReader, Taken, merged
from ci_plugin.services.stage_work.opening import (
    OpenBase,
    external_record,
    image_record,
    open_archive,
    open_external,
    open_image,
    open_scratch,
)
from ci_plugin.services.stage_work.sources import Sources
from ci_plugin.services.stage_work.spool import Spool
from ci_plugin.services.workshop import Workshop
from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.finding import Finding, Severity
from ci_plugin.values.image_listing import ImageListing
from ci_plugin.values.reference import Reference

IMPORT_LEAVES_OUT = "import-leaves-out"
"""The rule of an import that takes less than it names."""


@dataclass(slots=True)
class Parent:
    """A stored stage that the next one is made on; ``image`` once it is in the engine, ``lost`` what said that it cannot be built on."""

    stage: Stage
    stored: StoredStage
    labels: StageLabels
    image: ImageId | None = None
    lost: Gone | None = None

    @contextmanager
    def losing(self) -> Iterator[None]:
        """Around what shows that it is lost."""
        try:
            yield
        except Gone as error:
            self.lost = error
            raise


@dataclass(frozen=True, slots=True)
class Making:
    """One stage to be made: on what (None: it is the first), of what it takes from other images, and its reuse key, empty for none."""

    stage: Stage
    parent: Parent | None
    taken: TakenFromOthers
    key: str = ""

    def get_parent(self) -> Parent:
        """The parent. Raises Bug where the first stage of an image is one that needs one."""
        if self.parent is None:
            raise Bug(f"expected a stage before {self.stage.name!r}, found none")
        return self.parent


class Maker:
    """Makes the stages of one image; publishes nothing."""

    def __init__(self, planned: PlannedImage, workshop: Workshop, sources: Sources) -> None:
        self._planned, self._shop, self._sources = planned, workshop, sources

    def take(self, stage: Stage, spool: Spool) -> TakenFromOthers:
        """What a stage takes from other images, its bytes in ``spool``."""
        match stage.work:
            case PutDependencies() as work:
                files = merged([self._import(stage, item, spool) for item in work.imports])
                return TakenFromOthers(files, self._facts(work.dependencies))
            case BuildDockerfile() as work:
                return TakenFromOthers(facts=self._facts(work.dependencies))
            case _:
                return TakenFromOthers()

    def make(self, making: Making) -> ImageId:
        """The stage's image in the engine, with its labels. Raises Gone, which the parent remembers, where the parent is lost."""
        engine, output = self._shop.engine, self._shop.output(self._planned.title, making.stage.name)
        match making.stage.work:
            case Unpinned() as work:
                raise work.refusal
            case RunCommands() as work:
                return self._run(work, making, output)
            case PutFiles() as work:
                labels = self._text(making, listing=self._shop.listings.keep(work.files))
                return self._sync(work.files, making.get_parent(), ImageChange(labels=labels))
            case PutDependencies():
                return put_dependencies(making.taken, self._bring(making), self._text(making), engine).id
            case WriteConfig() as work:
                return write_config(work, self._bring(making), self._text(making), engine).id
            case WriteSpec() as work:
                return write_spec(work, self._bring(making), self._text(making), engine).id
            case BuildDockerfile() as work:
                with named_parents(self._parents(work), engine) as parents:
                    base, named = open_dockerfile(work, self._shop.bases, self._planned.platform, parents)
                    return self._build(named, making, base, output)
            case FromExternal() | FromScratch() | FromArchive() | FromImage() as work:
                opened = self._open(work)
                return opened.begin(self._text(making, opened.record)).id

    def labels(self, making: Making, base: BaseRecord | None = None, listing: str | None = None) -> StageLabels:
        """What a stage says of itself: the first one names ``base``, later ones their parent's; ``listing`` unless given the parent's."""
        stage, parent, built_by = making.stage, making.parent, self._shop.built_by
        if parent is None:
            return StageLabels(
                stage.name, stage.signature, (), base or self._source_record(stage), built_by, "", making.taken.facts, making.key
            )
        before = parent.labels
        return StageLabels(
            stage.name,
            stage.signature,
            (*before.ancestors, Ancestor(parent.stage.name, parent.stage.signature, digest_of(parent.stored))),
            before.base,
            built_by,
            before.listing if listing is None else listing,
            (*before.dependencies, *making.taken.facts),
            making.key,
        )

    def bring(self, parent: Parent) -> ImageId:
        """The parent in the engine. Raises Gone, which the parent remembers, where its layers are lost."""
        if parent.image is None:
            with parent.losing():
                parent.image = self._shop.storage.bring(parent.stored)
        return parent.image

    def config_of(self, parent: Parent) -> Mapping[str, object]:
        """The parent's config, as the engine has it."""
        image = self.bring(parent)
        found = self._shop.engine.find_image(str(image))
        if found is None:
            raise Gone(f"expected the engine to have the image {image}, found none", hint="was it pruned meanwhile? run again")
        return found.config

    def _bring(self, making: Making) -> ImageId:
        return self.bring(making.get_parent())

    def _text(self, making: Making, base: BaseRecord | None = None, listing: str | None = None) -> dict[str, str]:
        return self.labels(making, base, listing).to_labels()

    def _run(self, work: RunCommands, making: Making, output: OutputSink) -> ImageId:
        shop, stage, files = self._shop, making.stage.name, work.files
        settings = shop.surroundings.settings(work)
        if files is None:
            return run_commands(work, self._bring(making), self._text(making), shop.engine, output, settings).id

        def tell(changes: Sequence[PathChange]) -> None:
            if paths := tracked_writes(work, changes):
                shop.finding(tracked_finding(self._planned.title, stage, paths))

        labels = self._text(making, listing=shop.listings.keep(files))
        return run_commands(work, self._sync(files, making.get_parent(), None), labels, shop.engine, output, settings, tell).id

    def _sync(self, files: ImageListing, parent: Parent, change: ImageChange | None) -> ImageId:
        with parent.losing():
            before = self._shop.listings.get(parent.labels.listing)
        return sync_files(files, before, self.bring(parent), change, self._shop.git, self._shop.engine)

    def _build(self, work: BuildDockerfile, making: Making, base: BaseRecord, output: OutputSink) -> ImageId:
        shop, labels, platform = self._shop, self._text(making, base), self._planned.platform
        settings = build_settings(work, shop.surroundings.secrets, shop.surroundings.agents)
        return build_dockerfile(
            work, labels, platform, shop.engine, shop.source, output, settings=settings, build_args=making.taken.values
        ).id

    def _parents(self, work: BuildDockerfile) -> Iterator[tuple[str, Reference, ImageId, BaseRecord]]:
        """The images of the configuration that a Dockerfile takes, in the engine."""
        for stand_in, source in work.parents:
            stored, image = self._sources.bring(source.image, source.signature)
            yield source.image, stand_in, image, image_record(FromImage(source.image, source.signature), stored, self._shop.storage)

    def _open(self, work: FromExternal | FromScratch | FromArchive | FromImage) -> OpenBase:
        engine, platform = self._shop.engine, self._planned.platform
        match work:
            case FromExternal():
                return open_external(work, self._shop.bases, engine)
            case FromScratch():
                return open_scratch(work, platform, engine)
            case FromArchive():
                return open_archive(work, platform, engine, self._shop.directory)
            case FromImage():
                stored, image = self._sources.bring(work.image, work.signature)
                return open_image(image, image_record(work, stored, self._shop.storage), engine)

    def _source_record(self, stage: Stage) -> BaseRecord:
        if not isinstance(stage.work, FromImage):
            raise Bug(f"expected a base before stage {stage.name!r}, found none")
        return image_record(stage.work, self._sources.find(stage.work.image, stage.work.signature), self._shop.storage)

    def _import(self, stage: Stage, planned: PlannedImport, spool: Spool) -> tuple[Taken, ...]:
        source, where = planned.source, self._place(planned)

        def tell(message: str) -> None:
            self._shop.finding(
                Finding(IMPORT_LEAVES_OUT, Severity.WARNING, f"stage {stage.name!r} of image {self._planned.title!r}: {message}")
            )

        reader = ImportReader(self._shop.engine, spool, tell)
        match source:
            case Unpinned():
                raise source.refusal
            case SourceStage():
                _, image = self._sources.bring(source.image, source.signature)
                return reader.read(image, f"image {source.image!r}", planned.files, where)
            case FromExternal():
                pulled = self._shop.bases.pull(source.pinned).image
                external_record(source, pulled)
                return reader.read(pulled.id, str(source.name), planned.files, where)

    def _place(self, planned: PlannedImport) -> Location:
        """Where the import is written: a plan does not carry it."""
        imports = self._planned.image.imports if isinstance(self._planned.image, StapelImage) else ()
        return next((item.location for item in imports if item.files == planned.files), self._planned.image.location)

    def _facts(self, dependencies: Sequence[PlannedDependency]) -> tuple[DependencyValue, ...]:
        return tuple(value for item in dependencies for value in self._values(item))

    def _values(self, planned: PlannedDependency) -> tuple[DependencyValue, ...]:
        source = planned.source
        where = next((item.location for item in self._planned.image.dependencies if item.image == source.image), None)
        return dependency_values(planned, self._sources.find(source.image, source.signature), self._shop.stage_names, where)


def digest_of(stored: StoredStage) -> Digest | None:
    """The manifest digest of a stored stage; None in ``:local``."""
    return stored.descriptor.digest if stored.descriptor else None
