"""The fake GitHub does what GitHub does where our stores notice: driven by PyGithub, unmodified, and by bare HTTP; every exchange is held
to GitHub's own description of its API.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from github import Auth, Github, GithubException, InputGitTreeElement
from github.Repository import Repository

from tests.fakes.github import FakeGitHub, Project
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


class Http:
    """Bare requests with a token, no retries, no redirects."""

    def __init__(self, fake: FakeGitHub, token: str | None) -> None:
        self._fake, self._pool = fake, urllib3.PoolManager(retries=False)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any, dict[str, str]]:
        """Status, document (None where there is none) and headers."""
        address = path if path.startswith("http") else f"{self._fake.url}{path}"
        sent = {"json": body} if body is not None else {}
        answer = self._pool.request(method, address, headers=dict(self.headers), redirect=False, timeout=5.0, **sent)  # type: ignore[arg-type]
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, json.loads(answer.data) if is_json else answer.data, dict(answer.headers)


@pytest.fixture
def http(fake: FakeGitHub) -> Iterator[Http]:
    made = Http(fake, fake.add_token(contents="write", actions="write", issues="write"))
    yield made
    made._pool.clear()


@pytest.fixture
def repository(fake: FakeGitHub, project: Project) -> Iterator[Repository]:
    token = fake.add_token("ghs_pygithub", contents="write", actions="write", issues="write")
    client = Github(base_url=fake.url, auth=Auth.Token(token), retry=None, seconds_between_requests=0, seconds_between_writes=0, lazy=True)
    yield client.get_repo("group/app")
    client.close()


def write_pins(repository: Repository, text: str, *parents: Any) -> Any:
    """A commit whose tree holds one file."""
    blob = repository.create_git_blob(base64.b64encode(text.encode()).decode(), "base64")
    tree = repository.create_git_tree([InputGitTreeElement("pins.json", "100644", "blob", sha=blob.sha)])
    return repository.create_git_commit(f"pins {text}", tree, list(parents))


# The git database


def test_objects_have_the_ids_git_gives_them(fake: FakeGitHub, http: Http, project: Project, tmp_path: Path) -> None:
    def git(*arguments: str, data: bytes = b"") -> str:
        done = subprocess.run(["git", *arguments], input=data, capture_output=True, check=True, cwd=tmp_path)
        return done.stdout.decode().strip()

    git("init", "--quiet")
    _, blob, _ = http.ask("POST", "/repos/group/app/git/blobs", {"content": "{}", "encoding": "utf-8"})
    assert blob["sha"] == git("hash-object", "-w", "--stdin", data=b"{}")

    entries = [{"path": path, "mode": "100644", "type": "blob", "sha": blob["sha"]} for path in ("b.json", "a/x.json", "a.json")]
    _, tree, _ = http.ask("POST", "/repos/group/app/git/trees", {"tree": entries})
    for path in ("b.json", "a/x.json", "a.json"):
        git("update-index", "--add", "--cacheinfo", f"100644,{blob['sha']},{path}")
    assert tree["sha"] == git("write-tree")

    person = {"name": "Ada", "email": "ada@example.com", "date": "2026-01-02T03:04:05Z"}
    _, commit, _ = http.ask("POST", "/repos/group/app/git/commits", {"message": "pins\n", "tree": tree["sha"], "author": person})
    raw = f"tree {tree['sha']}\nauthor Ada <ada@example.com> 1767323045 +0000\ncommitter Ada <ada@example.com> 1767323045 +0000\n\npins\n"
    assert commit["sha"] == git("hash-object", "-t", "commit", "-w", "--stdin", data=raw.encode())


def test_a_blob_comes_back_as_it_was_sent(repository: Repository) -> None:
    data = bytes(range(256))
    sha = repository.create_git_blob(base64.b64encode(data).decode(), "base64").sha

    blob = repository.get_git_blob(sha)

    assert blob.encoding == "base64"
    assert base64.b64decode(blob.content) == data
    assert max(len(line) for line in blob.content.splitlines()) == 60


def test_a_ref_is_created_once(repository: Repository) -> None:
    ours, theirs = write_pins(repository, "ours"), write_pins(repository, "theirs")
    repository.create_git_ref("refs/stagepin/0123456789ab", ours.sha)

    with pytest.raises(GithubException) as refused:
        repository.create_git_ref("refs/stagepin/0123456789ab", theirs.sha)

    assert refused.value.status == 422
    assert refused.value.data["message"] == "Reference already exists"
    assert repository.get_git_ref("stagepin/0123456789ab").object.sha == ours.sha


def test_of_sixteen_that_create_one_ref_one_wins(fake: FakeGitHub, project: Project, http: Http) -> None:
    tree = project.git.commits[project.git.refs["refs/heads/main"]].tree
    commits = [http.ask("POST", "/repos/group/app/git/commits", {"message": f"{n}", "tree": tree})[1]["sha"] for n in range(16)]

    def create(sha: str) -> int:
        return Http(fake, "ghs_fake").ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": sha})[0]

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(create, commits))

    assert sorted(statuses) == [201, *[422] * 15]
    assert project.git.refs["refs/stagepin/a"] == commits[statuses.index(201)]


def test_a_ref_moves_forward_only(repository: Repository) -> None:
    first = write_pins(repository, "1")
    second, stranger = write_pins(repository, "2", first), write_pins(repository, "3")
    ref = repository.create_git_ref("refs/stagepin/a", first.sha)
    ref.edit(second.sha)

    with pytest.raises(GithubException) as refused:
        ref.edit(stranger.sha, force=False)

    assert (refused.value.status, refused.value.data["message"]) == (422, "Update is not a fast forward")
    assert repository.get_git_ref("stagepin/a").object.sha == second.sha


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "git/ref/stagepin/none", None, 404),
        ("GET", "git/blobs/" + "0" * 40, None, 404),
        ("GET", "git/blobs/nonsense", None, 422),
        ("GET", "git/trees/" + "0" * 40, None, 404),
        ("GET", "git/commits/" + "0" * 40, None, 404),
        ("POST", "git/refs", {"ref": "stagepin/a", "sha": "0" * 40}, 422),
        ("POST", "git/refs", {"ref": "refs/stagepin", "sha": "0" * 40}, 422),
        ("POST", "git/refs", {"ref": "refs/stagepin/a", "sha": "0" * 40}, 422),
        ("PATCH", "git/refs/stagepin/none", {"sha": "0" * 40}, 422),
        ("DELETE", "git/refs/stagepin/none", None, 422),
        ("POST", "git/commits", {"message": "m", "tree": "0" * 40}, 422),
        ("POST", "git/trees", {"tree": [{"path": "a", "mode": "100644", "type": "blob", "sha": "0" * 40}]}, 422),
        ("POST", "git/blobs", {"content": "?", "encoding": "base64"}, 422),
        ("GET", "actions/runs/1", None, 404),
        ("GET", "actions/artifacts/1", None, 404),
        ("GET", "issues/1/comments", None, 404),
        ("PATCH", "issues/comments/1", {"body": "x"}, 404),
    ],
)
def test_what_is_not_there_or_cannot_be_is_refused(http: Http, project: Project, method: str, path: str, body: object, status: int) -> None:
    found, document, _ = http.ask(method, f"/repos/group/app/{path}", body)

    assert found == status
    assert set(document) == {"message", "documentation_url", "status"}


def test_an_empty_repository_takes_no_objects(fake: FakeGitHub, http: Http) -> None:
    fake.add_project("group/empty")

    status, document, _ = http.ask("POST", "/repos/group/empty/git/blobs", {"content": "x"})

    assert (status, document["message"]) == (409, "Git Repository is empty.")


def test_a_deleted_ref_can_be_made_again(repository: Repository) -> None:
    commit = write_pins(repository, "1")
    repository.create_git_ref("refs/stagepin/a", commit.sha).delete()

    assert [ref.ref for ref in repository.get_git_matching_refs("stagepin/")] == []
    assert repository.create_git_ref("refs/stagepin/a", commit.sha).ref == "refs/stagepin/a"


# Who may what


def test_a_token_nobody_knows_is_401(fake: FakeGitHub, project: Project) -> None:
    status, document, _ = Http(fake, "ghs_unknown").ask("GET", "/repos/group/app")

    assert (status, document["message"]) == (401, "Bad credentials")


def test_a_right_that_is_missing_is_403_and_named(fake: FakeGitHub, project: Project) -> None:
    fake.add_token("ghs_reader", contents="read")
    fake.add_token("ghp_reader", contents="read", is_app=False)

    status, document, headers = Http(fake, "ghs_reader").ask("POST", "/repos/group/app/git/blobs", {"content": "x"})

    assert (status, document["message"]) == (403, "Resource not accessible by integration")
    assert headers["X-Accepted-GitHub-Permissions"] == "contents=write"
    _, document, _ = Http(fake, "ghp_reader").ask("GET", "/repos/group/app/actions/runs")
    assert document["message"] == "Resource not accessible by personal access token"


def test_from_a_classic_token_github_hides_what_it_may_not_do(fake: FakeGitHub, project: Project) -> None:
    fake.add_token("ghp_classic", is_classic=True, contents="read")

    assert Http(fake, "ghp_classic").ask("GET", "/repos/group/app/git/ref/heads/main")[0] == 200
    assert Http(fake, "ghp_classic").ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": "0" * 40})[0] == 404


def test_a_jobs_own_token_is_nobodys(fake: FakeGitHub, http: Http) -> None:
    fake.add_token("ghp_ada", login="ada", is_app=False)

    assert http.ask("GET", "/user")[0] == 403
    assert Http(fake, None).ask("GET", "/user")[0] == 401
    assert Http(fake, "ghp_ada").ask("GET", "/user")[1]["login"] == "ada"


def test_a_private_project_is_hidden_from_a_token_of_another(fake: FakeGitHub, project: Project) -> None:
    other = fake.add_project("group/other")
    fake.add_token("ghs_other", contents="write", projects=[other])

    assert Http(fake, "ghs_other").ask("GET", "/repos/group/app")[0] == 404
    assert Http(fake, "ghs_other").ask("POST", "/repos/group/app/git/blobs", {"content": "x"})[0] == 404
    assert Http(fake, None).ask("GET", "/repos/group/app")[0] == 404
    assert Http(fake, "ghs_other").ask("GET", "/repos/group/other")[0] == 200


def test_a_public_project_can_be_read_by_anybody_and_written_by_few(fake: FakeGitHub) -> None:
    public = fake.add_project("group/open", private=False)
    public.commit_files({"a": b"b"})
    fake.add_token("ghs_nothing")

    assert Http(fake, None).ask("GET", "/repos/group/open/git/ref/heads/main")[0] == 200
    assert Http(fake, "ghs_nothing").ask("GET", "/repos/group/open/git/ref/heads/main")[0] == 200
    assert Http(fake, None).ask("POST", "/repos/group/open/git/blobs", {"content": "x"})[0] == 401
    assert Http(fake, "ghs_nothing").ask("POST", "/repos/group/open/git/blobs", {"content": "x"})[0] == 403


def test_a_renamed_project_redirects_by_its_id(fake: FakeGitHub, project: Project, http: Http) -> None:
    fake.rename_project(project, "group/renamed")

    status, document, headers = http.ask("GET", "/repos/group/app/git/ref/heads/main")

    assert (status, document["message"]) == (301, "Moved Permanently")
    assert headers["Location"] == f"{fake.url}/repositories/{project.id}/git/ref/heads/main"
    assert http.ask("GET", headers["Location"])[1]["ref"] == "refs/heads/main"
    assert http.ask("POST", "/repos/group/app/git/blobs", {"content": "x"})[0] == 307
    assert http.ask("GET", "/repos/GROUP/Renamed")[1]["id"] == project.id


# Runs, attempts, artifacts


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


def test_a_run_that_is_not_over_cannot_be_rerun(http: Http, project: Project) -> None:
    run = project.start_run("pin")

    assert http.ask("POST", f"/repos/group/app/actions/runs/{run.id}/rerun")[0] == 403


def test_an_attempt_keeps_its_start_and_how_it_ended(fake: FakeGitHub, http: Http, project: Project) -> None:
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
    assert [job["name"] for job in http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/attempts/1/jobs")[1]["jobs"]] == ["pin"]
    assert http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/attempts/3")[0] == 404


def test_a_run_from_a_fork_says_whose_head_it_is(fake: FakeGitHub, http: Http, project: Project) -> None:
    fork = fake.add_project("stranger/app", private=False, fork_of=project.id)
    run = project.start_run("pin", event="pull_request", head_repository=fork.id, pull=7)

    _, document, _ = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}")

    assert document["head_repository"]["full_name"] == "stranger/app"
    assert document["pull_requests"] == []


def test_lists_come_in_pages_that_link_by_the_projects_id(fake: FakeGitHub, http: Http, repository: Repository, project: Project) -> None:
    run = project.start_run("pin")
    names = [f"a{number:02}" for number in range(65)]
    for name in names:
        project.add_artifact(run.id, name, {"x": b"1"})

    _, document, headers = http.ask("GET", f"/repos/group/app/actions/runs/{run.id}/artifacts?per_page=30&page=2")

    assert (document["total_count"], len(document["artifacts"])) == (65, 30)
    next_page = f"<{fake.url}/repositories/{project.id}/actions/runs/{run.id}/artifacts?per_page=30&page=3>"
    assert f'{next_page}; rel="next"' in headers["Link"]
    assert sorted(artifact.name for artifact in repository.get_workflow_run(run.id).get_artifacts()) == names


def test_an_artifact_is_downloaded_from_another_host_without_the_token(fake: FakeGitHub, http: Http, project: Project) -> None:
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


def test_an_address_of_the_blob_host_works_for_a_while_only(fake: FakeGitHub, http: Http, project: Project) -> None:
    artifact = project.add_artifact(project.start_run("pin").id, "pins", {"pins.json": b"{}"})
    _, _, headers = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")
    http.headers.clear()

    fake.blobs.expire()

    assert http.ask("GET", headers["Location"])[0] == 403


def test_an_expired_artifact_is_listed_and_gone(fake: FakeGitHub, http: Http, project: Project) -> None:
    artifact = project.add_artifact(project.start_run("pin").id, "pins", {"pins.json": b"{}"}, days=1)
    fake.clock.advance(86_401)

    _, document, _ = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}")
    status, refusal, _ = http.ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")

    assert document["expired"] is True
    assert (status, refusal["message"]) == (410, "Artifact has expired")


def test_an_artifact_needs_the_right_to_read_actions(fake: FakeGitHub, project: Project) -> None:
    artifact = project.add_artifact(project.start_run("pin").id, "pins", {"pins.json": b"{}"})
    fake.add_token("ghs_contents", contents="write")

    assert Http(fake, "ghs_contents").ask("GET", f"/repos/group/app/actions/artifacts/{artifact.id}/zip")[0] == 403


# Comments


def test_a_comment_is_written_found_and_replaced(fake: FakeGitHub, http: Http, project: Project) -> None:
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


def test_a_locked_pull_request_takes_no_comment_and_reading_rights_write_none(fake: FakeGitHub, http: Http, project: Project) -> None:
    project.open_pull(7)
    fake.add_token("ghs_reader", pull_requests="read")
    fake.add_token("ghs_writer", pull_requests="write")
    assert Http(fake, "ghs_reader").ask("POST", "/repos/group/app/issues/7/comments", {"body": "x"})[0] == 403
    assert Http(fake, "ghs_writer").ask("POST", "/repos/group/app/issues/7/comments", {"body": "x"})[0] == 201

    project.lock_issue(7)

    assert http.ask("POST", "/repos/group/app/issues/7/comments", {"body": "x"})[0] == 403


# Faults between any two calls


def test_a_lost_reply_leaves_what_was_written(fake: FakeGitHub, http: Http, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]
    fake.fail(method="POST", path="/git/refs", lose_reply=True)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": tip})

    assert project.git.refs["refs/stagepin/a"] == tip
    assert http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": tip})[0] == 422


def test_a_dropped_request_changes_nothing(fake: FakeGitHub, http: Http, project: Project) -> None:
    fake.fail(method="POST", path="/git/refs", drop=True)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": project.git.refs["refs/heads/main"]})

    assert list(project.git.refs) == ["refs/heads/main"]


def test_a_fault_waits_for_its_turn_and_ends(fake: FakeGitHub, http: Http, project: Project) -> None:
    fake.fail(path="/git/ref/", status=502, skip=1, times=2)

    statuses = [http.ask("GET", "/repos/group/app/git/ref/heads/main")[0] for _ in range(4)]

    assert statuses == [200, 502, 502, 200]


def test_both_rate_limits_look_like_githubs(fake: FakeGitHub, http: Http, project: Project) -> None:
    fake.limit_rate(seconds=90)
    fake.limit_rate_secondary(status=429, retry_after=7)

    first, second = http.ask("GET", "/repos/group/app"), http.ask("GET", "/repos/group/app")

    assert (first[0], first[2]["X-RateLimit-Remaining"]) == (403, "0")
    assert first[2]["X-RateLimit-Reset"] == str(int(fake.clock.now().timestamp()) + 90)
    assert (second[0], second[2]["Retry-After"]) == (429, "7")
    assert second[1]["documentation_url"].endswith("#about-secondary-rate-limits")
    assert first[2]["Date"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert http.ask("GET", "/repos/group/app")[2]["X-RateLimit-Limit"] == "5000"


def test_a_redirect_may_lead_to_another_host(fake: FakeGitHub, http: Http, project: Project) -> None:
    fake.fail(path="/git/ref/", redirect="http://evil.example/")

    status, _, headers = http.ask("GET", "/repos/group/app/git/ref/heads/main")

    assert (status, headers["Location"]) == (302, "http://evil.example/")


def test_half_an_answer_and_a_changed_one(fake: FakeGitHub, http: Http, project: Project) -> None:
    fake.fail(cut=True)
    fake.fail(change=lambda body: b"[1]")

    with pytest.raises(urllib3.exceptions.HTTPError):
        http.ask("GET", "/repos/group/app")

    assert http.ask("GET", "/repos/group/app")[1] == [1]


def test_while_reads_lag_what_is_new_is_404_and_writes_know_better(fake: FakeGitHub, http: Http, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]
    fake.lag(reads=2)
    create = {"ref": "refs/stagepin/a", "sha": tip}
    assert http.ask("POST", "/repos/group/app/git/refs", create)[0] == 201

    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 404
    assert http.ask("POST", "/repos/group/app/git/refs", create)[0] == 422
    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 404
    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 200


def test_lag_may_last_for_a_time(fake: FakeGitHub, http: Http, project: Project) -> None:
    fake.hide(seconds=5)
    project.open_pull(7)

    assert http.ask("GET", "/repos/group/app/issues/7/comments")[0] == 404
    fake.clock.advance(4)
    assert http.ask("GET", "/repos/group/app/issues/7/comments")[0] == 404
    fake.clock.advance(1)
    assert http.ask("GET", "/repos/group/app/issues/7/comments")[0] == 200


def test_somebody_may_act_between_two_calls(fake: FakeGitHub, http: Http, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]
    fake.on_request = lambda request: project.git.refs.update({"refs/stagepin/a": tip}) if request.method == "POST" else None

    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 404
    assert http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": tip})[0] == 422
