"""Which forge runs this job, which pipeline it belongs to, and which scope its pins have: pure functions of the environment.

Rules: a forge announces itself (``GITLAB_CI=true``, ``GITHUB_ACTIONS=true``); where none does, the one whose pipeline id is set is meant
(gitlab-ci-local says ``GITLAB_CI=false``). A variable that is set and empty counts as unset. Ids come from the forge's own predefined
variables: docs.gitlab.com/ci/variables/predefined_variables, docs.github.com "Default environment variables".

Attempt, branch and tag are not read: pins survive attempts, and the names of branches are foreign text that nothing here depends on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from ci_plugin.errors import InputError, Location
from ci_plugin.forge.event import NO_EVENT, UNKNOWN_FORK, Event, Fork, find_fork, find_pull_request
from ci_plugin.values.pipeline import LOCAL_SCOPE_TEXT, PipelineId, Scope, parse_commit
from ci_plugin.values.reference import Repository, parse_repository

_NAMES = {"gitlab": "GitLab", "github": "GitHub", "local": "this machine"}
_ANNOUNCEMENTS = {"gitlab": "GITLAB_CI", "github": "GITHUB_ACTIONS"}
_PIPELINE_VARIABLES = {"gitlab": "CI_PIPELINE_ID", "github": "GITHUB_RUN_ID"}
_DEFAULT_PORTS = {"https": "443", "http": "80"}
_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f:.]+", re.ASCII)
_PULL_REQUEST_REF = re.compile(r"refs/pull/([0-9]{1,18})/(?:merge|head)", re.ASCII)
_LONGEST_PATH = 200
_CHILD_HINT = (
    "add to the trigger job in the parent's file (trigger:forward:yaml_variables must stay on, as it is by default):\n"
    "variables:\n"
    '  STAGEPIN_SCOPE: "pipeline:$CI_PIPELINE_ID"\n'
    'A trigger job that itself runs in a child pipeline hands on the same: STAGEPIN_SCOPE: "$STAGEPIN_SCOPE"'
)


@dataclass(frozen=True, slots=True)
class CiContext:
    """What the environment says about this job; everything but ``forge`` may be unknown outside CI."""

    forge: str
    """``gitlab``, ``github`` or ``local``."""
    pipeline: PipelineId | None = None
    commit: str | None = None
    default_repo: Repository | None = None
    is_child_pipeline: bool = False
    is_ci: bool = False
    change_request: int | None = None
    """The number of the merge or pull request, where the job runs for one."""
    fork: str = ""
    """The fork whose code this job runs in the project's own name; a fork's own pipelines are of another project and need no word."""
    fork_doubt: str = ""
    """Why the job is only taken for one of a fork."""


def read_environment(environ: Mapping[str, str], event: Event = NO_EVENT) -> CiContext:
    """The context of this job; ``event`` is GitHub's (``forge.event.load_event``).

    Raises InputError for a variable that is missing or malformed, and where two forges announce themselves.
    """
    forge = _find_forge(environ)
    if forge == "gitlab":
        return _read_gitlab(environ)
    if forge == "github":
        return _read_github(environ, event)
    return CiContext("local", is_ci=environ.get("CI", "").lower() in ("true", "1"))


def ref_name(environ: Mapping[str, str], forge: str) -> str | None:
    """The branch or tag this job runs for: of a merge or pull request its source branch; None outside CI and where nothing says."""
    names = {"gitlab": ("CI_COMMIT_REF_NAME",), "github": ("GITHUB_HEAD_REF", "GITHUB_REF_NAME")}.get(forge, ())
    return next((environ[name] for name in names if environ.get(name)), None)


def is_later_attempt(environ: Mapping[str, str]) -> bool:
    """Whether this is a re-run on GitHub, which counts attempts from 1; GitLab tells no job that it is a retry."""
    return environ.get("GITHUB_RUN_ATTEMPT", "1") != "1"


def choose_scope(text: str | None, context: CiContext) -> Scope:
    """The scope asked for: None, ``pipeline`` or ``commit`` are filled in from the context, any other text is taken as it is.

    Outside CI ``pipeline`` means ``local``. Raises InputError where the context cannot say, and for ``local`` in CI.
    """
    if not text or text == "pipeline":
        return _pipeline_scope(context)
    if text == "commit":
        if context.commit is None:
            raise InputError("expected a commit for the scope 'commit', found none in the environment", hint="give --scope commit:FULL_ID")
        return Scope(f"commit:{context.commit}")
    if text in ("pipeline:", "commit:"):
        raise InputError(f"expected an id after {text!r}, found nothing", hint="check that the variable that holds it is set in this job")
    if text == LOCAL_SCOPE_TEXT and context.is_ci:
        raise InputError(
            "expected a scope that later jobs share, found 'local' in CI",
            hint="leave STAGEPIN_SCOPE and --scope out (pins are kept per pipeline), or use 'commit' or a text of your own",
        )
    try:
        return Scope(text)
    except ValueError as error:
        raise InputError(str(error), hint="correct --scope, STAGEPIN_SCOPE or `scope` in .stagepin.yaml") from None


def pipeline_identity(context: CiContext, project: str) -> PipelineId:
    """The pipeline, or (outside a forge) ``local`` on ``localhost``, whose project id is the project's name."""
    return context.pipeline or PipelineId("local", "localhost", project, project, "local")


