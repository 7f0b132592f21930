"""Drift for people and machines: a table with sentences, findings, the JSON document, and Markdown for summaries and comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ci_plugin.errors import AccessDenied, Gone
from ci_plugin.pins.drift import Drift, DriftReport, DriftState, GitDrift
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.reports.findings import findings_document
from ci_plugin.reports.markdown import render_markdown
from ci_plugin.reports.neutral import neutral
from ci_plugin.reports.tables import format_table
from ci_plugin.values.canonical import sha256_hex
from ci_plugin.values.document import pipeline_body
from ci_plugin.values.finding import Finding, Severity
from ci_plugin.values.pipeline import PipelineId
from ci_plugin.values.timestamp import format_time

RULES = {
    "drift-moved": "the reference means another image now, for whatever the next scope builds on it",
    "drift-unused": "the reference means another image now, and no stage is built on it by its digest",
    "drift-index": "the index is another one, and what is built on is not: nothing is rebuilt",
    "drift-gone": "the registry has the reference no more",
    "drift-denied": "the registry does not let us read the reference",
    "drift-unknown": "the registry gave no answer that can be used",
    "drift-git-moved": "the branch or tag means another commit now, whose files the next scope takes",
    "drift-git-gone": "the repository has the branch or tag no more",
    "drift-git-unknown": "the repository gave no answer that can be used",
}
"""Rule name → what became of the reference: a name is stable, pipelines may look for it."""

_HINTS = {
    "drift-moved": "nothing to do in this scope, it keeps its pins; a new pipeline builds on the new image",
    "drift-unused": "nothing to do",
    "drift-index": "nothing to do",
    "drift-gone": "build what this scope still needs before its pinned digest is collected too, and give the images another base",
}
_GIT_HINTS = {
    "drift-git-moved": "nothing to do in this scope, it keeps its commit; a new pipeline takes the new one",
    "drift-git-gone": "build what this scope still needs before the commit is collected too, and name another branch or tag",
}
_MOST_ROWS = 50
"""Rows of a comment: GitHub takes 65536 characters."""


@dataclass(frozen=True, slots=True)
class _Row:
    reference: str
    pinned: str
    current: str
    images: str
    stages: str


def drift_marker(project: PipelineId, directory: str, config: str | None) -> str:
    """The hidden line by which our comment is found again: one for each project, directory below its top, and configuration named."""
    return f"<!-- stagepin:drift:{sha256_hex(('drift', *project.identity, directory, config or ''))[:12]} -->"


def headline(report: DriftReport) -> str:
    """One line: how many moved, and how many nobody knows about."""
    if not report.drifts and not report.git:
        return "no reference is pinned"
    states = [*(drift.state for drift in report.drifts), *(drift.state for drift in report.git)]
    moved = states.count(DriftState.MOVED)
    others = {
        "that no stage is built on": moved - len(report.names_that_matter),
        "gone": states.count(DriftState.GONE),
        "unknown": states.count(DriftState.UNKNOWN),
    }
    text = f"{moved or 'none'} of {len(states)} pinned references moved"
    return ", ".join([text, *(f"{count} {name}" for name, count in others.items() if count)])


def format_drift(report: DriftReport, width: int | None = None) -> str:
    """A table of all references, a sentence for each that is not as it was, and the headline; ``width`` is the table's."""
    rows = [
        (str(drift.pin.reference), drift.state.value, str(drift.pin.digest or ""), str(drift.current or ""), ", ".join(drift.images))
        for drift in report.drifts
    ]
    rows += [(drift.pin.name, drift.state.value, drift.pin.commit, drift.current or "", ", ".join(drift.images)) for drift in report.git]
    table = [format_table(("REFERENCE", "STATE", "PINNED", "NOW", "IMAGES"), rows, width), ""] if rows else []
    sentences = [neutral(finding.message) for finding in drift_findings(report)]
    return "\n".join([*table, *sentences, neutral(headline(report))])


def drift_findings(report: DriftReport) -> tuple[Finding, ...]:
    """One finding, for information, for each reference that is not as it was pinned."""
    images = (
        Finding(rule, Severity.INFO, _sentence(drift, report.pins), drift.pin.place, _hint(rule, drift))
        for drift in report.drifts
        if (rule := _rule(drift))
    )
    repositories = (
        Finding(rule, Severity.INFO, _git_sentence(drift, report.pins), drift.pin.place, _git_hint(rule, drift))
        for drift in report.git
        if (rule := _git_rule(drift))
    )
    return (*images, *repositories)


def drift_document(report: DriftReport) -> dict[str, object]:
    """The JSON document of docs/drift.md."""
    pins = report.pins
    return {
        "scope": pins.scope.text,
        "pipeline": pipeline_body(pins.pipeline),
        "commit": pins.commit,
        "pinnedAt": format_time(pins.created_at),
        "askedAt": format_time(report.asked_at),
        "moved": bool(report.names_that_matter),
        **findings_document(drift_findings(report)),
        "drift": [_body(drift) for drift in report.drifts],
        **({"git": [_git_body(drift) for drift in report.git]} if report.git else {}),
    }


