from __future__ import annotations

import pytest

from ci_plugin.errors import InputError
from ci_plugin.forge.environment import CiContext, choose_scope, pipeline_identity, read_environment
from ci_plugin.forge.event import NO_EVENT, Event
from ci_plugin.values.pipeline import PipelineId, Scope
from ci_plugin.values.reference import Repository

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GITLAB = {
    "CI": "true",
    "GITLAB_CI": "true",
    "CI_SERVER_HOST": "gitlab.example.com",
    "CI_SERVER_PORT": "443",
    "CI_SERVER_PROTOCOL": "https",
    "CI_PROJECT_ID": "4711",
    "CI_PROJECT_PATH": "group/app",
    "CI_PIPELINE_ID": "1001",
    "CI_PIPELINE_SOURCE": "push",
    "CI_COMMIT_SHA": COMMIT,
    "CI_COMMIT_REF_NAME": "main",
    "CI_REGISTRY_IMAGE": "registry.example.com/group/app",
}
GITHUB = {
    "CI": "true",
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY_ID": "815",
    "GITHUB_REPOSITORY": "Group/App",
    "GITHUB_RUN_ID": "2002",
    "GITHUB_RUN_ATTEMPT": "3",
    "GITHUB_SHA": COMMIT,
    "GITHUB_REF_NAME": "main",
}


def without(environ: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in environ.items() if key != name}


def test_gitlab_is_read() -> None:
    assert read_environment(GITLAB) == CiContext(
        forge="gitlab",
        pipeline=PipelineId("gitlab", "gitlab.example.com", "4711", "group/app", "1001"),
        commit=COMMIT,
        default_repo=Repository("registry.example.com", "group/app"),
        is_ci=True,
    )


def test_github_is_read() -> None:
    context = read_environment(GITHUB)
    assert context == CiContext(
        forge="github",
        pipeline=PipelineId("github", "github.com", "815", "Group/App", "2002"),
        commit=COMMIT,
        default_repo=Repository("ghcr.io", "group/app"),
        is_ci=True,
    )
    assert context.pipeline is not None
    assert context.pipeline.project == "Group/App"


def test_no_variables_are_this_machine() -> None:
    context = read_environment({})
    assert context == CiContext("local")
    assert choose_scope(None, context) == choose_scope("pipeline", context) == Scope("local")
    assert pipeline_identity(context, "app") == PipelineId("local", "localhost", "app", "app", "local")


def test_an_attempt_is_no_part_of_the_identity() -> None:
    first, second = read_environment(GITHUB), read_environment(GITHUB | {"GITHUB_RUN_ATTEMPT": "4"})
    assert pipeline_identity(first, "x") == pipeline_identity(second, "x")
    assert choose_scope(None, first) == choose_scope(None, second) == Scope("pipeline:2002")
    assert first == second == read_environment(without(GITHUB, "GITHUB_RUN_ATTEMPT"))


@pytest.mark.parametrize(
    ("protocol", "port", "host"),
    [
        ("https", "8443", "gitlab.example.com:8443"),
        ("http", "80", "gitlab.example.com"),
        ("http", "443", "gitlab.example.com:443"),
        ("https", "", "gitlab.example.com"),
        ("", "443", "gitlab.example.com"),
    ],
)
def test_a_port_names_the_gitlab_host_where_it_is_not_the_default(protocol: str, port: str, host: str) -> None:
    context = read_environment(GITLAB | {"CI_SERVER_PROTOCOL": protocol, "CI_SERVER_PORT": port})
    assert context.pipeline is not None
    assert context.pipeline.host == host


def test_a_github_server_of_ones_own_has_no_default_repository() -> None:
    context = read_environment(GITHUB | {"GITHUB_SERVER_URL": "https://GitHub.example.com:8443"})
    assert context.pipeline is not None
    assert context.pipeline.host == "github.example.com:8443"
    assert context.default_repo is None


def test_a_repository_name_that_no_registry_takes_gives_no_default() -> None:
    assert read_environment(GITHUB | {"GITHUB_REPOSITORY": "group/.github"}).default_repo is None


def test_a_gitlab_without_registry_has_no_default_repository() -> None:
    assert read_environment(GITLAB | {"CI_REGISTRY_IMAGE": ""}).default_repo is None