def _find_forge(environ: Mapping[str, str]) -> str:
    seen = [forge for forge, name in _ANNOUNCEMENTS.items() if environ.get(name) == "true"]
    names = _ANNOUNCEMENTS
    if not seen:
        seen = [forge for forge, name in _PIPELINE_VARIABLES.items() if environ.get(name)]
        names = _PIPELINE_VARIABLES
    if len(seen) > 1:
        found = " and ".join(f"{names[forge]}={environ[names[forge]]}" for forge in seen)
        raise InputError(
            f"expected the variables of one forge, found both GitLab's and GitHub's: {found}",
            hint=f"unset {names['gitlab']} or {names['github']} for this job",
        )
    return seen[0] if seen else "local"


def _read_gitlab(environ: Mapping[str, str]) -> CiContext:
    host = _host(_require(environ, "CI_SERVER_HOST", "gitlab"), "CI_SERVER_HOST")
    scheme, port = environ.get("CI_SERVER_PROTOCOL") or "https", environ.get("CI_SERVER_PORT") or ""
    if port and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{_id(port, 'CI_SERVER_PORT')}"
    pipeline = PipelineId(
        forge="gitlab",
        host=host,
        project_id=_id(_require(environ, "CI_PROJECT_ID", "gitlab"), "CI_PROJECT_ID"),
        project=_require(environ, "CI_PROJECT_PATH", "gitlab"),
        id=_id(_require(environ, "CI_PIPELINE_ID", "gitlab"), "CI_PIPELINE_ID"),
    )
    fork = _gitlab_fork(environ, pipeline.project_id)
    return CiContext(
        forge="gitlab",
        pipeline=pipeline,
        commit=_find_commit(environ, "CI_COMMIT_SHA"),
        default_repo=_find_gitlab_repo(environ),
        is_child_pipeline=environ.get("CI_PIPELINE_SOURCE") == "parent_pipeline",
        is_ci=True,
        change_request=_find_number(environ, "CI_MERGE_REQUEST_IID"),
        fork=fork.name,
        fork_doubt=fork.doubt,
    )


