"""Drifting: ask the registries what every pinned reference means now, and say which stages that would change.

Reads only: no reference is resolved into a pin here, and no pin file is written. One HEAD for each reference; an index whose digest
moved is opened by one GET by digest. What one reference's registry says or does not say stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ci_plugin.config.references import ConfigReference
from ci_plugin.conveyor.plan import Plan, PlannedImage
from ci_plugin.errors import Bug, StagepinError, Unavailable
from ci_plugin.pins.drift import Drift, DriftReport
from ci_plugin.pins.pin_file import parse_pin_file
from ci_plugin.pins.pin_set import Pin, PinSet
from ci_plugin.ports import Clock, Discussion, Registry, Workspace
from ci_plugin.records.record_file import parse_record_file
from ci_plugin.threads import thread_pool
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor
from ci_plugin.values.pipeline import Scope
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference

_INDEXES_AT_ONCE = 8

Planning = Callable[[PinSet, Collection[str]], Plan]
"""Pins and image names (none: all) → the plan of this checkout, as ``conveyor.plan.make_plan`` gives it."""


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """A ``ports.Workspace`` that is read and left as it is: pins and records that the store has are not put into it.

    ``scope``: the one that was asked for by name, if any; a laptop's own are then passed over, and not refused as another job's.
    """

    workspace: Workspace
    scope: Scope | None = None

    @property
    def pins_path(self) -> Path:
        """Where the pin file is."""
        return self.workspace.pins_path

    @property
    def record_path(self) -> Path:
        """Where the build record is."""
        return self.workspace.record_path

    def read_pins(self) -> bytes | None:
        """The pin file's bytes, or None; None too where it is of another scope than the one asked for by name."""
        data = self.workspace.read_pins()
        if data is None or self.scope is None:
            return data
        return data if parse_pin_file(data, str(self.pins_path)).scope == self.scope else None

    def read_record(self) -> bytes | None:
        """The build record's bytes, or None; None too where it is of another scope than the one asked for by name."""
        data = self.workspace.read_record()
        if data is None or self.scope is None:
            return data
        return data if parse_record_file(data, str(self.record_path)).scope == self.scope else None

    def write_pins(self, data: bytes) -> None:
        """Nothing."""

    def write_record(self, data: bytes) -> None:
        """Nothing."""


def find_drift(pins: PinSet, registry: Registry, clock: Clock) -> DriftReport:
    """What every pin's reference means now; stages are not told yet. Raises Unavailable where no registry answered at all."""
    answers = registry.resolve([pin.reference for pin in pins.pins])
    failures = [answer for answer in answers.values() if isinstance(answer, Unavailable)]
    if failures and len(failures) == len(answers):
        raise Unavailable(
            f"expected an answer for one of {len(answers)} pinned references at least, found none: {failures[0].message}",
            hint=failures[0].hint,
            where=failures[0].where,
        )
    with thread_pool(_INDEXES_AT_ONCE) as pool:
        drifts = tuple(pool.map(lambda pin: _compare(pin, answers[pin.reference], registry), pins.pins))
    return DriftReport(pins, drifts, clock.now())


def with_stages(report: DriftReport, references: Iterable[ConfigReference], planning: Planning) -> DriftReport:
    """The same report, with the stages that each reference would give another signature if it alone moved.

    ``references`` are those of the configuration that is planned. Raises InputError where it cannot be planned with these pins.
    """
    users: dict[Reference, set[str]] = {}
    for use in references:
        users.setdefault(use.reference, set()).add(use.image)
    before = planning(report.pins, ())
    on = _list_dependents(before)

    def find_stages(pin: Pin, current: Digest, platforms: Mapping[Platform, Digest | None]) -> Mapping[str, tuple[str, ...]]:
        names = {name for user in users.get(pin.reference, ()) for name in on.get(user, ())}
        return _changed_stages(before, planning(_moved(report.pins, pin, current, platforms), sorted(names))) if names else {}

    def tell(drift: Drift) -> Drift:
        if drift.current is None or drift.failure is not None or drift.stages is not None:
            return drift
        return replace(drift, stages=find_stages(drift.pin, drift.current, drift.platforms))

    return replace(report, drifts=tuple(tell(drift) for drift in report.drifts))


