"""Make the build record from what the storage adopted: read from the final image downwards, so that it is always a true chain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_plugin.conveyor.plan import ImagePlan, Plan, PlannedImage
from ci_plugin.conveyor.stage import BASE_DIGEST, BuildDockerfile, FromExternal, Unpinned
from ci_plugin.errors import AnswerIsNo
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.ports import PinStore, StagesStorage, StoredStage, Workspace
from ci_plugin.records.build_record import BaseRecord, BaseState, BuildRecord, ImageRecord, PlatformRecord, StageRecord
from ci_plugin.records.record_file import format_record_file, parse_record_file
from ci_plugin.records.stage_labels import Ancestor, StageLabels
from ci_plugin.services.building import BuiltImage
from ci_plugin.services.election import trusted_labels
from ci_plugin.services.finishing import FinishedImage, finish
from ci_plugin.services.pinning import Asking
from ci_plugin.threads import thread_pool
from ci_plugin.values.digest import Digest
from ci_plugin.values.reference import Repository

_AT_ONCE = 8


def make_record(
    finished: Iterable[FinishedImage],
    plan: Plan,
    pins: PinSet,
    asking: Asking,
    repository: Repository | None,
    *,
    published: bool,
    dirty: bool = False,
) -> BuildRecord:
    """The record of these images; complete when the plan left nothing out; ``dirty`` when the commit alone would have given others."""
    images = {image.plan.name: _image(image, repository) for image in finished if image.plan.is_deployable}
    return BuildRecord(
        scope=asking.key.scope,
        pipeline=asking.key.pipeline,
        commit=asking.commit,
        repository=repository,
        pins=pin_checksum(pins),
        complete=plan.is_complete,
        published=published,
        images=images,
        dirty=dirty,
    )


def require_built(plan: Plan, storage: StagesStorage) -> tuple[FinishedImage, ...]:
    """Every planned image as the storage has it; of several platforms that were built apart it makes the index.

    Raises AnswerIsNo naming all that are missing; builds nothing, needs no engine.
    """
    with thread_pool(_AT_ONCE) as pool:
        found = dict(pool.map(lambda planned: (planned.title, storage.find(planned.signature)), plan))
    missing = [f"{planned.title} ({planned.signature})" for planned in plan if found[planned.title] is None]
    if missing:
        raise AnswerIsNo(
            f"expected all {len(found)} images to be built, found {len(missing)} missing: {', '.join(missing)}",
            hint="run `stagepin build` for them in this scope first; `stagepin explain IMAGE --against RECORD` says what changed",
        )
    built = {
        title: BuiltImage(planned, stored, trusted_labels(stored, planned.signature))
        for planned in plan
        if (stored := found[title := planned.title])
    }
    return finish_all(plan, built, storage)


def finish_all(plan: Plan, built: Mapping[str, BuiltImage], storage: StagesStorage) -> tuple[FinishedImage, ...]:
    """Every image of the plan as it can be deployed; ``built``: what was planned by its title, as everybody adopted it."""

    def finish_one(image: ImagePlan) -> FinishedImage:
        return finish(image, {platform: built[planned.title] for platform, planned in image.platforms.items()}, storage)

    with thread_pool(_AT_ONCE) as pool:
        return tuple(pool.map(finish_one, plan.by_image))


def keep_record(record: BuildRecord, pins: bytes, asking: Asking, workspace: Workspace, store: PinStore | None) -> str:
    """Write the record to the workspace and, where it is whole, to the store; returns what to tell people, or nothing.

    ``pins`` is the pin file it was built from, byte for byte: the store files a record only beside those.

    The store keeps the first of two records that name the same digests: a retried job that built nothing changes nothing. A later commit
    of a scope that lives longer (a release train) has a record of its own all the same: ``verify`` asks for that commit. A store that says
    no (a registry whose tags are immutable) leaves the record in the workspace alone.
    """
    document = format_record_file(record)
    workspace.write_record(document)
    if store is None or not record.complete:
        return ""
    data = store.find_record(asking.key)
    if data is not None:
        kept = parse_record_file(data, store.name)
        has_same_digests = _contents(kept) == _contents(record)
        if has_same_digests and (kept.pins, kept.commit) == (record.pins, record.commit):
            return f"the build record in the {store.name} stays: it names the same digests"
    try:
        is_kept = store.put_record(asking.key, document, pins)
    except AnswerIsNo as error:
        # Every image is published and the record is in the workspace: what was built is not lost for the want of a copy of its record.
        return f"the build record is not kept in the {store.name}: {error.message}{f' ({error.hint})' if error.hint else ''}"
    if not is_kept:
        found = f"it holds other pins of {record.scope}, so a job that fetches would refuse it"
        return f"the build record is not kept in the {store.name}: {found}"
    if data is not None and not has_same_digests:
        return f"the build record in the {store.name} named other digests and was replaced; both sets stay pullable"
    return f"the build record is kept in the {store.name} too"


def _contents(record: BuildRecord) -> Mapping[str, object]:
    """What tells one build from another; in ``:local`` there is no digest but an image ID."""
    return {name: (image.digest, [platform.image_id for platform in image.platforms.values()]) for name, image in record.images.items()}


def _image(image: FinishedImage, repository: Repository | None) -> ImageRecord:
    digest = image.deployed.digest if image.deployed else None
    has_one_name = digest is not None or not image.plan.is_index
    return ImageRecord(
        reference=repository.at(digest) if repository and digest else None,
        digest=digest,
        media_type=image.deployed.media_type if image.deployed else "",
        tags=(image.plan.signature,) if has_one_name else tuple(built.planned.signature for built in image.platforms.values()),
        platforms={platform: _platform(built) for platform, built in image.platforms.items()},
    )


def _platform(built: BuiltImage) -> PlatformRecord:
    labels, descriptor = built.labels, built.stored.descriptor
    digest = descriptor.digest if descriptor else None
    return PlatformRecord(
        signature=built.planned.signature,
        digest=digest,
        image_id=built.stored.image_id,
        built_by=labels.built_by,
        base=_base(labels, built.planned),
        stages=_stages(built, digest),
        dependencies=labels.dependencies,
    )


def _base(labels: StageLabels, planned: PlannedImage) -> BaseRecord:
    """What the image was built on; ``kept`` where that is no longer what its reference is pinned to.

    Raises AnswerIsNo where the pinned digest is an input of the stage signature: an image of that name on another base is not that image.
    """
    work = planned.stages[0].work
    external = work.base if isinstance(work, BuildDockerfile) else work
    base = labels.base
    pinned = external.pinned.digest if isinstance(external, FromExternal) else None
    if isinstance(external, FromExternal | Unpinned) and base.digest != pinned:
        if any(item.label.startswith(BASE_DIGEST) for item in planned.stages[0].inputs):
            message = f"expected image {planned.name!r} on the base {pinned} its stage signature names, found it built on {base.digest}"
            raise AnswerIsNo(message, hint="somebody overwrote the tag; delete it in the repository, then build again")
        return BaseRecord(base.reference, base.digest, BaseState.KEPT, base.diff_ids)
    return base


def _stages(built: BuiltImage, digest: Digest | None) -> tuple[StageRecord, ...]:
    digests: Mapping[str, Ancestor] = {item.signature: item for item in built.labels.ancestors}
    return tuple(
        StageRecord(
            name=stage.name,
            signature=stage.signature,
            digest=digests[stage.signature].digest if stage.signature in digests else digest,
            built=stage.name in built.seconds,
            seconds=built.seconds.get(stage.name, 0.0),
            inputs=tuple((item.label, item.hash) for item in stage.inputs),
        )
        for stage in built.planned.stages
    )


def settled(built: BuiltImage, stored: StoredStage) -> BuiltImage:
    """The same image with what was adopted after the settle time."""
    if stored is built.stored:
        return built
    return BuiltImage(built.planned, stored, trusted_labels(stored, built.planned.signature), built.seconds)