@pytest.mark.parametrize("name", ["CI_SERVER_HOST", "CI_PROJECT_ID", "CI_PROJECT_PATH", "CI_PIPELINE_ID"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_gitlab_variable_is_named(name: str, empty: bool) -> None:
    environ = GITLAB | {name: ""} if empty else without(GITLAB, name)
    with pytest.raises(InputError, match=rf"expected the variable {name} in a job of GitLab, found it unset or empty") as caught:
        read_environment(environ)
    assert caught.value.hint == f"pass {name} on to where stagepin runs (docker run -e {name}), or unset GITLAB_CI outside CI"


@pytest.mark.parametrize("name", ["GITHUB_SERVER_URL", "GITHUB_REPOSITORY_ID", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"])
def test_a_missing_github_variable_is_named(name: str) -> None:
    with pytest.raises(InputError, match=rf"expected the variable {name} in a job of GitHub, found it unset or empty"):
        read_environment(without(GITHUB, name))


@pytest.mark.parametrize(
    ("environ", "name", "value", "message"),
    [
        (GITLAB, "CI_PIPELINE_ID", "10 01", "expected text without spaces"),
        (GITLAB, "CI_PIPELINE_ID", "$CI_PIPELINE_ID", "expected a number"),
        (GITLAB, "CI_PIPELINE_ID", "\u0661", "expected a number"),
        (GITLAB, "CI_SERVER_PORT", "https", "expected a number"),
        (GITLAB, "CI_SERVER_HOST", "a/b", "expected a host"),
        (GITLAB, "CI_PROJECT_PATH", "a\x1b[2Jb", "expected text without spaces and control characters"),
        (GITLAB, "CI_COMMIT_SHA", "abc123", "expected a full commit id"),
        (GITLAB, "CI_REGISTRY_IMAGE", "registry.example.com/UPPER", "expected a repository"),
        (GITLAB, "CI_MERGE_REQUEST_IID", "!7", "expected a number"),
        (GITLAB | {"CI_MERGE_REQUEST_IID": "7"}, "CI_MERGE_REQUEST_SOURCE_PROJECT_ID", "group/app", "expected a number"),
        (GITHUB, "GITHUB_SERVER_URL", "https://a:b", "expected a host"),
        (GITHUB, "GITHUB_SERVER_URL", "github.com", "expected a host"),
    ],
)
def test_a_malformed_variable_is_named(environ: dict[str, str], name: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"{message}.* in {name}$") as caught:
        read_environment(environ | {name: value})
    assert name in caught.value.hint
    assert "\x1b" not in caught.value.message


@pytest.mark.parametrize("ref", ["$(id)", "a b", "::error::x", "x" * 250, "refs/pull/1/merge", "\x1b]52;c;x\x07", ""])
def test_a_branch_may_have_any_name(ref: str) -> None:
    assert read_environment(GITLAB | {"CI_COMMIT_REF_NAME": ref}) == read_environment(GITLAB)
    assert read_environment(GITHUB | {"GITHUB_REF_NAME": ref, "GITHUB_HEAD_REF": ""}) == read_environment(GITHUB)


@pytest.mark.parametrize("environ", [GITLAB, GITHUB])
def test_the_context_needs_no_token(environ: dict[str, str]) -> None:
    assert read_environment(environ | {"CI_JOB_TOKEN": "", "GITHUB_TOKEN": "", "STAGEPIN_TOKEN": ""}) == read_environment(environ)


MERGE_REQUEST = GITLAB | {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "4711",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "group/app",
}


class TestMergeRequests:
    def test_of_the_project_itself(self) -> None:
        context = read_environment(MERGE_REQUEST)
        assert (context.change_request, context.fork) == (7, "")

    def test_of_a_fork_run_in_the_project_are_the_forks_code(self) -> None:
        environ = MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "99", "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "mallory/app"}
        assert read_environment(environ).fork == "mallory/app"
        assert read_environment(environ | {"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "a\x1bb"}).fork == "project 99"
        assert read_environment(environ | {"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "group/app"}).fork == "group/app", "the id decides"

    def test_of_a_fork_run_in_the_fork_are_another_projects(self) -> None:
        context = read_environment(MERGE_REQUEST | {"CI_PROJECT_ID": "99", "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "99"})
        assert (context.fork, context.pipeline and context.pipeline.project_id) == ("", "99")

    @pytest.mark.parametrize("unset", ["CI_MERGE_REQUEST_IID", "CI_PIPELINE_SOURCE"])
    def test_whose_source_is_gone_count_as_a_forks(self, unset: str) -> None:
        context = read_environment(MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "", unset: ""})
        assert context.fork == "unknown"
        assert context.fork_doubt == "CI_MERGE_REQUEST_SOURCE_PROJECT_ID is not set, as where the fork was deleted"

    def test_other_pipelines_have_none(self) -> None:
        context = read_environment(GITLAB)
        assert (context.change_request, context.fork, context.fork_doubt) == (None, "", "")


def pull_request(repository: object, number: object = 7) -> Event:
    return Event({"pull_request": {"number": number, "head": {"repo": repository}}})


def workflow_run(repository: object, *numbers: int) -> Event:
    return Event({"workflow_run": {"head_repository": repository, "pull_requests": [{"number": number} for number in numbers]}})


OURS = {"id": 815, "full_name": "Group/App"}
THEIRS = {"id": 99, "full_name": "mallory/App"}


class TestEvents:
    def read(self, name: str, event: Event = NO_EVENT, **environ: str) -> CiContext:
        return read_environment(GITHUB | {"GITHUB_EVENT_NAME": name} | environ, event)

    @pytest.mark.parametrize("name", ["pull_request", "pull_request_target", "pull_request_review", "pull_request_review_comment"])
    def test_a_pull_request_is_a_forks_where_its_repository_has_another_id(self, name: str) -> None:
        assert self.read(name, pull_request(THEIRS)).fork == "mallory/App"
        assert self.read(name, pull_request(OURS | {"full_name": "renamed/App"})).fork == ""
        assert self.read(name, pull_request(THEIRS | {"full_name": "Group/App"})).fork == "Group/App", "the id decides"
        assert self.read(name, pull_request(THEIRS)).change_request == 7

    def test_a_workflow_that_another_one_started_runs_what_that_one_ran(self) -> None:
        assert self.read("workflow_run", workflow_run(THEIRS)).fork == "mallory/App"
        assert self.read("workflow_run", workflow_run(THEIRS)).change_request is None
        assert self.read("workflow_run", workflow_run(OURS, 8)).change_request == 8
        assert self.read("workflow_run", workflow_run(OURS, 8, 9)).change_request is None

    @pytest.mark.parametrize(
        ("name", "event", "doubt"),
        [
            ("pull_request", NO_EVENT, "nobody read the event file"),
            ("pull_request", pull_request(None), "the event names no repository in pull_request.head.repo, as where the fork was deleted"),
            ("pull_request", Event({}), "the event names no repository in pull_request.head.repo, as where the fork was deleted"),
            ("pull_request_target", Event({"pull_request": []}), "the event names no repository in pull_request.head.repo"),
            ("workflow_run", pull_request(OURS), "the event names no repository in workflow_run.head_repository"),
        ],
    )
    def test_where_the_answer_is_not_to_be_had_the_job_counts_as_a_forks(self, name: str, event: Event, doubt: str) -> None:
        context = self.read(name, event)
        assert context.fork == "unknown"
        assert context.fork_doubt.startswith(doubt)

    @pytest.mark.parametrize("repository", [{}, {"id": None}, {"id": True}, {"id": "x"}, {"id": 815.0}, {"full_name": "Group/App"}])
    def test_a_repository_without_the_right_id_is_another(self, repository: dict[str, object]) -> None:
        assert self.read("pull_request", pull_request(repository)).fork

    def test_a_name_that_cannot_be_printed_is_left_out(self) -> None:
        assert self.read("pull_request", pull_request({"id": 99, "full_name": "a\x1b[2Jb"})).fork == "repository '99'"
        assert self.read("pull_request", pull_request({"id": 99, "full_name": "x" * 201})).fork == "repository '99'"

    @pytest.mark.parametrize("name", ["push", "schedule", "workflow_dispatch", "release", ""])
    def test_other_events_run_the_projects_own_code_and_need_no_file(self, name: str) -> None:
        context = self.read(name, NO_EVENT)
        assert (context.fork, context.fork_doubt, context.change_request) == ("", "", None)

    def test_a_job_that_was_not_told_the_event_knows_a_pull_request_by_its_ref(self) -> None:
        context = self.read("", GITHUB_REF="refs/pull/12/merge")
        assert (context.fork, context.change_request) == ("unknown", 12)
        assert self.read("", GITHUB_HEAD_REF="topic").fork == "unknown"

    @pytest.mark.parametrize("ref", ["refs/heads/refs/pull/1/merge", "refs/pull/x/merge", "refs/pull/1/merge\n", "refs/tags/v1"])
    def test_a_ref_that_only_looks_like_one_is_no_pull_request(self, ref: str) -> None:
        assert self.read("push", GITHUB_REF=ref).change_request is None

    @pytest.mark.parametrize("number", [None, "7", True, 0, -1, 1.5, [7]])
    def test_a_number_that_is_none_is_none(self, number: object) -> None:
        assert self.read("pull_request_target", pull_request(OURS, number)).change_request is None

    def test_act_knows_repositories_by_name_alone(self) -> None:
        environ = without(GITHUB, "GITHUB_REPOSITORY_ID") | {"ACT": "true", "GITHUB_EVENT_NAME": "pull_request"}
        assert read_environment(environ, pull_request({"full_name": "group/app"})).fork == ""
        assert read_environment(environ, pull_request({"full_name": "mallory/app"})).fork == "mallory/app"


def test_two_forges_at_once_are_refused() -> None:
    with pytest.raises(InputError, match=r"found both GitLab's and GitHub's: GITLAB_CI=true and GITHUB_ACTIONS=true") as caught:
        read_environment(GITLAB | GITHUB)
    assert caught.value.hint == "unset GITLAB_CI or GITHUB_ACTIONS for this job"


def test_two_forges_that_do_not_announce_themselves_are_refused() -> None:
    environ = {"CI_PIPELINE_ID": "1001", "GITHUB_RUN_ID": "2002"}
    with pytest.raises(InputError, match=r"found both GitLab's and GitHub's: CI_PIPELINE_ID=1001 and GITHUB_RUN_ID=2002"):
        read_environment(environ)


def test_the_forge_that_announces_itself_wins_over_leaked_variables() -> None:
    assert read_environment(without(GITLAB, "GITLAB_CI") | GITHUB).forge == "github"
    assert read_environment(GITLAB | GITHUB | {"GITHUB_ACTIONS": "false"}).forge == "gitlab"


def test_gitlab_ci_local_is_gitlab_although_it_denies_it() -> None:
    assert read_environment(GITLAB | {"GITLAB_CI": "false"}).forge == "gitlab"


def test_act_is_github_although_it_knows_no_repository_id() -> None:
    context = read_environment(without(GITHUB, "GITHUB_REPOSITORY_ID") | {"ACT": "true"})
    assert context.pipeline is not None
    assert context.pipeline.project_id == "group/app"


def test_a_child_pipeline_needs_the_scope_of_its_parent() -> None:
    context = read_environment(GITLAB | {"CI_PIPELINE_SOURCE": "parent_pipeline"})
    for text in (None, "", "pipeline"):
        with pytest.raises(InputError, match=r"expected the scope of the top pipeline in a GitLab child pipeline, found none") as caught:
            choose_scope(text, context)
        assert 'variables:\n  STAGEPIN_SCOPE: "pipeline:$CI_PIPELINE_ID"' in caught.value.hint
        assert caught.value.exit_code == 2
    assert choose_scope("pipeline:1000", context) == Scope("pipeline:1000")
    assert choose_scope("commit", context) == Scope(f"commit:{COMMIT}")


def test_a_scope_may_be_the_commit_or_a_text() -> None:
    context = read_environment(GITLAB)
    assert choose_scope("commit", context) == Scope(f"commit:{COMMIT}")
    assert choose_scope("release-2026.1", context) == Scope("release-2026.1")
    assert choose_scope("local", CiContext("local")) == Scope("local")


def test_the_scope_local_is_refused_in_ci() -> None:
    with pytest.raises(InputError, match=r"expected a scope that later jobs share, found 'local' in CI") as caught:
        choose_scope("local", read_environment(GITLAB))
    assert "pins are kept per pipeline" in caught.value.hint


def test_ci_without_a_known_forge_needs_a_scope() -> None:
    context = read_environment({"CI": "true"})
    assert context.is_ci
    with pytest.raises(InputError, match=r"expected a pipeline id, found CI=true without the variables of GitLab or GitHub") as caught:
        choose_scope(None, context)
    assert "STAGEPIN_SCOPE" in caught.value.hint
    assert choose_scope("pipeline:7", context) == Scope("pipeline:7")


def test_the_commit_scope_needs_a_commit() -> None:
    with pytest.raises(InputError, match=r"expected a commit for the scope 'commit'"):
        choose_scope("commit", CiContext("local"))


@pytest.mark.parametrize("text", ["pipeline:", "commit:"])
def test_a_scope_whose_variable_was_unset_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"expected an id after '{text}', found nothing"):
        choose_scope(text, read_environment(GITLAB))


@pytest.mark.parametrize("text", ["pipeline:$CI_PIPELINE_ID", "a b", "\x1b", "x" * 129])
def test_a_scope_of_other_characters_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"expected a scope of 1-128 characters") as caught:
        choose_scope(text, read_environment(GITLAB))
    assert "STAGEPIN_SCOPE" in caught.value.hint