def announce(report: DriftReport, discussion: Discussion, marker: str, body: str) -> str | None:
    """Write the one comment about this project's drift, and return its address.

    Where nothing that matters moved, an earlier comment is brought up to date and none is begun: None where there was none.
    Raises AccessDenied where the token may not comment.
    """
    if not report.names_that_matter and discussion.find_comment(marker) is None:
        return None
    return discussion.put_comment(marker, body)


def _compare(pin: Pin, answer: Descriptor | StagepinError, registry: Registry) -> Drift:
    if isinstance(answer, StagepinError):
        return _without_answer(pin, None, answer)
    if answer.digest == pin.digest:
        return Drift(pin, answer.digest, pin.platforms, stages={})
    if pin.digest is None:
        # What was pinned without a digest enters no stage signature.
        return Drift(pin, answer.digest, {}, stages={})
    try:
        return Drift(pin, answer.digest, _platforms_now(pin, answer, registry))
    except StagepinError as error:
        return _without_answer(pin, answer.digest, error)


def _without_answer(pin: Pin, current: Digest | None, error: StagepinError) -> Drift:
    if isinstance(error, Bug):
        raise error
    return Drift(pin, current, {}, failure=error)


def _platforms_now(pin: Pin, descriptor: Descriptor, registry: Registry) -> Mapping[Platform, Digest | None]:
    """What the pinned platforms are built on now. A single manifest is taken to be for the platform asked for, as the pin takes it."""
    if not pin.platforms or not descriptor.is_index:
        return dict.fromkeys(pin.platforms, descriptor.digest)
    manifest = registry.find_manifest(pin.reference.at(descriptor.digest))
    if manifest is None:
        message = f"expected {pin.reference.at(descriptor.digest)} to be there, found it absent right after it was asked for"
        raise Unavailable(message, hint="the registry may still be receiving it; ask again", where=pin.place)
    # Exactly as services/resolving reads an index that has two entries for one platform: else the same manifests would look moved.
    known = {platform: entry.digest for platform, entry in reversed(manifest.entries) if platform}
    return {wanted: next((digest for platform, digest in known.items() if platform.serves(wanted)), None) for wanted in pin.platforms}


def _list_dependents(plan: Plan) -> Mapping[str, set[str]]:
    """Image name → itself and every image that is built on it, however far up."""
    planned = {image.name: image for image in plan}
    found: dict[str, set[str]] = {}
    for image in plan:
        for base in _chain(image, planned):
            found.setdefault(base, set()).add(image.name)
    return found


def _chain(image: PlannedImage, planned: Mapping[str, PlannedImage]) -> Sequence[str]:
    names = [image.name]
    for name in names:
        names += [base for base in planned[name].needs if base not in names]
    return names


def _moved(pins: PinSet, pin: Pin, current: Digest, platforms: Mapping[Platform, Digest | None]) -> PinSet:
    """The pins as they would be if this one reference were pinned now."""
    # An index that lost a platform is no base for it; its own digest stands there, so that the stages that hang on it show.
    moved = replace(pin, digest=current, platforms={platform: digest or current for platform, digest in platforms.items()})
    return replace(pins, pins=tuple(moved if one is pin else one for one in pins.pins))


def _changed_stages(before: Plan, after: Plan) -> Mapping[str, tuple[str, ...]]:
    changed: dict[str, dict[str, None]] = {}
    for image in after:
        old = before.get(image.name, image.platform).stages
        names = [now.name for now, was in zip(image.stages, old, strict=True) if now.signature != was.signature]
        changed.setdefault(image.name, {}).update(dict.fromkeys(names))
    return {name: tuple(stages) for name, stages in changed.items() if stages}
