"""``stagepin explain IMAGE``: why a stage has the signature it has, and why it is not the one of before."""

from __future__ import annotations

from pathlib import Path

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.pins import need_pins, pin_once
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import Session
from ci_plugin.conveyor.plan import PlannedImage, make_plan
from ci_plugin.errors import DocumentError, InputError, Location
from ci_plugin.forge.workspace import read_document
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.record_file import parse_record_file
from ci_plugin.reports.tables import format_table
from ci_plugin.services.explaining import explain_change


@click.command(
    "explain", help="Show the labelled inputs of IMAGE's stage signatures, and with --against what changed since a build record."
)
@click.argument("image")
@scope_options
@project_options
@click.option("--stage", metavar="STAGE", help="This stage only.")
@click.option("--against", metavar="RECORD", help="A build record to compare with, such as an earlier job's build.json.")
@click.pass_obj
def command(session: Session, scope: ScopeOptions, project: ProjectOptions, image: str, stage: str | None, against: str | None) -> int:
    run = ProjectSession(session, scope, project)
    run.check_buildable((image,))
    pins = (pin_once if run.pins_by_itself else need_pins)(run).pins
    planned = make_plan(run.configuration, pins, run.files, (image,), run.platforms).get(image)
    names = [item.name for item in planned.stages]
    if stage is not None and stage not in names:
        raise InputError(f"expected a stage of {image!r}, found {stage!r}", hint=f"it has: {', '.join(names)}")
    if against is not None:
        run.console.result(_compare(run, planned, pins, against, stage))
    else:
        rows = [
            (item.name, entry.label, entry.hash, entry.shown)
            for item in planned.stages
            if stage in (None, item.name)
            for entry in item.inputs
        ]
        run.console.result(format_table(("STAGE", "INPUT", "SHA256 OF THE VALUE", "VALUE"), rows, run.console.width))
        run.console.result("\n".join(f"{item.name}: {item.signature}" for item in planned.stages if stage in (None, item.name)))
    return 0


def _compare(project: ProjectSession, planned: PlannedImage, pins: PinSet, against: str, stage: str | None) -> str:
    data = read_document(project.directory / Path(against))
    if data is None:
        raise DocumentError(
            f"expected a build record at {against}, found no file", hint="give the path of a build.json", where=Location(against)
        )
    record = parse_record_file(data, against)
    image = record.images.get(planned.name)
    recorded = image.platforms.get(planned.platform) if image else None
    if recorded is None:
        raise InputError(
            f"expected {planned.name!r} for {planned.platform} in {against}, found {', '.join(record.images) or 'no image'}",
            hint="compare with the record of a build that had this image",
        )
    sentences = [
        text
        for text in explain_change(planned, recorded, pins, project.clock.now())
        if stage is None or text.startswith(f'stage "{stage}"')
    ]
    return "\n".join(sentences) or f"{planned.name}: every stage signature is the recorded one"
