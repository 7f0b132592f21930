"""Every route of the fake GitHub is held to GitHub's own description of its API, and the check that does it can fail."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.fakes.github import FakeGitHub
from tests.fakes.github_actions import ACTIONS_ROUTES, COMMENT_ROUTES
from tests.fakes.github_http import Answer, Exchange, Request, json_answer
from tests.fakes.github_openapi import problems
from tests.fakes.github_rest import GIT_ROUTES, USER

_PATHS = Path(__file__).parents[1] / "data/github/openapi-paths.txt"
ROUTES = (*GIT_ROUTES, *ACTIONS_ROUTES, *COMMENT_ROUTES)


@pytest.fixture
def created() -> Iterator[Exchange]:
    """A real one: a ref is created."""
    with FakeGitHub(record=True) as fake:
        project = fake.add_project("group/app")
        commit = project.commit_files({"README.md": b"hello"})
        headers = {"Authorization": f"Bearer {fake.add_token(contents='write')}"}
        body = {"ref": "refs/stagepin/a", "sha": commit}
        with urllib3.PoolManager() as pool:
            pool.request("POST", f"{fake.url}/repos/group/app/git/refs", json=body, headers=headers)
        yield fake.exchanges[0]


@pytest.fixture
def everything() -> Iterator[FakeGitHub]:
    """Each route was called once, with success."""
    with FakeGitHub(record=True) as fake, urllib3.PoolManager(retries=False) as pool:
        project = fake.add_project("group/app", id=7)
        commit = project.commit_files({"a/README.md": b"hello"})
        project.open_pull(5)
        run = project.start_run("pin", event="pull_request", pull=5, run_id=20)
        artifact = project.add_artifact(run.id, "pins", {"pins.json": b"{}"})
        comment = project.add_comment(5, "ada", "hello")
        project.finish_run(run.id, failed=["pin"])
        tree, job = project.git.commits[commit].tree, project.latest_jobs(run.id)[0].id
        blob = project.git.walk(tree)[1][1].sha
        headers = {"Authorization": f"Bearer {fake.add_token(contents='write', actions='write', pull_requests='write')}"}
        entry = {"path": "b", "mode": "100644", "type": "blob", "sha": blob}
        calls: list[tuple[str, str, object]] = [
            ("GET", "", None),
            ("POST", "git/blobs", {"content": "eA==", "encoding": "base64"}),
            ("GET", f"git/blobs/{blob}", None),
            ("POST", "git/trees", {"base_tree": tree, "tree": [entry, {**entry, "path": "c", "mode": "100755"}]}),
            ("GET", f"git/trees/{tree}?recursive=1", None),
            ("POST", "git/commits", {"message": "m", "tree": tree, "parents": [commit]}),
            ("GET", f"git/commits/{commit}", None),
            ("POST", "git/refs", {"ref": "refs/stagepin/a", "sha": commit}),
            ("GET", "git/ref/stagepin/a", None),
            ("GET", "git/matching-refs/stagepin", None),
            ("PATCH", "git/refs/stagepin/a", {"sha": commit, "force": False}),
            ("DELETE", "git/refs/stagepin/a", None),
            ("GET", f"actions/runs?event=pull_request&branch=main&head_sha={commit}", None),
            ("GET", "actions/runs/20", None),
            ("GET", "actions/runs/20/attempts/1", None),
            ("GET", "actions/runs/20/attempts/1/jobs", None),
            ("GET", "actions/runs/20/jobs?filter=all", None),
            ("GET", f"actions/jobs/{job}", None),
            ("GET", "actions/runs/20/artifacts?name=pins&direction=asc&per_page=1&page=1", None),
            ("GET", "actions/artifacts?name=pins", None),
            ("GET", f"actions/artifacts/{artifact.id}", None),
            ("GET", f"actions/artifacts/{artifact.id}/zip", None),
            ("DELETE", f"actions/artifacts/{artifact.id}", None),
            ("POST", "actions/runs/20/rerun-failed-jobs", None),
            ("GET", "issues/5/comments?per_page=100", None),
            ("POST", "issues/5/comments", {"body": "moved"}),
            ("GET", f"issues/comments/{comment.id}", None),
            ("PATCH", f"issues/comments/{comment.id}", {"body": "settled"}),
            ("DELETE", f"issues/comments/{comment.id}", None),
        ]
        for method, path, body in calls:
            _send(pool, method, f"{fake.url}/repos/group/app/{path}".rstrip("/"), headers, body)
        _send(pool, "GET", f"{fake.url}{USER}", {"Authorization": f"Bearer {fake.add_token('ghp_ada', login='ada', is_app=False)}"}, None)
        project.finish_run(run.id)
        _send(pool, "POST", f"{fake.url}/repositories/7/actions/runs/20/rerun", headers, None)
        yield fake


def _send(pool: urllib3.PoolManager, method: str, url: str, headers: dict[str, str], body: object) -> None:
    sent = None if body is None else json.dumps(body).encode()
    pool.request(method, url, body=sent, headers={**headers, "Content-Type": "application/json"}, redirect=False)


def with_document(exchange: Exchange, change: Callable[[dict[str, Any]], Any]) -> Exchange:
    """The same with another answer's document."""
    document = json.loads(exchange.answer.body)
    change(document)
    return replace(exchange, answer=replace(exchange.answer, body=json.dumps(document).encode()))


