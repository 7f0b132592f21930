"""``stagepin plan``: what a build would do, without an engine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.pins import describe_base, need_pins, pin_once
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.storages import cache_repo_option, open_caches
from ci_plugin.cli.wiring import Session
from ci_plugin.conveyor.plan import ImagePlan, Plan, PlannedImage, make_plan
from ci_plugin.reports.tables import format_table
from ci_plugin.services.planning import ImageState, StageState, image_states
from ci_plugin.values.platform import Platform


@click.command("plan", help="Show every image, stage and stage signature, and whether it is in the storage. Needs no engine.")
@click.argument("images", nargs=-1)
@scope_options
@project_options
@cache_repo_option
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", help="How the plan is written to stdout.")
@click.pass_obj
def command(
    session: Session, scope: ScopeOptions, project: ProjectOptions, images: tuple[str, ...], cache_repos: tuple[str, ...], format_: str
) -> int:
    run = ProjectSession(session, scope, project)
    run.check_buildable(images)
    pins = (pin_once if run.pins_by_itself else need_pins)(run).pins
    plan = make_plan(run.configuration, pins, run.files, images, run.platforms)
    storage = run.storage if run.has_repository and run.repository else None
    states = image_states(plan, storage, open_caches(run, cache_repos))
    run.console.result(_as_json(plan, states) if format_ == "json" else _as_table(plan, states, run.console.width))
    if format_ == "table":
        images_of_plan = {planned.name: planned.image for planned in plan}.values()
        for image in images_of_plan:
            run.console.event(describe_base(image))
        run.tell_remotes(images_of_plan)
    return 0


def _as_table(plan: Plan, states: Mapping[str, ImageState], width: int | None) -> str:
    rows = [row for image in plan.by_image for row in _rows(image, states[image.name])]
    return format_table(("IMAGE", "PLATFORM", "STAGE", "STAGE SIGNATURE", "STATE"), rows, width)


def _rows(image: ImagePlan, state: ImageState) -> Iterator[tuple[str, str, str, str, str]]:
    for platform, planned in image.platforms.items():
        place = state.caches.get(platform)
        for stage, stage_state in zip(planned.stages, state.platforms[platform], strict=True):
            where = f" in {place}" if place and stage_state is StageState.CACHED else ""
            yield image.name, str(platform), stage.name, stage.signature, stage_state.value + where
    if state.index is not None:
        yield image.name, "all", "index", image.signature, state.index.value


def _as_json(plan: Plan, states: Mapping[str, ImageState]) -> str:
    images = {image.name: _image_document(image, states[image.name]) for image in plan.by_image}
    return json.dumps({"images": images}, indent=2)


def _image_document(image: ImagePlan, state: ImageState) -> dict[str, object]:
    """``index`` stands there only where several platforms are published as one."""
    platforms = {str(platform): _platform_document(planned, platform, state) for platform, planned in image.platforms.items()}
    index = {"index": {"signature": image.signature, "state": state.index.value}} if state.index else {}
    return {**index, "platforms": platforms}


def _platform_document(planned: PlannedImage, platform: Platform, state: ImageState) -> dict[str, object]:
    """``cacheRepo`` stands there only where a cache repository has the latest cached stage and the storage has not."""
    states, place = state.platforms[platform], state.caches.get(platform)
    stages = [
        {"name": stage.name, "signature": stage.signature, "state": stage_state.value}
        for stage, stage_state in zip(planned.stages, states, strict=True)
    ]
    cache = {"cacheRepo": str(place)} if place else {}
    return {"signature": planned.signature, "state": states[-1].value, **cache, "stages": stages}
