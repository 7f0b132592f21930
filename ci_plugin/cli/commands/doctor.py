"""``stagepin doctor``: what works here, and why not. It reads and asks; it changes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, scope_options
from ci_plugin.cli.wiring import TOOL, ProjectSession, Session
from ci_plugin.errors import StagepinError
from ci_plugin.reports.tables import format_table

_STORE_PROBE = "stagepin-doctor"
_WORKSPACE_GUARANTEE = "workspace only: one winner as long as one pin job hands .stagepin/pins.json on; kept as long as that CI artifact"


@click.command(
    "doctor", help="Show what works here, and why not: git, configuration, forge, scope, pins, stages storage, engine. Changes nothing."
)
@scope_options
@click.pass_obj
def command(session: Session, scope: ScopeOptions) -> int:
    run = ProjectSession(session, scope, ProjectOptions())
    questions: dict[str, Callable[[], str]] = {
        "tool": lambda: f"{TOOL}, Python {sys.version.split()[0]}",
        "git": lambda: f"commit {run.tree.commit} in {run.tree.top}",
        "configuration": lambda: _configuration(run),
        "forge": lambda: f"{run.context.forge}, scope {run.asking.key.scope}",
        "pins": lambda: _pins(run),
        "stages storage": lambda: _storage(run),
        "pin store": lambda: run.pin_store.guarantee if run.pin_store else _WORKSPACE_GUARANTEE,
        "engine": lambda: f"runs {run.engine.native_platform()}",
    }
    answers = {name: _ask(question) for name, question in questions.items()}
    rows = [(name, "no" if isinstance(answer, StagepinError) else "yes", _text(answer)) for name, answer in answers.items()]
    run.console.result(format_table(("WHAT", "WORKS", "HOW, OR WHY NOT"), rows))
    failed = [answer for answer in answers.values() if isinstance(answer, StagepinError)]
    # What is asked later often fails for the same reason: said once.
    for error in {(error.message, error.where): error for error in failed}.values():
        run.console.error(error)
    return 1 if failed else 0


def _ask(question: Callable[[], str]) -> str | StagepinError:
    try:
        return question()
    except StagepinError as error:
        return error


def _text(answer: str | StagepinError) -> str:
    return answer.message if isinstance(answer, StagepinError) else answer


def _configuration(run: ProjectSession) -> str:
    configuration = run.configuration
    names = ", ".join(image.name for image in configuration)
    return f"{configuration.file or 'Dockerfiles of the settings'} ({configuration.dialect}): {names}"


def _pins(run: ProjectSession) -> str:
    from ci_plugin.services.pinning import find_pins

    adopted = find_pins(run.asking, run.workspace, None, run.clock)
    return f"{len(adopted.pins.pins)} pins of {adopted.pins.scope} in the workspace" if adopted else "none in the workspace yet"


def _storage(run: ProjectSession) -> str:
    if run.repository is None:
        return ":local, the engine's own store (set --repo to share stages between jobs)"
    run.registry.find_descriptor(run.repository.tagged(_STORE_PROBE))
    return f"{run.repository} may be read; the first `stagepin pin` shows whether it may be written"
