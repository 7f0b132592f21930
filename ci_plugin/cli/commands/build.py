"""``stagepin build``: what is missing is built, published and recorded."""

from __future__ import annotations

import click

from ci_plugin.cli.builds import Build
from ci_plugin.cli.options import ProjectOptions, ScopeOptions, Setting, project_options, scope_options
from ci_plugin.cli.pins import need_pins, pin_once
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.storages import Publishing, cache_repo_option
from ci_plugin.cli.wiring import Session


@click.command("build", help="Build what is missing, publish it, write the build record. Images are built by digest only.")
@click.argument("images", nargs=-1)
@scope_options
@project_options
@click.option("--pin", is_flag=True, help="Pin first, in the same step (outside CI this is the default).")
@click.option("--require-built", is_flag=True, help="Build nothing: write the whole record, or exit 1 naming what is missing.")
@click.option(
    "--jobs", cls=Setting, type=click.IntRange(1, 64), envvar="STAGEPIN_JOBS", default=2, show_default=True, help="Images built at once."
)
@click.option("--no-publish", is_flag=True, help="Read the repository and keep new stages in this engine (implied for a fork's job).")
@cache_repo_option
@click.option(
    "--tag",
    "tags",
    cls=Setting,
    metavar="TEXT",
    envvar="STAGEPIN_TAG",
    multiple=True,
    help="Another tag for final images, with {image} {commit} {ref} {scope}; repeatable.",
)
@click.pass_obj
def command(
    session: Session,
    scope: ScopeOptions,
    project: ProjectOptions,
    images: tuple[str, ...],
    pin: bool,
    require_built: bool,
    jobs: int,
    no_publish: bool,
    cache_repos: tuple[str, ...],
    tags: tuple[str, ...],
) -> int:
    if pin and require_built:
        raise click.UsageError("expected --pin or --require-built, found both: the fan-in takes the pins its build jobs had")
    if no_publish and require_built:
        raise click.UsageError("expected --no-publish or --require-built, found both: the fan-in is about what was published")
    run = ProjectSession(session, scope, project)
    may_pin = (pin or run.pins_by_itself) and not require_built
    run.check_buildable(images)
    _ = run.repository  # where nothing says which repository, that comes before any work
    adopted = (pin_once if may_pin else need_pins)(run)
    build = Build(run, adopted, images, Publishing(not no_publish, cache_repos, tags))
    return build.require() if require_built else build.run(jobs)
