"""``stagepin verify``: the deploy job's proof, from pins, record and registry alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.outputs import as_json, image_references, write_outputs, write_summary
from ci_plugin.cli.pins import check_registries, read_pins
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import ScopedSession, Session
from ci_plugin.conveyor.plan import make_plan
from ci_plugin.errors import InputError
from ci_plugin.forge.workspace import write_whole
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.records.record_file import record_checksum
from ci_plugin.reports.ci_outputs import env_file as format_env_file
from ci_plugin.reports.findings import findings_document, format_findings
from ci_plugin.reports.tables import format_table
from ci_plugin.services.fetching import FoundRecord, KeptWhereItCan, get_record
from ci_plugin.services.verifying import Expected, verify
from ci_plugin.values.pipeline import parse_commit
from ci_plugin.values.platform import Platform


@click.command("verify", help="Prove that what was built is what ships: exit 0 if so, 1 with findings if not. Asks no upstream registry.")
@click.argument("images", nargs=-1)
@scope_options
@project_options
@click.option("--commit", metavar="ID", help="The commit the record must be of, instead of this checkout's.")
@click.option("--recompute", is_flag=True, help="Also compute this checkout's stage signatures and compare.")
@click.option("--allow-fork", is_flag=True, help="Let pins pass that a fork's code made.")
@click.option("--env-file", metavar="FILE", help="Write STAGEPIN_IMAGE_<NAME>=repository@digest lines.")
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", help="How findings are written to stdout.")
@click.pass_obj
def command(
    session: Session,
    scope: ScopeOptions,
    project: ProjectOptions,
    images: tuple[str, ...],
    commit: str | None,
    recompute: bool,
    allow_fork: bool,
    env_file: str | None,
    format_: str,
) -> int:
    run = ProjectSession(session, scope, project)
    commit = _full_commit(commit)
    asking = run.asking
    any_commit = commit is None and run.scope_options.is_scope_from_command_line
    # A fork's pins are a finding here, not an error; and no registry they name is asked.
    asking = replace(asking, commit=commit or asking.commit, any_commit=any_commit, fork=None)
    workspace = KeptWhereItCan(run.workspace, run.console.event)
    pins = read_pins(run, asking, workspace).pins
    found = get_record(asking, workspace, run.pin_store, run.clock, whole=not images)
    selected = found.record.select(images, found.where)
    expected = Expected(
        commit=None if asking.any_commit else asking.commit,
        repository=run.repository if run.is_repository_named else None,
        pins=pins,
        signatures=_signatures(run, pins, selected) if recompute else None,
        fork=run.context.fork,
        allows_fork=allow_fork,
    )
    _check_repository(run, found)
    findings = verify(found.record, selected, expected, run.registry, found.where)
    references = image_references(selected)
    if env_file and not findings:
        _write_env_file(run, env_file, references)
    if format_ == "json":
        run.console.result(json.dumps(findings_document(findings), indent=2))
    else:
        rows = list(references.items())
        table = format_table(("VERIFIED IMAGE", "REFERENCE"), rows, run.console.width)
        run.console.result(format_findings(findings) if findings else table)
    write_outputs(
        run,
        {
            "images": as_json({} if findings else references),
            "verified": "false" if findings else "true",
            "pin-checksum": pin_checksum(pins),
            "record-checksum": record_checksum(found.record),
        },
    )
    write_summary(run, "stagepin verify: " + ("refused" if findings else "verified"), found.record, selected)
    return 1 if findings else 0


def _check_repository(run: ScopedSession, found: FoundRecord) -> None:
    """A record may name any repository: with a list of allowed registries this job is not led elsewhere."""
    repository = found.record.repository
    if repository is not None:
        check_registries(run, [(repository.tagged("any"), found.where)])


def _full_commit(text: str | None) -> str | None:
    try:
        return parse_commit(text) if text else None
    except ValueError as error:
        raise InputError(f"--commit: {error}", hint="write it whole: `git rev-parse NAME` prints it") from None


def _signatures(project: ProjectSession, pins: PinSet, images: Mapping[str, object]) -> Mapping[str, Mapping[Platform, str]]:
    plan = make_plan(project.configuration, pins, project.files, tuple(images), project.platforms)
    return {image.name: {platform: planned.signature for platform, planned in image.platforms.items()} for image in plan.by_image}


def _write_env_file(project: ProjectSession, name: str, references: Mapping[str, str]) -> None:
    write_whole(project.directory / Path(name), format_env_file(references).encode())
    project.console.event(f"written to {name}, images: {len(references)}")
