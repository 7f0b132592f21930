"""``stagepin drift``: which pinned references moved since, and what that would change. Information, unless ``--fail`` is given."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable
from dataclasses import replace

import click

from ci_plugin.cli.discussion import COMMENT_RIGHTS, get_change_request, open_discussion
from ci_plugin.cli.options import ProjectOptions, ScopeOptions, project_options, scope_options
from ci_plugin.cli.outputs import append_summary, write_outputs
from ci_plugin.cli.pins import check_registries
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.wiring import Session
from ci_plugin.config.git_references import list_git_references
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.config.references import list_references
from ci_plugin.conveyor.plan import make_plan
from ci_plugin.errors import AccessDenied, AnswerIsNo, InputError
from ci_plugin.pins.drift import DriftReport
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.ports import Discussion
from ci_plugin.reports.drift import drift_document, drift_markdown, drift_marker, format_drift
from ci_plugin.retry import RetryPolicy
from ci_plugin.services.drifting import ReadOnly, announce, find_drift, with_stages
from ci_plugin.services.pinning import get_pins

_FORMATS: dict[str, Callable[[DriftReport, int | None], str]] = {
    "text": format_drift,
    "json": lambda report, _: json.dumps(drift_document(report), indent=2),
    "markdown": lambda report, _: drift_markdown(report),
}
_MOST_NAMED = 5


@click.command(
    "drift", help="Show which pinned references moved since, and which images and stages that concerns. Exit 0: it is information."
)
@scope_options
@project_options
@click.option("--comment", is_flag=True, help="Write it as one comment on the merge or pull request, updated in place.")
@click.option("--fail", is_flag=True, help="Exit 1 where something moved that the next scope is built on.")
@click.option("--format", "format_", type=click.Choice(list(_FORMATS)), default="text", help="How it is written to stdout.")
@click.pass_obj
def command(session: Session, scope: ScopeOptions, project: ProjectOptions, comment: bool, fail: bool, format_: str) -> int:
    run = ProjectSession(session, scope, project)
    # Before any registry is asked: a job that cannot do what it was told should hear it at once.
    discussion = _open_discussion(run) if comment else None
    pins = _read_pins(run)
    report = _with_git(run, _name_stages(run, find_drift(pins, run.registry, run.clock)))
    run.console.result(_FORMATS[format_](report, run.console.width))
    write_outputs(run, {"drift": "true" if report.names_that_matter else "false"})
    append_summary(run, lambda: drift_markdown(report))
    if discussion is not None:
        _comment(run, report, discussion)
    if fail and report.names_that_matter:
        raise _refusal(report)
    return 0


def _open_discussion(run: ProjectSession) -> Discussion | None:
    """Where to comment; None, and said, where this token is known not to be able to."""
    number = get_change_request(run.context)
    try:
        return open_discussion(run.forge_access, run.environ, number)
    except AccessDenied as error:
        _tell_denied(run, error)
        return None


def _read_pins(run: ProjectSession) -> PinSet:
    is_named = run.scope_options.is_scope_from_command_line
    asking = replace(run.asking, any_commit=is_named)
    workspace = ReadOnly(run.workspace, asking.key.scope if is_named else None)
    adopted = get_pins(asking, workspace, run.pin_store, run.clock)
    check_registries(run, ((pin.reference, pin.place) for pin in adopted.pins.pins))
    run.console.event(f"pins of {adopted.pins.scope} from {adopted.source}", pins=len(adopted.pins.pins))
    return adopted.pins


def _name_stages(run: ProjectSession, report: DriftReport) -> DriftReport:
    """The report with stages, where this checkout tells them; that it does not is said, and stops nothing."""
    if not report.has_open_stages:
        return report
    if run.checkout is None:
        run.console.event("no checkout here: images are named as the pin file has them, stages are not")
        return report
    try:
        references = list_references(run.configuration, run.source, lambda image: choose_platforms(image, run.platforms))
        return with_stages(report, references, lambda pins, names: make_plan(run.configuration, pins, run.files, names, run.platforms))
    except InputError as error:
        run.console.warning(f"stages are not named, because this checkout cannot be planned with these pins: {error.message}")
        return report


def _with_git(run: ProjectSession, report: DriftReport) -> DriftReport:
    """The report with other git repositories, asked with the logins this checkout gives them, if any."""
    if not report.pins.git:
        return report
    from ci_plugin.services.drifting_git import find_git_drift

    try:
        references = list_git_references(run.configuration) if run.checkout is not None else ()
    except InputError as error:
        run.console.warning(f"other git repositories are asked without a login, because this checkout names none: {error.message}")
        references = ()
    return replace(report, git=find_git_drift(report.pins, references, run.repositories))


def _comment(run: ProjectSession, report: DriftReport, discussion: Discussion) -> None:
    marker = drift_marker(run.asking.key.pipeline, _directory(run), run.options.config)
    # The marker is no secret, and must stay what it is even where it looks like one: the next run finds the comment by it.
    body = f"{marker}\n\n{run.redactor.redact(drift_markdown(report))}"
    try:
        # Safe to repeat as a whole: the comment is found by its marker, also when the answer to writing it was lost.
        address = RetryPolicy(run.clock.sleep, tell=run.tell_retry).run(lambda: announce(report, discussion, marker, body))
    except AccessDenied as error:
        _tell_denied(run, error)
    else:
        run.console.event(f"comment written: {address}" if address else "nothing moved and no earlier comment to update: none written")


def _tell_denied(run: ProjectSession, error: AccessDenied) -> None:
    """A comment is an extra: a token that may not write one is told the right, and stops nothing."""
    run.console.warning(f"no comment was written: {error.message}; {COMMENT_RIGHTS[run.forge_access.forge]}")


def _directory(run: ProjectSession) -> str:
    """The project directory below the git top level: what tells the projects of one repository apart, wherever it is checked out."""
    if run.checkout is None:
        return posixpath.normpath(run.options.directory)
    return run.directory.resolve().relative_to(run.checkout.top.resolve()).as_posix()


def _refusal(report: DriftReport) -> AnswerIsNo:
    names = report.names_that_matter
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return AnswerIsNo(
        f"expected no pinned reference to have moved, found {', '.join(names[:_MOST_NAMED])}{more}",
        hint="run a new pipeline, which pins anew and is built on them; without --fail this is information",
    )
