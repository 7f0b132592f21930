"""``stagepin plan``: what a build would do, without an engine."""

from __future__ import annotations

import json

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.pins import describe_base, need_pins, pin_once
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import Session
from ci_plugin.conveyor.plan import Plan, make_plan
from ci_plugin.reports.tables import format_table
from ci_plugin.services.planning import StageState, stage_states


@click.command("plan", help="Show every image, stage and stage signature, and whether it is in the storage. Needs no engine.")
@click.argument("images", nargs=-1)
@scope_options
@project_options
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", help="How the plan is written to stdout.")
@click.pass_obj
def command(session: Session, scope: ScopeOptions, project: ProjectOptions, images: tuple[str, ...], format_: str) -> int:
    run = ProjectSession(session, scope, project)
    run.check_buildable(images)
    pins = (pin_once if run.pins_by_itself else need_pins)(run).pins
    plan = make_plan(run.configuration, pins, run.files, images, run.platforms)
    storage = run.storage if run.has_repository and run.repository else None
    states = {planned.name: stage_states(planned, storage) for planned in plan}
    run.console.result(_as_json(plan, states) if format_ == "json" else _as_table(plan, states, run.console.width))
    if format_ == "table":
        for planned in plan:
            run.console.event(describe_base(planned.image))
    return 0


def _as_table(plan: Plan, states: dict[str, tuple[StageState, ...]], width: int | None) -> str:
    rows = [
        (planned.name, str(planned.platform), stage.name, stage.signature, state.value)
        for planned in plan
        for stage, state in zip(planned.stages, states[planned.name], strict=True)
    ]
    return format_table(("IMAGE", "PLATFORM", "STAGE", "STAGE SIGNATURE", "STATE"), rows, width)


def _as_json(plan: Plan, states: dict[str, tuple[StageState, ...]]) -> str:
    images = {
        planned.name: {
            "platforms": {
                str(planned.platform): {
                    "signature": planned.signature,
                    "state": states[planned.name][-1].value,
                    "stages": [
                        {"name": stage.name, "signature": stage.signature, "state": state.value}
                        for stage, state in zip(planned.stages, states[planned.name], strict=True)
                    ],
                }
            }
        }
        for planned in plan
    }
    return json.dumps({"images": images}, indent=2)
