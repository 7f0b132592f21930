"""Explain: the exact difference of a plan from a build record, as sentences people act on.

A record holds the hash of every input, no values. What a value was before is therefore known only where the record says it elsewhere
(the base), and which of many files changed is not known at all. An image that is taken from is followed one level down: to the stage of
it that changed by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ci_plugin.conveyor.plan import Plan, PlannedImage
from ci_plugin.conveyor.stage import BASE_DIGEST, SOURCE, BuildDockerfile, FromExternal, FromImage, Input, Stage
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.build_record import BuildRecord, PlatformRecord, StageRecord
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.digest import Digest
from ci_plugin.values.pipeline import Scope

_NOTHING = "the way of making stage signatures changed with stagepin's version"


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one stage since the record, in a sentence."""

    stage: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """A plan beside the record it is compared with. ``pins`` are those of the plan, ``now`` is the time of asking."""

    plan: Plan
    record: BuildRecord
    pins: PinSet
    now: datetime

    def find(self, planned: PlannedImage) -> PlatformRecord | None:
        """What the record has of an image for its platform; only deployed images are in one."""
        image = self.record.images.get(planned.name)
        return image.platforms.get(planned.platform) if image else None

    def explain(self, planned: PlannedImage, recorded: PlatformRecord) -> Iterator[Change]:
        """One change for every stage that has another signature; a stage that only follows its parent says so."""
        where = f'"{planned.name}"' + (f" ({planned.platform})" if planned.is_one_of_several else "")
        for stage, reasons in self._changed(planned, recorded, self._follow):
            why = "is new" if reasons is None else "changed because " + "; ".join(reasons)
            yield Change(stage.name, f'stage "{stage.name}" of {where} {why}')
        present = {stage.name for stage in planned.stages}
        for old in recorded.stages:
            if old.name not in present:
                yield Change(old.name, f'stage "{old.name}" of {where} is gone')

    def _changed(
        self, planned: PlannedImage, recorded: PlatformRecord, follow: Callable[[str, PlannedImage], str]
    ) -> Iterator[tuple[Stage, list[str] | None]]:
        """Every stage with another signature and why; None for a stage the record does not have."""
        before = {stage.name: (stage, parent) for stage, parent in zip(recorded.stages, _parents(recorded.stages), strict=True)}
        for stage, parent in zip(planned.stages, _parents(planned.stages), strict=True):
            if stage.name not in before:
                yield stage, None
                continue
            old, old_parent = before[stage.name]
            if old.signature != stage.signature:
                reasons = list(_Differences(self, stage, old, planned, recorded, follow).sentences())
                yield stage, reasons or [_parent_reason(parent, old_parent)]

    def _follow(self, image: str, user: PlannedImage) -> str:
        """Why another image that this one is made of has another signature."""
        source = self.plan.get(image, user.platform)
        before = self.find(source)
        if before is None:
            return f'image "{image}" changed (only deployed images are in a build record: what changed in it is not known)'
        for stage, reasons in self._changed(source, before, _name_only):
            why = "is new" if reasons is None else "changed because " + "; ".join(reasons)
            return f'image "{image}" changed: its stage "{stage.name}" {why}'
        return f'image "{image}" has fewer stages'


def _name_only(image: str, _user: PlannedImage) -> str:
    return f'image "{image}" changed'


def _parents(stages: Sequence[Stage | StageRecord]) -> Sequence[str]:
    """The name of every stage's parent, in order; the first has none."""
    return ["", *(stage.name for stage in stages)][: len(stages)]


def _parent_reason(parent: str, before: str) -> str:
    if parent != before:
        return f'its parent is stage "{parent}" now, it was stage "{before}"'
    return f'its parent, stage "{parent}", changed' if parent else _NOTHING


