"""``stagepin explain IMAGE``: why a stage has the signature it has, and why it is not the one of before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.pins import need_pins, pin_once
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import ScopedSession, Session
from ci_plugin.conveyor.plan import Plan, PlannedImage, make_plan
from ci_plugin.errors import DocumentError, InputError, Location
from ci_plugin.forge.workspace import read_document
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.record_file import parse_record_file
from ci_plugin.reports.tables import format_table, shorten_hashes
from ci_plugin.services.drifting import ReadOnly
from ci_plugin.services.explaining import Comparison
from ci_plugin.services.fetching import FoundRecord, get_record
from ci_plugin.values.platform import Platform

_SCOPES = ("pipeline:", "commit:", "scope:")


@click.command(
    "explain", help="Show the labelled inputs of IMAGE's stage signatures, and with --against what changed since a build record."
)
@click.argument("image")
@scope_options
@project_options
@click.option("--stage", metavar="STAGE", help="This stage only.")
@click.option(
    "--against",
    metavar="RECORD",
    help="A build record to compare with: a file such as an earlier job's build.json, or pipeline:ID, commit:ID, scope:TEXT.",
)
@click.pass_obj
def command(session: Session, scope: ScopeOptions, project: ProjectOptions, image: str, stage: str | None, against: str | None) -> int:
    run = ProjectSession(session, scope, project)
    run.check_buildable((image,))
    pins = (pin_once if run.pins_by_itself else need_pins)(run).pins
    plan = make_plan(run.configuration, pins, run.files, (image,), run.platforms)
    planned = [item for item in plan if item.name == image]
    names = list(dict.fromkeys(item.name for one in planned for item in one.stages))
    if stage is not None and stage not in names:
        raise InputError(f"expected a stage of {image!r}, found {stage!r}", hint=f"it has: {', '.join(names)}")
    if against is None:
        _show_inputs(run, planned, stage)
        _tell_changes(run, plan, planned, pins)
        return 0
    found = _find_scope(session, run, against) if against.startswith(_SCOPES) else _read_file(run, against)
    sentences = list(_compare(run, plan, planned, pins, found, stage))
    unchanged = (
        f"{image}: every stage signature is the recorded one" if stage is None else f"{image}: stage {stage} has the recorded signature"
    )
    run.console.result("\n".join(sentences) or unchanged)
    return 0


def _show_inputs(run: ProjectSession, planned: Sequence[PlannedImage], stage: str | None) -> None:
    for one in planned:
        stages = [item for item in one.stages if stage in (None, item.name)]
        rows = [(item.name, entry.label, entry.hash, entry.shown) for item in stages for entry in item.inputs]
        if one.is_one_of_several:
            run.console.result(f"{one.title}:")
        run.console.result(format_table(("STAGE", "INPUT", "SHA256 OF THE VALUE", "VALUE"), rows, run.console.width))
        run.console.result("\n".join(f"{item.name}: {item.signature}" for item in stages))


def _tell_changes(run: ProjectSession, plan: Plan, planned: Sequence[PlannedImage], pins: PinSet) -> None:
    """Which stages have other signatures than in the workspace's record, where that has the image; and what says why."""
    data, path = run.workspace.read_record(), run.workspace.record_path
    if data is None:
        return
    try:
        comparison = Comparison(plan, parse_record_file(data, str(path)), pins, run.clock.now())
    except DocumentError as error:
        run.console.event(f"not compared with the build record in the workspace: {error.message}")
        return
    stages = dict.fromkeys(change.stage for one in planned if (found := comparison.find(one)) for change in comparison.explain(one, found))
    if stages:
        says = f"`stagepin explain {planned[0].name} --against {path}` says why"
        run.console.event(f"changed since the build record of {comparison.record.scope}: {', '.join(stages)}; {says}")


def _compare(
    run: ProjectSession, plan: Plan, planned: Sequence[PlannedImage], pins: PinSet, found: FoundRecord, stage: str | None
) -> Iterator[str]:
    comparison = Comparison(plan, found.record, pins, run.clock.now())
    recorded = {one.platform: comparison.find(one) for one in planned}
    if not any(recorded.values()):
        raise _not_recorded(planned[0].name, list(recorded), found)
    for one in planned:
        before = recorded[one.platform]
        if before is None:
            yield f'"{one.name}" for {one.platform} is new'
            continue
        for change in comparison.explain(one, before):
            if stage in (None, change.stage):
                # Twelve digits tell digests apart, and keep a sentence one.
                yield change.sentence if run.options.verbosity > 0 else shorten_hashes(change.sentence)


def _not_recorded(name: str, platforms: Sequence[Platform], found: FoundRecord) -> InputError:
    image = found.record.images.get(name)
    has = ", ".join(map(str, image.platforms)) if image else ", ".join(found.record.images) or "no image"
    return InputError(
        f"expected {name!r} for {', '.join(map(str, platforms))} in {found.where}, found {has}",
        hint="compare with the record of a build that had this image",
    )


def _read_file(run: ProjectSession, against: str) -> FoundRecord:
    data = read_document(run.directory / Path(against))
    if data is None:
        raise DocumentError(
            f"expected a build record at {against}, found no file",
            hint="give the path of a build.json, or pipeline:ID for the record the store has of a pipeline",
            where=Location(against),
        )
    return FoundRecord(parse_record_file(data, against), Location(against))


def _find_scope(session: Session, run: ProjectSession, against: str) -> FoundRecord:
    """The record the store has of another scope; nothing is written into the workspace."""
    text = against.removeprefix("scope:")
    options = replace(run.scope_options, scope=text, is_scope_from_command_line=True, pin_checksum=None)
    other = ScopedSession(session, options)
    # Another commit's record, or that of a fork's code, is compared with; nothing of it is used.
    asking = replace(other.asking, any_commit=True, fork=None)
    return get_record(asking, ReadOnly(other.workspace, asking.key.scope), other.pin_store, other.clock, whole=True)
