"""Explain: the labelled inputs of a stage signature, and the exact difference from a build record, as sentences people act on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.conveyor.stage import BASE_DIGEST, BuildDockerfile, FromExternal, Input, Stage
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.build_record import PlatformRecord, StageRecord


def explain_change(planned: PlannedImage, recorded: PlatformRecord, pins: PinSet, now: datetime) -> Iterator[str]:
    """One sentence for every stage whose own inputs differ; a stage that only follows its parent is named once, after it."""
    before = {stage.name: stage for stage in recorded.stages}
    changed_parent = ""
    for stage in planned.stages:
        old = before.pop(stage.name, None)
        if old is None:
            yield f'stage "{stage.name}" of "{planned.name}" is new'
        elif old.signature == stage.signature:
            continue
        else:
            reasons = list(_differences(stage, old, planned, recorded, pins, now))
            if reasons:
                yield f'stage "{stage.name}" of "{planned.name}" changed because ' + "; ".join(reasons)
            else:
                cause = f'its parent, stage "{changed_parent}", changed' if changed_parent else "of the platform or the encoding's version"
                yield f'stage "{stage.name}" of "{planned.name}" changed because {cause}'
        changed_parent = stage.name
    for name in before:
        yield f'stage "{name}" of "{planned.name}" is gone'


def _differences(
    stage: Stage, old: StageRecord, planned: PlannedImage, recorded: PlatformRecord, pins: PinSet, now: datetime
) -> Iterator[str]:
    before = dict(old.inputs)
    for item in stage.inputs:
        recorded_hash = before.pop(item.label, None)
        if recorded_hash is None:
            yield f"{item.label} was added ({item.shown})"
        elif recorded_hash != item.hash:
            yield _moved_base(item, planned, recorded, pins, now) or f"{item.label} changed (now {item.shown})"
    for label in before:
        yield f"{label} was removed"


def _moved_base(item: Input, planned: PlannedImage, recorded: PlatformRecord, pins: PinSet, now: datetime) -> str | None:
    """The sentence for the commonest cause of all: the base's tag moved. Other digests than the base's are not in the record."""
    work = planned.stages[0].work
    external = work.base if isinstance(work, BuildDockerfile) else work
    if not isinstance(external, FromExternal) or not item.label.startswith(BASE_DIGEST) or item.value != str(external.pinned.digest):
        return None
    minutes = max(0, int((now - pins.created_at).total_seconds())) // 60
    return (
        f"{external.name} moved from {recorded.base.digest} to {external.pinned.digest} "
        f"(pinned by {pins.scope.text.replace(':', ' ', 1)}, {minutes} minutes ago)"
    )
