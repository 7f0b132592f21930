"""``stagepin doctor``: what works here, and why not; what each store would give, and which right is missing. It reads and changes nothing.

A store that nobody chose, and what a pipeline can do without, may fail: that is shown and is no failure of the command. A job that pins,
verifies or deploys has no engine: it is an extra, unless the stages storage is the engine's own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial

import click

from ci_plugin.cli.options import ProjectOptions, ScopeOptions, scope_options
from ci_plugin.cli.project import ProjectSession
from ci_plugin.cli.unbuilt import describe_unbuilt
from ci_plugin.cli.wiring import TOOL, Session
from ci_plugin.errors import InputError, StagepinError
from ci_plugin.ports import PinStore, Registry
from ci_plugin.reports.neutral import neutral
from ci_plugin.reports.tables import format_table
from ci_plugin.services.examining import AskedOnce, Examined, ask_once, examine_store
from ci_plugin.services.pinning import Asking
from ci_plugin.values.pipeline import Scope, ScopeKey
from ci_plugin.values.store_name import STORES

_PROBE = "stagepin-doctor"
_MARKER = "<!-- stagepin-doctor -->"
_WORKSPACE_GUARANTEE = "one winner as long as one pin job hands .stagepin/pins.json on; kept as long as that CI artifact"
_WRITING = {
    "stages-storage": "writing needs the right `build` has anyway: to push to that repository",
    ":local": "writing needs the engine, as `build` does anyway",
    "git-ref": "writing needs `permissions: {contents: write}` in the jobs that pin and build",
    "generic-package": "writing needs the role Developer or higher",
    "ci-artifact": "nothing is written: the CI takes .stagepin/ when the pin job hands it on as its artifact",
    "workspace": "",
}
_ONE_FORGES = {"git-ref": "github", "generic-package": "gitlab"}
_FORGES = {"github": "GitHub", "gitlab": "GitLab"}


@dataclass(frozen=True, slots=True)
class _Check:
    """One question about this place. ``is_extra``: a pipeline can do without."""

    name: str
    answer: str
    error: StagepinError | None = None
    is_extra: bool = False


class _Visit(ProjectSession):
    """A session that asks a registry or an engine that gave no answer only once."""

    @cached_property
    def registry(self) -> Registry:
        """The client for every registry, to read."""
        return AskedOnce(super().registry)

    @cached_property
    def ask_engine(self) -> Callable[[], str]:
        """What the engine runs natively; the error it raises where there is none is kept too."""
        return ask_once(lambda: str(self.engine.native_platform()))

    @property
    def is_stored_in_engine(self) -> bool:
        """Whether the stages storage is the engine's own; what is wrong with the repository the rows say."""
        try:
            return self.repository is None
        except StagepinError:
            return False


@click.command(
    "doctor",
    help="Show what works here, and why not: git, configuration, forge, scope, pins, stages storage, engine; and what each store of pins "
    "would give. Changes nothing.",
)
@scope_options
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", help="How it is written to stdout.")
@click.pass_obj
def command(session: Session, scope: ScopeOptions, format_: str) -> int:
    run = _Visit(session, scope, ProjectOptions())
    checks = [_ask(name, question) for name, question in _questions(run).items()]
    checks += [_ask(name, question, is_extra=True) for name, question in _extras(run).items()]
    stores = _examine(run, next(check for check in checks if check.name == "pins"))
    run.console.result(_as_json(checks, stores) if format_ == "json" else "\n".join(_as_text(run, checks, stores)))
    failed = [check.error for check in checks if check.error and not check.is_extra]
    failed += [store.error for store in stores if store.error and store.is_chosen and not _is_local(run)]
    # What is asked later often fails for the same reason: said once.
    for error in {(error.message, error.where): error for error in failed}.values():
        run.console.error(error)
    return 1 if failed else 0


def _questions(run: _Visit) -> Mapping[str, Callable[[], str]]:
    questions: dict[str, Callable[[], str]] = {
        "tool": lambda: f"{TOOL}, Python {sys.version.split()[0]}",
        "git": lambda: f"commit {run.tree.commit} in {run.tree.top}",
        "configuration": lambda: _configuration(run),
        "forge": lambda: f"{run.context.forge}, scope {run.asking.key.scope}",
        "pins": lambda: _pins(run),
        "stages storage": lambda: _storage(run),
    }
    if run.is_stored_in_engine:
        questions["engine"] = lambda: f"runs {run.ask_engine()}"
    if _settings_say(run, "keep"):
        questions["copies of bases"] = lambda: _keep(run)
    if _settings_say(run, "allowed"):
        questions["allowed registries"] = lambda: _allowed(run)
    return questions


