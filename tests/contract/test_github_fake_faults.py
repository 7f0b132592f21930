"""What can go wrong between any two calls to GitHub, and how the fake lets it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3

from tests.fakes.github import FakeGitHub, Project
from tests.fakes.github_bare_client import BareClient
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


def test_a_lost_reply_leaves_what_was_written(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]
    fake.fail(method="POST", path="/git/refs", lose_reply=True)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": tip})

    assert project.git.refs["refs/stagepin/a"] == tip
    assert http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": tip})[0] == 422


def test_a_dropped_request_changes_nothing(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fake.fail(method="POST", path="/git/refs", drop=True)

    with pytest.raises(urllib3.exceptions.ProtocolError):
        http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": project.git.refs["refs/heads/main"]})

    assert list(project.git.refs) == ["refs/heads/main"]


def test_a_fault_waits_for_its_turn_and_ends(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fake.fail(path="/git/ref/", status=502, skip=1, times=2)

    statuses = [http.ask("GET", "/repos/group/app/git/ref/heads/main")[0] for _ in range(4)]

    assert statuses == [200, 502, 502, 200]


def test_both_rate_limits_look_like_githubs(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fake.limit_rate(seconds=90)
    fake.limit_rate_secondary(status=429, retry_after=7)

    first, second = http.ask("GET", "/repos/group/app"), http.ask("GET", "/repos/group/app")

    assert (first[0], first[2]["X-RateLimit-Remaining"]) == (403, "0")
    assert first[2]["X-RateLimit-Reset"] == str(int(fake.clock.now().timestamp()) + 90)
    assert (second[0], second[2]["Retry-After"]) == (429, "7")
    assert second[1]["documentation_url"].endswith("#about-secondary-rate-limits")
    assert first[2]["Date"] == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert http.ask("GET", "/repos/group/app")[2]["X-RateLimit-Limit"] == "5000"


def test_a_redirect_may_lead_to_another_host(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fake.fail(path="/git/ref/", redirect="http://evil.example/")

    status, _, headers = http.ask("GET", "/repos/group/app/git/ref/heads/main")

    assert (status, headers["Location"]) == (302, "http://evil.example/")


def test_half_an_answer_and_a_changed_one(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fake.fail(cut=True)
    fake.fail(change=lambda body: b"[1]")

    with pytest.raises(urllib3.exceptions.HTTPError):
        http.ask("GET", "/repos/group/app")

    assert http.ask("GET", "/repos/group/app")[1] == [1]


def test_while_reads_lag_what_is_new_is_404_and_writes_know_better(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]
    fake.lag(reads=2)
    create = {"ref": "refs/stagepin/a", "sha": tip}
    assert http.ask("POST", "/repos/group/app/git/refs", create)[0] == 201

    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 404
    assert http.ask("POST", "/repos/group/app/git/refs", create)[0] == 422
    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 404
    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 200


def test_lag_may_last_for_a_time(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    fake.hide(seconds=5)
    project.open_pull(7)

    assert http.ask("GET", "/repos/group/app/issues/7/comments")[0] == 404
    fake.clock.advance(4)
    assert http.ask("GET", "/repos/group/app/issues/7/comments")[0] == 404
    fake.clock.advance(1)
    assert http.ask("GET", "/repos/group/app/issues/7/comments")[0] == 200


def test_somebody_may_act_between_two_calls(fake: FakeGitHub, http: BareClient, project: Project) -> None:
    tip = project.git.refs["refs/heads/main"]
    fake.on_request = lambda request: project.git.refs.update({"refs/stagepin/a": tip}) if request.method == "POST" else None

    assert http.ask("GET", "/repos/group/app/git/ref/stagepin/a")[0] == 404
    assert http.ask("POST", "/repos/group/app/git/refs", {"ref": "refs/stagepin/a", "sha": tip})[0] == 422