def drift_markdown(report: DriftReport) -> str:
    """A heading, a table of what moved and a list of the rest; foreign text stands in code spans."""
    moved = [*(_row(drift) for drift in report.that_matter), *(_git_row(drift) for drift in report.moved_git)]
    notes = [(str(drift.pin.reference), RULES[rule]) for drift in report.drifts if not drift.matters and (rule := _rule(drift))]
    notes += [(drift.pin.name, RULES[rule]) for drift in report.git if drift.state is not DriftState.MOVED and (rule := _git_rule(drift))]
    return render_markdown(
        "drift.md.j2",
        headline=headline(report),
        pinned=_pinned_in(report.pins),
        commit=report.pins.commit,
        asked=format_time(report.asked_at),
        rows=moved[:_MOST_ROWS],
        notes=notes[:_MOST_ROWS],
        more=max(0, len(moved) - _MOST_ROWS) + max(0, len(notes) - _MOST_ROWS),
    )


def _rule(drift: Drift) -> str | None:
    if drift.failure is not None:
        kinds = {Gone: "drift-gone", AccessDenied: "drift-denied"}
        return next((rule for kind, rule in kinds.items() if isinstance(drift.failure, kind)), "drift-unknown")
    if drift.state is DriftState.MOVED:
        return "drift-moved" if drift.matters else "drift-unused"
    return "drift-index" if drift.has_another_digest else None


def _hint(rule: str, drift: Drift) -> str:
    return _HINTS.get(rule) or (drift.failure.hint if drift.failure else "")


def _sentence(drift: Drift, pins: PinSet) -> str:
    pin = drift.pin
    pinned = f"pinned to {pin.digest or 'no digest'} at {format_time(pin.resolved_at)} in {_pinned_in(pins)}"
    used = f"used by {', '.join(drift.images) or 'no image'}"
    if drift.failure is not None:
        found = {"drift-gone": "is gone", "drift-denied": "may not be read"}.get(_rule(drift) or "", "gave no answer")
        return f"{pin.reference} {found} ({drift.failure.message}); {pinned}; {used}"
    parts = [f"{pin.reference} moved to {drift.current}{_for_platforms(drift)}", pinned, used, *_consequences(drift)]
    return "; ".join(parts)


def _for_platforms(drift: Drift) -> str:
    lost = [platform for platform in drift.moved_platforms if drift.platforms[platform] is None]
    kept = [platform for platform in drift.platforms if platform not in drift.moved_platforms]
    text = f", no longer for {', '.join(map(str, lost))}" if lost else ""
    if kept:
        text += f", with the same manifest for {', '.join(map(str, kept))}"
    return text


def _consequences(drift: Drift) -> Iterator[str]:
    if drift.stages:
        yield f"the next scope gives another stage signature to {_stages(drift.stages)}"
    elif drift.state is DriftState.UNCHANGED:
        yield "nothing is rebuilt"
    elif drift.stages is not None:
        yield "no stage signature changes: what is built already is kept"


def _stages(stages: Mapping[str, tuple[str, ...]]) -> str:
    return ", ".join(f"{image} ({', '.join(names)})" for image, names in stages.items())


def _pinned_in(pins: PinSet) -> str:
    scope, pipeline = pins.scope, pins.pipeline
    return str(scope) if scope.is_local or scope.text == f"pipeline:{pipeline.id}" else f"{scope} by pipeline {pipeline.id}"


def _row(drift: Drift) -> _Row:
    stages = "not known" if drift.stages is None else _stages(drift.stages) or "none"
    return _Row(str(drift.pin.reference), str(drift.pin.digest or ""), str(drift.current or ""), ", ".join(drift.images), stages)


def _body(drift: Drift) -> dict[str, object]:
    pin = drift.pin
    return {
        "reference": str(pin.reference),
        "pinned": None if pin.digest is None else str(pin.digest),
        "current": None if drift.current is None else str(drift.current),
        "platforms": {
            str(platform): {"pinned": str(digest), "current": str(now) if (now := drift.platforms.get(platform)) else None}
            for platform, digest in sorted(pin.platforms.items())
        },
        "state": drift.state.value,
        "matters": drift.matters,
        "images": list(drift.images),
        "stages": None
        if drift.stages is None
        else [{"image": image, "stage": stage} for image, names in drift.stages.items() for stage in names],
        "resolvedAt": format_time(pin.resolved_at),
        "reason": drift.failure.message if drift.failure else "",
    }


def _git_rule(drift: GitDrift) -> str | None:
    return None if drift.state is DriftState.UNCHANGED else f"drift-git-{drift.state.value}"


def _git_hint(rule: str, drift: GitDrift) -> str:
    return _GIT_HINTS.get(rule) or (drift.failure.hint if drift.failure else "")


def _git_sentence(drift: GitDrift, pins: PinSet) -> str:
    pin = drift.pin
    became = {DriftState.MOVED: f"moved to {drift.current}", DriftState.GONE: "is gone"}.get(drift.state)
    became = became or f"gave no answer ({drift.failure.message if drift.failure else ''})"
    pinned = f"pinned to {pin.commit} at {format_time(pin.resolved_at)} in {_pinned_in(pins)}"
    return f"{pin.name} {became}; {pinned}; used by {', '.join(drift.images) or 'no image'}"


def _git_row(drift: GitDrift) -> _Row:
    return _Row(drift.pin.name, drift.pin.commit, drift.current or "", ", ".join(drift.images), "not known")


def _git_body(drift: GitDrift) -> dict[str, object]:
    pin = drift.pin
    return {
        "url": pin.url,
        "ref": pin.ref,
        "pinned": pin.commit,
        "current": drift.current,
        "state": drift.state.value,
        "matters": drift.state is DriftState.MOVED,
        "images": list(drift.images),
        "resolvedAt": format_time(pin.resolved_at),
        "reason": drift.failure.message if drift.failure else "",
    }
