"""The fake GitHub's runs, attempts, jobs, CI artifacts and comments are as GitHub's: driven by PyGithub, unmodified, and by bare HTTP."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

import pytest
from github import Auth, Github, GithubException
from github.Repository import Repository

from tests.fakes.github import FakeGitHub, Project
from tests.fakes.github_bare_client import BareClient, ask_once
from tests.fakes.github_openapi import problems


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub(record=True) as running:
        yield running
    assert problems(running.exchanges) == []


@pytest.fixture
def project(fake: FakeGitHub) -> Project:
    made = fake.add_project("group/app")
    made.commit_files({"README.md": b"hello"})
    return made


@pytest.fixture
def http(fake: FakeGitHub) -> Iterator[BareClient]:
    with BareClient(fake, fake.add_token(contents="write", actions="write", issues="write")) as client:
        yield client


@pytest.fixture
def repository(fake: FakeGitHub, project: Project) -> Iterator[Repository]:
    token = fake.add_token("ghs_pygithub", contents="write", actions="write", issues="write")
    client = Github(base_url=fake.url, auth=Auth.Token(token), retry=None, seconds_between_requests=0, seconds_between_writes=0, lazy=True)
    yield client.get_repo("group/app")
    client.close()


def test_rerunning_failed_jobs_keeps_artifacts_and_the_jobs_that_succeeded(repository: Repository, project: Project) -> None:
    run = project.start_run("pin", "build")
    first = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    project.finish_run(run.id, failed=["build"])

    seen = repository.get_workflow_run(run.id)
    assert seen.conclusion == "failure"
    assert seen.rerun_failed_jobs()
    second = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"2"})

    seen = repository.get_workflow_run(run.id)
    assert (seen.run_attempt, seen.status) == (2, "in_progress")
    assert [(job.name, job.run_attempt) for job in seen.jobs()] == [("pin", 1), ("build", 2)]
    assert [job.name for job in seen.jobs("all")] == ["pin", "build", "build"]
    assert [artifact.id for artifact in seen.get_artifacts()] == [second.id, first.id]
    assert [artifact.id for artifact in repository.get_artifacts(name="stagepin-pins")] == [second.id, first.id]


def test_rerunning_all_jobs_takes_the_earlier_artifacts_away(repository: Repository, project: Project) -> None:
    run = project.start_run("pin")
    artifact = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    project.finish_run(run.id)

    assert repository.get_workflow_run(run.id).rerun()

    assert list(repository.get_workflow_run(run.id).get_artifacts()) == []
    with pytest.raises(GithubException) as gone:
        assert repository.get_artifact(artifact.id).name
    assert gone.value.status == 404


def test_a_run_that_is_not_over_cannot_be_rerun(http: BareClient, project: Project) -> None:
    run = project.start_run("pin")

    assert http.ask("POST", f"/repos/group/app/actions/runs/{run.id}/rerun")[0] == 403


def test_a_run_is_rerun_fifty_times_at_most(http: BareClient, project: Project) -> None:
    run = project.start_run("pin")
    for _ in range(50):
        project.finish_run(run.id)
        project.rerun_all(run.id)
    project.finish_run(run.id)

    assert http.ask("POST", f"/repos/group/app/actions/runs/{run.id}/rerun")[0] == 403
    assert project.runs[run.id].attempt == 51


def test_an_attempt_keeps_its_start_and_how_it_ended(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    run = project.start_run("pin", event="pull_request", pull=7)
    project.finish_run(run.id, failed=["pin"])
    fake.clock.advance(60)
    project.rerun_failed(run.id)

    _, first, _ = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/attempts/1")
    _, second, _ = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/attempts/2")

    assert (first["run_started_at"], first["conclusion"]) == ("2026-01-02T03:04:05Z", "failure")
    assert (second["run_started_at"], second["conclusion"]) == ("2026-01-02T03:05:05Z", None)
    assert second["previous_attempt_url"].endswith("/attempts/1")
    assert [pull["number"] for pull in second["pull_requests"]] == [7]
    _, jobs, _ = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/attempts/1/jobs")
    assert [(job["name"], job["run_attempt"], job["conclusion"]) for job in jobs["jobs"]] == [("pin", 1, "failure")]
    assert http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/attempts/3")[0] == 404


def test_a_job_is_told_its_run_and_attempt_as_a_runner_tells_it(fake: FakeGitHub, project: Project) -> None:
    run = project.start_run("pin", event="pull_request", branch="main", pull=7)
    project.finish_run(run.id, failed=["pin"])
    project.rerun_failed(run.id)

    told = fake.job_environment(project, run.id, token="ghs_job")

    assert (told["GITHUB_RUN_ID"], told["GITHUB_RUN_ATTEMPT"]) == (str(run.id), "2")
    assert (told["GITHUB_REPOSITORY"], told["GITHUB_REPOSITORY_ID"]) == ("group/app", str(project.id))
    assert (told["GITHUB_REF"], told["GITHUB_HEAD_REF"], told["GITHUB_TOKEN"]) == ("refs/pull/7/merge", "main", "ghs_job")
    assert "GITHUB_HEAD_REF" not in fake.job_environment(project, project.start_run("pin").id)


def test_a_run_from_a_fork_says_whose_head_it_is(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fork = fake.add_project("stranger/app", private=False, fork_of=project.id)
    run = project.start_run("pin", event="pull_request", head_repository=fork.id, pull=7)

    _, document, _ = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}")

    assert document["head_repository"]["full_name"] == "stranger/app"
    assert document["pull_requests"] == []


def test_lists_come_in_pages_that_link_by_the_projects_id(
    fake: FakeGitHub, http: BareClient, repository: Repository, project: Project
) -> None:
    run = project.start_run("pin")
    names = [f"a{number:02}" for number in range(65)]
    for name in names:
        project.add_artifact(run.id, name, {"x": b"1"})

    _, document, headers = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/artifacts?per_page=30&page=2")

    assert (document["total_count"], len(document["artifacts"])) == (65, 30)
    next_page = f"<{fake.url}/repositories/{project.id}/actions/runs/{run.id}/artifacts?per_page=30&page=3>"
    assert f'{next_page}; rel="next"' in headers["Link"]
    assert sorted(artifact.name for artifact in repository.get_workflow_run(run.id).get_artifacts()) == names


def test_a_list_of_artifacts_may_begin_with_the_oldest(http: BareClient, project: Project) -> None:
    run = project.start_run("pin")
    ids = [project.add_artifact(run.id, name, {"x": b"1"}).id for name in ("a", "b", "c")]

    _, document, _ = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/artifacts?direction=asc")

    assert [artifact["id"] for artifact in document["artifacts"]] == ids


def test_a_public_projects_artifact_is_listed_for_anybody_and_downloaded_with_any_token(fake: FakeGitHub) -> None:
    public = fake.add_project("group/open", private=False)
    public.commit_files({"a": b"b"})
    artifact = public.add_artifact(public.start_run("pin").id, "pins", {"pins.json": b"{}"})
    fake.add_token("ghs_nothing")
    path = f"/repos/group/open/actions/artifacts/{artifact.id}"

    assert ask_once(fake, None, "GET", path)[0] == 200
    assert ask_once(fake, None, "GET", f"{path}/zip")[0] == 401
    assert ask_once(fake, "ghs_nothing", "GET", f"{path}/zip")[0] == 302


def test_an_artifact_is_downloaded_from_another_host_without_the_token(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    run = project.start_run("pin")
    artifact = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"{}"})

    status, _, headers = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")
    assert status == 302
    assert headers["Location"].startswith("http://localhost:")

    assert http.ask("GET", headers["Location"])[0] == 400
    http.headers.clear()
    status, data, _ = http.ask("GET", headers["Location"])
    assert status == 200
    assert zipfile.ZipFile(io.BytesIO(data)).read("pins.json") == b"{}"
    assert [bool(request.authorization) for request in fake.blobs.requests] == [True, False]


def test_an_address_of_the_blob_host_works_for_a_while_only(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    artifact = project.add_artifact(project.start_run("pin").id, "pins", {"pins.json": b"{}"})
    _, _, headers = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")
    http.headers.clear()

    fake.blobs.expire()

    assert http.ask("GET", headers["Location"])[0] == 403


def test_an_expired_artifact_is_listed_and_gone(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    artifact = project.add_artifact(project.start_run("pin").id, "pins", {"pins.json": b"{}"}, days=1)
    fake.clock.advance(86_401)

    _, document, _ = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}")
    status, refusal, _ = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")

    assert document["expired"] is True
    assert (status, refusal["message"]) == (410, "Artifact has expired")


def test_an_artifact_needs_the_right_to_read_actions(fake: FakeGitHub, project: Project) -> None:
    artifact = project.add_artifact(project.start_run("pin").id, "pins", {"pins.json": b"{}"})
    fake.add_token("ghs_contents", contents="write")

    assert ask_once(fake, "ghs_contents", "GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")[0] == 403


def test_a_comment_is_written_found_and_replaced(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    project.open_pull(7)
    _, made, _ = http.ask("POST", "/repos/group/app/issues/7/comments", {"body": "moved: alpine"})
    fake.clock.advance(5)

    _, edited, _ = http.ask("PATCH", f"/repos/group/app/issues/comments/{made['id']}", {"body": "moved: nothing"})
    _, listed, _ = http.ask("GET", "/repos/group/app/issues/7/comments")

    assert [(one["body"], one["user"]["login"], one["user"]["type"]) for one in listed] == [
        ("moved: nothing", "github-actions[bot]", "Bot")
    ]
    assert (edited["created_at"], edited["updated_at"]) == ("2026-01-02T03:04:05Z", "2026-01-02T03:04:10Z")
    assert http.ask("POST", "/repos/group/app/issues/7/comments", {"body": "x" * 65537})[0] == 422
    assert http.ask("DELETE", f"/repos/group/app/issues/comments/{made['id']}")[0] == 204
    assert http.ask("GET", f"/repos/group/app/issues/comments/{made['id']}")[0] == 404


def test_a_locked_pull_request_takes_no_comment_and_reading_rights_write_none(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    project.open_pull(7)
    fake.add_token("ghs_reader", pull_requests="read")
    fake.add_token("ghs_writer", pull_requests="write")
    assert ask_once(fake, "ghs_reader", "POST", "/repos/group/app/issues/7/comments", {"body": "x"})[0] == 403
    assert ask_once(fake, "ghs_writer", "POST", "/repos/group/app/issues/7/comments", {"body": "x"})[0] == 201

    project.lock_issue(7)

    assert http.ask("POST", "/repos/group/app/issues/7/comments", {"body": "x"})[0] == 403
