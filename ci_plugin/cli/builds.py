"""Runs a build's parts in order: plan, images over their graph, record; tells people and the CI what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ci_plugin.cli.outputs import as_json, image_references, write_outputs, write_summary
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.storages import Publishing, keeps_local, local_names, open_storage, refuse_tagged_indexes, tag_facts, tag_setter
from ci_plugin.config.parts import Secret
from ci_plugin.conveyor.plan import list_left_out, make_plan
from ci_plugin.errors import InputError, StageFailed, StagepinError
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.ports import OutputSink
from ci_plugin.records.build_record import BaseRecord, BuildRecord, BuiltBy, ImageRecord
from ci_plugin.records.record_file import record_checksum
from ci_plugin.reports.images import record_rows
from ci_plugin.reports.progress import Progress
from ci_plugin.reports.tables import format_table
from ci_plugin.services.building import BuiltImage, BuiltImages, Workshop, build_image
from ci_plugin.services.election import Election, is_superseded
from ci_plugin.services.finishing import FinishedImage
from ci_plugin.services.keeping import places_of
from ci_plugin.services.pinning import Adopted
from ci_plugin.services.recording import finish_all, keep_record, make_record, require_built, settled
from ci_plugin.services.scheduler import Outcome, run_graph
from ci_plugin.services.stage_work.dependencies import refuse_digests
from ci_plugin.services.stage_work.mounts import Surroundings
from ci_plugin.services.stage_work.secrets import find_agents, read_secrets
from ci_plugin.services.tagging import Tagged, fill_tags, set_tags
from ci_plugin.values.finding import Finding
from ci_plugin.values.reference import Reference, Repository


class Build:
    """One run of ``stagepin build`` over these images (none means all)."""

    def __init__(self, session: ProjectSession, adopted: Adopted, images: Sequence[str], publishing: Publishing) -> None:
        self._session = session
        self._adopted = adopted
        self._pins = pins = adopted.pins
        session.need_committed()
        self._plan = make_plan(session.configuration, pins, session.files, images, session.platforms)
        self._storage = open_storage(session, publishing)
        if self._storage.repository is None:
            refuse_digests(planned.image for planned in self._plan)
        self._keeps_local = keeps_local(session, publishing)
        self._tags = self._fill_tags(publishing.tags, images)
        self._progress = Progress(session.console, {planned.title: [stage.name for stage in planned.stages] for planned in self._plan})
        if left_out := list_left_out(session.configuration, pins):
            session.console.warning(
                f"{', '.join(left_out)}: pinned for {pins.scope}, and not in this job's configuration: the build record will be partial; "
                "give pin and build the same -C, --config and --dockerfile"
            )
        if platforms := self._plan.platforms_left_out:
            session.console.event(
                f"not for {', '.join(map(str, platforms))}: the build record will be partial; "
                "when every platform is built, `stagepin build --require-built` for all of them writes the whole one"
            )

    def require(self) -> int:
        """Write the whole record from what the storage has; no engine."""
        return self._record(require_built(self._plan, self._storage))

    def run(self, jobs: int) -> int:
        """Build over the graph; of several failures the smallest exit code counts: what fails for good before what a retry may heal."""
        seconds = self._session.settings.settle_seconds
        election = Election(self._storage, self._session.clock, seconds, stalled=self._tell_stalled)
        workshop = self._workshop(election)
        built = BuiltImages()

        plan = self._plan
        planned_as = {planned.title: planned for planned in plan}
        needs = {title: [plan.get(name, planned.platform).title for name in planned.needs] for title, planned in planned_as.items()}

        def work(title: str) -> BuiltImage:
            try:
                image = build_image(planned_as[title], built, workshop)
            finally:
                self._progress.image_ended(title)
            built.put(image)
            return image

        with self._progress.shown():
            try:
                outcome = run_graph(needs, work, jobs)
            except KeyboardInterrupt:
                self._session.engine.stop()
                raise
        if outcome.failed:
            return self._fail(outcome)
        images = {title: built.get(planned.name, planned.platform) for title, planned in planned_as.items()}
        stored = election.adopt({image.planned.signature: image.stored for image in images.values()})
        adopted = {title: settled(image, stored[image.planned.signature]) for title, image in images.items()}
        for title, image in adopted.items():
            if image.seconds and is_superseded(image.labels.base, stored):
                self._tell_superseded(title, image.labels.base)
        return self._record(finish_all(plan, adopted, self._storage))

    def _fill_tags(self, templates: Sequence[str], named: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
        """Every tag of this build, before anything is built: what a named image is built on gets none. Raises InputError."""
        session = self._session
        images = [image for image in self._plan.by_image if image.is_deployable and (not named or image.name in named)]
        tags = fill_tags(templates, [image.name for image in images], tag_facts(session)) if templates else {}
        if tags and self._storage.repository is None:
            refuse_tagged_indexes([image.name for image in images if image.is_index])
        return tags

    def _workshop(self, election: Election) -> Workshop:
        session, scope = self._session, self._session.asking.key.scope
        return Workshop(
            storage=self._storage,
            election=election,
            engine=session.engine,
            source=session.project_tree,
            directory=session.directory,
            built_by=BuiltBy(scope.text, session.asking.commit),
            output=self._output,
            stage_begun=self._progress.stage_begun,
            stage_built=self._progress.stage_built,
            places=self._places,
            copy_used=lambda pinned, copy: session.console.event(
                f"base {pinned} is gone from its registry; taken from the copy in {copy.repository}"
            ),
            stage_reused=self._progress.stage_reused,
            finding=self._tell_finding,
            leftover_removed=lambda name: session.console.detail(f"removed the container {name}, which an interrupted run had left"),
            sources=session.files.source,
            modified=self._time_of_files,
            surroundings=self._surroundings(),
            local_names=self._local_names(),
        )

    def _tell_finding(self, finding: Finding) -> None:
        self._session.console.warning(f"{finding.message}{f' ({finding.hint})' if finding.hint else ''}", rule=finding.rule)

    def _time_of_files(self) -> int:
        """The commit's; files that differ from it are as new as this run."""
        session = self._session
        return session.tree.commit_date() if session.project_tree is session.tree else int(session.clock.now().timestamp())

    def _surroundings(self) -> Surroundings:
        session = self._session
        home = session.environ.get("HOME")

        def read(secrets: Sequence[Secret]) -> Mapping[str, bytes]:
            return read_secrets(secrets, session.environ, session.directory, session.redactor.add)

        def find(text: str) -> Mapping[str, str]:
            return find_agents(text, session.environ)

        return Surroundings(session.configuration.project, session.directory, Path(home) if home else None, read, find)

    def _local_names(self) -> Repository | None:
        return None if self._storage.repository else local_names(self._session)

    def _tell_stalled(self, signature: str, seconds: float) -> None:
        """Who wrote later than everybody else waits may have overwritten what others have recorded; nobody else can know."""
        session = self._session
        waits = session.settings.settle_seconds
        session.console.warning(
            f"it took {seconds:.1f} s to name the stage {signature}, longer than an election waits ({waits:g} s): "
            "a job that built it meanwhile may have recorded another digest of it; both stay pullable and both verify "
            f"(`settle: {min(60, round(2 * seconds + 1))}` in .stagepin.yaml waits longer)"
        )

    def _tell_superseded(self, title: str, base: BaseRecord) -> None:
        """Built on what was only found, and what lost its own election after that."""
        self._session.console.warning(
            f"{title}: built on {base.digest}, which was {base.reference} when this build found it and is not any more: "
            "another job was building that, too; both stay pullable and both verify"
        )

    def _places(self, pinned: Reference) -> tuple[Reference, ...]:
        from ci_plugin.registry.mirrors import place_on_mirror

        mirrors = self._session.settings.mirrors.get(pinned.repository.registry, ())
        return places_of(pinned, [place_on_mirror(pinned, mirror) for mirror in mirrors], self._pins.keep)

    def _output(self, image: str, stage: str) -> OutputSink:
        """Lines go to a log file of the stage, and with -v to the console too."""
        path = self._session.workspace.start_log(image, stage)
        is_shown = self._session.options.verbosity > 0

        def write(line: str) -> None:
            with path.open("a", encoding="utf-8", errors="backslashreplace") as log:
                log.write(self._session.redactor.redact(line) + "\n")
            if is_shown:
                self._progress.add_line(image, line)

        return write

    def _fail(self, outcome: Outcome[BuiltImage]) -> int:
        console = self._session.console
        was_shown = self._session.options.verbosity != 0 and not console.has_sections
        for error in outcome.failed.values():
            if isinstance(error, StageFailed) and not was_shown:
                # Not in a section: forges show those closed, and this is what people look for.
                for line in error.output.splitlines():
                    console.build_output(line)
            console.error(error)
        for name, cause in outcome.skipped.items():
            console.warning(f"{name}: not built, it needs {cause}, which failed")
        return min((error.exit_code for error in outcome.failed.values()), default=StagepinError.exit_code)

    def _record(self, finished: Sequence[FinishedImage]) -> int:
        session = self._session
        for image in finished:
            if image.replaced:
                session.console.warning(f"{image.plan.name}: the index {image.replaced} listed other images than this build has; replaced")
        tagged = set_tags(finished, self._tags, tag_setter(session, self._storage))
        dirty = self._differs_from_commit()
        unpublished = [image.plan.name for image in finished if image.plan.is_deployable and image.deployed is None]
        record = make_record(
            finished,
            self._plan,
            self._pins,
            session.asking,
            session.repository,
            published=session.repository is not None and not unpublished,
            dirty=dirty,
        )
        record = replace(record, images={name: _with_tags(image, tagged.tags.get(name, ())) for name, image in record.images.items()})
        store = None if self._keeps_local else session.record_store
        kept = keep_record(record, self._adopted.document, session.asking, session.workspace, store)
        if kept:
            session.console.event(kept)
        if self._keeps_local and unpublished:
            session.console.event(f"not published, this engine alone has them: {', '.join(unpublished)}")
        self._tell(record, any(built.seconds for image in finished for built in image.platforms.values()))
        return self._tell_tags(tagged)

    def _tell_tags(self, tagged: Tagged) -> int:
        """What was recorded stands, whatever became of the tags; of several failures the smallest exit code counts."""
        names = self._storage.repository or local_names(self._session)
        for image, tags in tagged.tags.items():
            self._session.console.event(f"{image}: tagged {', '.join(str(names.tagged(tag)) for tag in tags)}")
        for error in tagged.failed:
            self._session.console.error(error)
        return min((error.exit_code for error in tagged.failed), default=0)

    def _differs_from_commit(self) -> bool:
        """Whether the commit alone would have given other images: a changed file that no image reads is no difference."""
        names = [image.name for image in self._plan.by_image]
        try:
            committed = self._session.committed_project()
            if committed is None:
                return False
            plan = make_plan(committed[0], self._pins, committed[1], names, self._session.platforms)
        except InputError:
            return True
        return {planned.title: planned.signature for planned in plan} != {planned.title: planned.signature for planned in self._plan}

    def _tell(self, record: BuildRecord, is_new: bool) -> None:
        session = self._session
        if record.dirty:
            session.console.warning(
                "built with files that differ from the commit; the record says so (dirty), and nothing of it is ever published"
            )
        session.console.result(
            format_table(("IMAGE", "REFERENCE", "BASE", "BASE DIGEST"), record_rows(record.images), session.console.width)
        )
        state = "complete" if record.complete else "partial"
        session.console.event(f"{state} build record {session.workspace.record_path}, checksum {record_checksum(record)}")
        outputs = {
            "images": as_json(image_references(record.images)),
            "any": "true" if is_new else "false",
            "pin-checksum": pin_checksum(self._pins),
            "record-checksum": record_checksum(record),
        }
        write_outputs(session, outputs)
        write_summary(session, "stagepin build", record, record.images)


def _with_tags(image: ImageRecord, tags: tuple[str, ...]) -> ImageRecord:
    return replace(image, tags=(*image.tags, *tags))