def with_body(exchange: Exchange, **fields: object) -> Exchange:
    """The same with other fields sent."""
    body = json.dumps(json.loads(exchange.request.body) | fields).encode()
    return replace(exchange, request=replace(exchange.request, body=body))


def test_the_description_knows_every_route_of_the_fake_and_nothing_else_is_fetched() -> None:
    assert sorted({USER, *(route.path for route in ROUTES)}) == _PATHS.read_text().split()
    for route in ROUTES:
        request = Request(route.method, route.path, {})
        assert "GitHub describes no such operation" not in str(problems([Exchange(request, Answer(0))])), route


def test_every_route_answers_as_described(everything: FakeGitHub) -> None:
    called = {
        route
        for exchange in everything.exchanges
        for route in ROUTES
        if route.match(exchange.request.method, exchange.request.path.replace("/repositories/7", "/repos/group/app"))
        and exchange.answer.status < 400
    }

    assert [f"{route.method} {route.path}" for route in ROUTES if route not in called] == []
    assert problems(everything.exchanges) == []


def test_what_the_fake_says_conforms(created: Exchange) -> None:
    assert created.answer.status == 201
    assert problems([created]) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda document: document.pop("node_id"), "'node_id' is a required property"),
        (lambda document: document.update(attempt=1), "'attempt' was unexpected"),
        (lambda document: document.update(ref=None), "$.ref: None is not of type 'string'"),
        (lambda document: document.update(url="nowhere"), "$.url: 'nowhere' is not a 'uri'"),
        (lambda document: document["object"].update(sha="short"), "$.object.sha: 'short' is too short"),
    ],
)
def test_an_answer_that_is_not_githubs_is_found(created: Exchange, change: Callable[[dict[str, Any]], Any], problem: str) -> None:
    [found] = problems([with_document(created, change)])

    assert found.startswith("POST /repos/group/app/git/refs: answer 201: ")
    assert problem in found


def test_a_status_or_a_header_that_is_not_githubs_is_found(created: Exchange) -> None:
    without = replace(created.answer, headers={"Content-Type": "application/json"})

    assert problems([replace(created, answer=replace(created.answer, status=200))]) == [
        "POST /repos/group/app/git/refs: GitHub describes no answer 200 here"
    ]
    assert problems([replace(created, answer=without)]) == ["POST /repos/group/app/git/refs: answer 201: expected a Location"]


def test_what_a_client_sends_is_held_to_the_description_even_where_a_fault_answers(created: Exchange) -> None:
    faulty = replace(created, is_faulty=True, answer=Answer(502))

    assert problems([faulty]) == []
    assert "'force' was unexpected" in problems([with_body(faulty, force=True)])[0]
    assert "$.sha: 1 is not of type 'string'" in problems([with_body(faulty, sha=1)])[0]
    assert problems([replace(faulty, request=replace(created.request, body=b""))]) == ["POST /repos/group/app/git/refs: expected a body"]


@pytest.mark.parametrize(
    ("method", "target", "problem"),
    [
        ("GET", "/repos/group/app/nothing", "GitHub describes no such operation"),
        ("PUT", "/repos/group/app/git/refs", "GitHub describes no such operation"),
        ("GET", "/repos/group/app/git/ref/heads/main?recursive=1", "GitHub knows no parameter recursive here"),
        ("GET", "/repositories/7/actions/runs?per_page=many", "parameter per_page: $: 'many' is not of type 'integer'"),
    ],
)
def test_a_request_github_does_not_describe_is_found(method: str, target: str, problem: str) -> None:
    answer = json_answer(404, {"message": "Not Found"})

    assert problems([Exchange(Request(method, target, {}), answer)]) == [f"{method} {target}: {problem}"]


def test_dates_are_dates_and_what_may_be_null_may_be_null() -> None:
    artifact: dict[str, object] = {"id": 1, "node_id": "A", "name": "pins", "size_in_bytes": 1, "url": "u", "archive_download_url": "u"}
    artifact |= {"expired": False, "created_at": None, "expires_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02"}
    request = Request("GET", "/repos/group/app/actions/artifacts/1", {})

    found = problems([Exchange(request, json_answer(200, artifact))])

    assert found == ["GET /repos/group/app/actions/artifacts/1: answer 200: $.updated_at: '2026-01-02' is not a 'date-time'"]