def _gitlab_fork(environ: Mapping[str, str], project_id: str) -> Fork:
    """A merge request's pipeline runs in the fork, or (where a member started it) in the project itself, which then runs other code."""
    if not environ.get("CI_MERGE_REQUEST_IID") and environ.get("CI_PIPELINE_SOURCE") != "merge_request_event":
        return Fork()
    source = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_ID")
    if not source:
        return Fork(UNKNOWN_FORK, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID is not set, as where the fork was deleted")
    if _id(source, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID") == project_id:
        return Fork()
    path = environ.get("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "")
    return Fork(path if path and path.isprintable() and len(path) <= _LONGEST_PATH else f"project {source}")


def _read_github(environ: Mapping[str, str], event: Event) -> CiContext:
    host = _github_host(_require(environ, "GITHUB_SERVER_URL", "github"))
    repository = _require(environ, "GITHUB_REPOSITORY", "github")
    pipeline = PipelineId(
        forge="github",
        host=host,
        project_id=_github_project_id(environ, repository),
        project=repository,
        id=_id(_require(environ, "GITHUB_RUN_ID", "github"), "GITHUB_RUN_ID"),
    )
    name, change_request = _github_event(environ, event)
    fork = find_fork(name, event, pipeline.project_id, repository)
    return CiContext(
        forge="github",
        pipeline=pipeline,
        commit=_find_commit(environ, "GITHUB_SHA"),
        # A GitHub server of one's own has its registry elsewhere, and ghcr.io must not get its token.
        default_repo=_find_repository(f"ghcr.io/{repository.lower()}") if host == "github.com" else None,
        is_ci=True,
        change_request=change_request,
        fork=fork.name,
        fork_doubt=fork.doubt,
    )


def _github_event(environ: Mapping[str, str], event: Event) -> tuple[str, int | None]:
    """The event's name and the pull request's number. A job that was not told the name knows a pull request by its ref."""
    ref = _PULL_REQUEST_REF.fullmatch(environ.get("GITHUB_REF", ""))
    name = environ.get("GITHUB_EVENT_NAME") or ("pull_request" if ref or environ.get("GITHUB_HEAD_REF") else "")
    return name, int(ref[1]) if ref else find_pull_request(name, event)


def _github_project_id(environ: Mapping[str, str], repository: str) -> str:
    # act (nektos/act 0.2.89) simulates GitHub without the repository's id; the name is as good on one machine.
    if environ.get("ACT") == "true" and not environ.get("GITHUB_REPOSITORY_ID"):
        return repository.lower()
    return _id(_require(environ, "GITHUB_REPOSITORY_ID", "github"), "GITHUB_REPOSITORY_ID")


def _github_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError:
        name, port = "", None
    host = _host(name, "GITHUB_SERVER_URL")
    return host if port is None or str(port) == _DEFAULT_PORTS.get(parts.scheme) else f"{host}:{port}"


def _find_gitlab_repo(environ: Mapping[str, str]) -> Repository | None:
    text = environ.get("CI_REGISTRY_IMAGE")
    if not text:
        return None
    try:
        return parse_repository(text)
    except ValueError as error:
        raise _malformed("CI_REGISTRY_IMAGE", str(error)) from None


def _find_repository(text: str) -> Repository | None:
    # A repository on GitHub may have a name no registry takes (owner/.github): then there is no default, --repo says it.
    try:
        return parse_repository(text)
    except ValueError:
        return None


def _pipeline_scope(context: CiContext) -> Scope:
    if context.is_child_pipeline:
        raise InputError(
            "expected the scope of the top pipeline in a GitLab child pipeline, found none: its own id would split the pins",
            hint=_CHILD_HINT,
        )
    if context.pipeline is not None:
        return Scope(f"pipeline:{context.pipeline.id}")
    if context.is_ci:
        raise InputError(
            "expected a pipeline id, found CI=true without the variables of GitLab or GitHub",
            hint="give STAGEPIN_SCOPE a text that all jobs of one pipeline share, such as pipeline:$BUILD_NUMBER",
        )
    return Scope(LOCAL_SCOPE_TEXT)


def _require(environ: Mapping[str, str], name: str, forge: str) -> str:
    value = environ.get(name)
    if not value:
        raise InputError(
            f"expected the variable {name} in a job of {_NAMES[forge]}, found it unset or empty",
            hint=f"pass {name} on to where stagepin runs (docker run -e {name}), or unset {_ANNOUNCEMENTS[forge]} outside CI",
            where=Location(f"${name}"),
        )
    if not value.isprintable() or " " in value or len(value) > 2000:
        raise _malformed(name, f"expected text without spaces and control characters, found {value[:100]!r}")
    return value


def _id(value: str, name: str) -> str:
    if not _ID.fullmatch(value):
        raise _malformed(name, f"expected a number, found {value[:100]!r}")
    return value


def _host(value: str, name: str) -> str:
    if not _HOST.fullmatch(value.lower()):
        raise _malformed(name, f"expected a host such as gitlab.example.com, found {value[:100]!r}")
    return value.lower()


def _find_number(environ: Mapping[str, str], name: str) -> int | None:
    value = environ.get(name)
    return int(_id(value, name)) if value else None


def _find_commit(environ: Mapping[str, str], name: str) -> str | None:
    value = environ.get(name)
    if not value:
        return None
    try:
        return parse_commit(value)
    except ValueError as error:
        raise _malformed(name, str(error)) from None


def _malformed(name: str, message: str) -> InputError:
    return InputError(f"{message} in {name}", hint=f"{name} is set by the forge; do not override it", where=Location(f"${name}"))