def _extras(run: _Visit) -> Mapping[str, Callable[[], str]]:
    extras: dict[str, Callable[[], str]] = {}
    if _only_read(run):
        extras["directives"] = lambda: _tell_only_read(run)
    if not run.is_stored_in_engine:
        extras["engine"] = lambda: _extra_engine(run)
    if _settings_say(run, "mirrors"):
        mirrors = [f"{registry} is asked at {', '.join(places)} first" for registry, places in run.settings.mirrors.items()]
        extras["mirrors"] = lambda: "; ".join(mirrors)
    try:
        number = run.context.change_request
    except StagepinError:
        number = None  # the row "forge" says why
    if number is not None:
        extras["comments"] = partial(_comments, run, number)
    return extras


def _only_read(run: _Visit) -> tuple[str, ...]:
    """What of the configuration cannot be built here; what is wrong with it the row "configuration" says."""
    try:
        return tuple(describe_unbuilt(run.configuration))
    except StagepinError:
        return ()


def _tell_only_read(run: _Visit) -> str:
    raise InputError("; ".join(_only_read(run)), hint="the other images of the file can be built by name")


def _settings_say(run: _Visit, name: str) -> bool:
    """Whether the settings have something there; what is wrong with them the rows above it say."""
    try:
        return getattr(run.settings, name) not in (None, {})
    except StagepinError:
        return False


def _ask(name: str, question: Callable[[], str], *, is_extra: bool = False) -> _Check:
    try:
        return _Check(name, question(), is_extra=is_extra)
    except StagepinError as error:
        # A row is one line: who has several errors to tell names the first, and all of them below the tables.
        message, _, others = error.message.partition("\nand ")
        return _Check(name, message + (f" (and {others.partition(':')[0]})" if others else ""), error, is_extra)


def _configuration(run: _Visit) -> str:
    configuration = run.configuration
    names = ", ".join(image.name for image in configuration)
    return f"{configuration.file or 'Dockerfiles of the settings'} ({configuration.dialect}): {names}"


def _pins(run: _Visit) -> str:
    from ci_plugin.services.pinning import find_pins

    adopted = find_pins(run.asking, run.workspace, None, run.clock)
    return (
        f"pins of {adopted.pins.scope} in the workspace, references: {len(adopted.pins.pins)}" if adopted else "none in the workspace yet"
    )


def _storage(run: _Visit) -> str:
    if run.repository is None:
        run.ask_engine()
        return ":local, the engine's own store (set --repo to share stages between jobs)"
    run.registry.find_descriptor(run.repository.tagged(_PROBE))
    return f"{run.repository} may be read; the first `stagepin pin` shows whether it may be written"


def _extra_engine(run: _Visit) -> str:
    try:
        return f"runs {run.ask_engine()}"
    except StagepinError as error:
        raise InputError(f"{error.message} (only `build` and `demo` need one)", hint=error.hint) from None


def _keep(run: _Visit) -> str:
    keep = run.settings.keep
    if keep is None:
        return ""
    run.registry.find_descriptor(keep.tagged(_PROBE))
    return f"{keep} may be read; the first `stagepin pin` shows whether it may be written"


def _allowed(run: _Visit) -> str:
    from ci_plugin.cli.pins import check_registries
    from ci_plugin.config.platforms import choose_platforms
    from ci_plugin.config.references import list_references

    references = list_references(run.configuration, run.source, lambda image: choose_platforms(image, run.platforms))
    check_registries(run, ((use.reference, use.location) for use in references), run.settings.keep)
    return f"{', '.join(map(str, run.settings.allowed or ()))}; every reference of the configuration is within"


def _comments(run: _Visit, number: int) -> str:
    from ci_plugin.cli.discussion import open_discussion
    from ci_plugin.retry import RetryPolicy

    discussion = open_discussion(run.forge_access, run.environ, number)
    RetryPolicy(run.clock.sleep, tell=run.tell_retry).run(lambda: discussion.find_comment(_MARKER))
    return f"those of number {number} may be read; the first `stagepin drift --comment` shows whether they may be written"


def _is_local(run: _Visit) -> bool:
    try:
        return run.asking.key.scope.is_local
    except StagepinError:
        return False