class _Differences:
    """The inputs of one stage beside those the record has of it."""

    def __init__(
        self,
        comparison: Comparison,
        stage: Stage,
        old: StageRecord,
        planned: PlannedImage,
        recorded: PlatformRecord,
        follow: Callable[[str, PlannedImage], str],
    ) -> None:
        self._comparison, self._stage, self._old = comparison, stage, old
        self._planned, self._recorded, self._follow = planned, recorded, follow

    def sentences(self) -> Iterator[str]:
        before = dict(self._old.inputs)
        for item in self._stage.inputs:
            recorded_hash = before.pop(item.label, None)
            if recorded_hash is None:
                yield f"{_named(item.label, self._stage)} was added ({item.shown})"
            elif recorded_hash != item.hash:
                yield self._changed(item, recorded_hash)
        for label in before:
            yield f"{_named(label, self._stage)} was removed"

    def _changed(self, item: Input, before: str) -> str:
        base = self._recorded.base
        word, _, target = item.label.partition(" ")
        if item.label == "base.reference" and base.reference and sha256_hex(base.reference) == before:
            return f"its base is {item.shown} now, it was {base.reference}"
        if item.label == "base.archive":
            return f"its archive changed{_from(base.diff_ids[:1], before)} to {item.shown}"
        if item.label == "base.image" and isinstance(self._stage.work, FromImage):
            return self._follow(self._stage.work.image, self._planned)
        if item.label.startswith(SOURCE):
            return self._follow(item.label.removeprefix(SOURCE).partition(" after ")[0], self._planned)
        if word == BASE_DIGEST and (name := self._base_name(item) or target):
            return f"{name} moved{_from([base.digest], before)} to {item.shown} ({self._pinned()})"
        if word == "import.digest" and target:
            return f"{target} moved to {item.shown} ({self._pinned()})"
        return f"{_named(item.label, self._stage)} changed (now {item.shown})"

    def _base_name(self, item: Input) -> str:
        """The reference this digest is of, where it is the base's: the digest of no other one is known from before."""
        work = self._stage.work
        external = work.base if isinstance(work, BuildDockerfile) else work
        is_base = isinstance(external, FromExternal) and item.value == str(external.pinned.digest)
        return str(external.name) if is_base and isinstance(external, FromExternal) else ""

    def _pinned(self) -> str:
        pins = self._comparison.pins
        return f"pinned {_whose(pins.scope)}, {_age(self._comparison.now, pins.created_at)}"


def _from(digests: Sequence[Digest | None], before: str) -> str:
    """Which of the digests the record knows is the one whose hash it has, said; or nothing."""
    return next((f" from {digest}" for digest in digests if digest and sha256_hex(str(digest)) == before), "")


def _named(label: str, stage: Stage) -> str:
    """What an input is, in people's words; a label nobody explains stands for itself."""
    word, _, target = label.partition(" ")
    match word, stage.name:
        case "git", "gitArchive":
            return f"the mapping of git files to {target}"
        case "git", _:
            return f"the content of the git files mapped to {target}"
        case "stageDependencies", _:
            return f"the content of the files mapped to {target} that `stageDependencies` names"
        case "import", _:
            return f"what is imported to {target}"
        case "dependency", _:
            return f"what is asked of image {target}"
        case "context", _ if not target:
            return "the content of the build context"
    return label


def _whose(scope: Scope) -> str:
    kind, _, name = scope.text.partition(":")
    if kind == "pipeline" and name:
        return f"by pipeline {name}"
    if kind == "commit" and name:
        return f"for commit {name[:12]}"
    return "at this desk" if scope.is_local else f"in scope {scope}"


def _age(now: datetime, then: datetime) -> str:
    minutes = max(0, int((now - then).total_seconds())) // 60
    if not minutes:
        return "just now"
    count, unit = (minutes, "minute") if minutes < 120 else (minutes // 60, "hour") if minutes < 2880 else (minutes // 1440, "day")
    return f"{count} {unit}{'' if count == 1 else 's'} ago"
