"""The fake GitHub keeps objects and refs, and says who may what, as GitHub does: driven by PyGithub, unmodified, and by bare HTTP.

Every exchange is held to GitHub's own description of its API.
"""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from github import Auth, Github, GithubException, InputGitTreeElement
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


def write_pins(repository: Repository, text: str, *parents: Any) -> Any:
    """A commit whose tree holds one file."""
    blob = repository.create_git_blob(base64.b64encode(text.encode()).decode(), "base64")
    tree = repository.create_git_tree([InputGitTreeElement("pins.json", "100644", "blob", sha=blob.sha)])
    return repository.create_git_commit(f"pins {text}", tree, list(parents))


# The git database


def test_objects_have_the_ids_git_gives_them(fake: FakeGitHub, http: BareClient, project: Project, tmp_path: Path) -> None:
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


def test_of_sixteen_that_create_one_ref_one_wins(fake: FakeGitHub, project: Project, http: BareClient) -> None:
    tree = project.git.commits[project.git.refs["refs/heads/main"]].tree
    commits = [http.ask("POST", "/repos/group/app/git/commits", {"message": f"{n}", "tree": tree})[1]["sha"] for n in range(16)]

    def create(sha: str) -> int:
        return ask_once(fake, "ghs_fake", "POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": sha})[0]

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
def test_what_is_not_there_or_cannot_be_is_refused(
    http: BareClient, project: Project, method: str, path: str, body: object, status: int
) -> None:
    found, document, _ = http.ask(method, f"/repos/group/app/{path}", body)

    assert found == status
    assert set(document) == {"message", "documentation_url", "status"}


def test_a_commit_with_a_parent_that_is_not_there_is_refused(http: BareClient, project: Project) -> None:
    tree = project.git.commits[project.git.refs["refs/heads/main"]].tree

    status, document, _ = http.ask("POST", "/repos/group/app/git/commits", {"message": "m", "tree": tree, "parents": ["0" * 40]})

    assert (status, document["message"]) == (422, "Parent SHA does not exist or is not a commit object")


def test_a_ref_cannot_lie_below_another(http: BareClient, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]

    status, document, _ = http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/heads/main/below", "sha": tip})

    assert (status, document["message"]) == (422, "Reference update failed")


def test_an_empty_repository_takes_no_objects(fake: FakeGitHub, http: BareClient) -> None:
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
    status, document, _ = ask_once(fake, "ghs_unknown", "GET", "/repos/group/app")

    assert (status, document["message"]) == (401, "Bad credentials")


def test_a_right_that_is_missing_is_403_and_named(fake: FakeGitHub, project: Project) -> None:
    fake.add_token("ghs_reader", contents="read")
    fake.add_token("ghp_reader", contents="read", is_app=False)

    status, document, headers = ask_once(fake, "ghs_reader", "POST", "/repos/group/app/git/blobs", {"content": "x"})

    assert (status, document["message"]) == (403, "Resource not accessible by integration")
    assert headers["X-Accepted-GitHub-Permissions"] == "contents=write"
    _, document, _ = ask_once(fake, "ghp_reader", "GET", "/repos/group/app/actions/runs")
    assert document["message"] == "Resource not accessible by personal access token"


def test_from_a_classic_token_github_hides_what_it_may_not_do(fake: FakeGitHub, project: Project) -> None:
    fake.add_token("ghp_classic", is_classic=True, contents="read")

    assert ask_once(fake, "ghp_classic", "GET", "/repos/group/app/git/ref/heads/main")[0] == 200
    assert ask_once(fake, "ghp_classic", "POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": "0" * 40})[0] == 404


def test_a_jobs_own_token_is_nobodys(fake: FakeGitHub, http: BareClient) -> None:
    fake.add_token("ghp_ada", login="ada", is_app=False)

    assert http.ask("GET", "/user")[0] == 403
    assert ask_once(fake, None, "GET", "/user")[0] == 401
    assert ask_once(fake, "ghp_ada", "GET", "/user")[1]["login"] == "ada"


def test_a_private_project_is_hidden_from_a_token_of_another(fake: FakeGitHub, project: Project) -> None:
    other = fake.add_project("group/other")
    fake.add_token("ghs_other", contents="write", projects=[other])

    assert ask_once(fake, "ghs_other", "GET", "/repos/group/app")[0] == 404
    assert ask_once(fake, "ghs_other", "POST", "/repos/group/app/git/blobs", {"content": "x"})[0] == 404
    assert ask_once(fake, None, "GET", "/repos/group/app")[0] == 404
    assert ask_once(fake, "ghs_other", "GET", "/repos/group/other")[0] == 200


def test_a_public_project_can_be_read_by_anybody_and_written_by_few(fake: FakeGitHub) -> None:
    public = fake.add_project("group/open", private=False)
    public.commit_files({"a": b"b"})
    fake.add_token("ghs_nothing")

    assert ask_once(fake, None, "GET", "/repos/group/open/git/ref/heads/main")[0] == 200
    assert ask_once(fake, "ghs_nothing", "GET", "/repos/group/open/git/ref/heads/main")[0] == 200
    assert ask_once(fake, None, "POST", "/repos/group/open/git/blobs", {"content": "x"})[0] == 401
    assert ask_once(fake, "ghs_nothing", "POST", "/repos/group/open/git/blobs", {"content": "x"})[0] == 403


def test_a_renamed_project_redirects_by_its_id(fake: FakeGitHub, project: Project, http: BareClient) -> None:
    fake.rename_project(project, "group/renamed")

    status, document, headers = http.ask("GET", "/repos/group/app/git/ref/heads/main")

    assert (status, document["message"]) == (301, "Moved Permanently")
    assert headers["Location"] == f"{fake.url}/repositories/{project.id}/git/ref/heads/main"
    assert http.ask("GET", headers["Location"])[1]["ref"] == "refs/heads/main"
    assert http.ask("POST", "/repos/group/app/git/blobs", {"content": "x"})[0] == 307
    assert http.ask("GET", "/repos/GROUP/Renamed")[1]["id"] == project.id