def _examine(run: _Visit, workspace: _Check) -> list[Examined]:
    """Every store there is. Where nobody can say whose pins to ask for, none is asked."""
    try:
        asking = run.asking
    except StagepinError as error:
        return [Examined(name, is_chosen=False, error=error) for name in STORES]
    if asking.key.scope.is_local:
        # The scope local is in no store; what can be read here is asked with a name nobody has.
        asking = replace(asking, key=ScopeKey(asking.key.pipeline, Scope(_PROBE)), by_name=True)
    return [_examine_one(run, name, asking, workspace) for name in STORES]


def _examine_one(run: _Visit, name: str, asking: Asking, workspace: _Check) -> Examined:
    is_chosen = name == run.store_name
    if name == "workspace":
        return Examined(name, is_chosen, _WORKSPACE_GUARANTEE, "" if workspace.error else workspace.answer, workspace.error)
    found = examine_store(name, is_chosen, partial(_open, run, name, is_chosen), asking)
    return replace(found, holds="nothing was asked for: the scope is local") if found.holds and _is_local(run) else found


def _open(run: _Visit, name: str, is_chosen: bool) -> PinStore:
    if name == STORES[0] and run.is_stored_in_engine and run.is_repository_named:
        run.ask_engine()
    if name in _ONE_FORGES and not is_chosen and run.forge_access.forge != _ONE_FORGES[name]:
        here = f"a {'job' if run.context.pipeline else 'clone'} of {_FORGES[run.forge_access.forge]}"
        raise InputError(f"a store of {_FORGES[_ONE_FORGES[name]]}; this is {here}")
    if name == "ci-artifact" and _is_local(run):
        raise InputError("expected a pipeline whose CI artifacts to read, found the scope local", hint="name one: --pipeline ID")
    store = run.open_store(name)
    if store is None:
        if not run.has_repository:
            run.repository  # noqa: B018 - in CI it says itself what is missing
        raise InputError("expected a repository for the stages storage, found none", hint="set --repo, STAGEPIN_REPO or `repo:`")
    if name != STORES[0] and not is_chosen and not run.forge_access.token:
        own = "GITHUB_TOKEN" if run.forge_access.forge == "github" else "CI_JOB_TOKEN"
        message = f"expected a token for {run.forge_access.host}, found none in STAGEPIN_TOKEN and {own}"
        raise InputError(message, hint="hand one to this step; without it nothing was asked")
    return store


def _as_text(run: _Visit, checks: list[_Check], stores: list[Examined]) -> Iterator[str]:
    answers = [(check.name, _yes(not check.error), check.answer) for check in checks]
    yield format_table(("WHAT", "WORKS", "HOW, OR WHY NOT"), answers, run.console.width)
    yield ""
    rows = [(store.name, _yes(store.is_chosen), _yes(not store.error), store.holds) for store in stores]
    yield format_table(("STORE OF PINS", "CHOSEN", "READABLE", "HOLDS"), rows, run.console.width)
    yield ""
    yield from _remarks(run, stores)


def _remarks(run: _Visit, stores: list[Examined]) -> Iterator[str]:
    """What does not fit into a table: sentences, one a line."""
    if len({store.error for store in stores}) == 1 and stores[0].error:
        yield f"no store was asked: {neutral(stores[0].error.message)}"
        return
    for store in stores:
        yield store.name
        yield from (f"  {sentence}" for sentence in _sentences(run, store) if sentence)
    if _is_local(run):
        yield "the scope here is local: its pins stay in the workspace; --pipeline ID or --scope SCOPE names pins of a store"
    elif not run.may_publish:
        yield f"this job runs the code of the fork {neutral(run.context.fork)}: it reads the chosen store and writes nothing there"


def _sentences(run: _Visit, store: Examined) -> Iterator[str]:
    if store.guarantee:
        yield store.guarantee
        yield _WRITING[":local" if store.name == STORES[0] and run.is_stored_in_engine else store.name]
    if store.error:
        yield f"cannot be read: {neutral(store.error.message)}"
        yield f"next: {neutral(store.error.hint)}" if store.error.hint else ""


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _as_json(checks: list[_Check], stores: list[Examined]) -> str:
    document = {
        "checks": [
            {"name": check.name, "works": not check.error, "answer": check.answer, "hint": check.error.hint if check.error else ""}
            for check in checks
        ],
        "stores": [
            {
                "name": store.name,
                "chosen": store.is_chosen,
                "readable": not store.error,
                "holds": store.holds,
                "guarantee": store.guarantee,
                "reason": store.error.message if store.error else "",
                "hint": store.error.hint if store.error else "",
            }
            for store in stores
        ],
    }
    return json.dumps(document, indent=2)
