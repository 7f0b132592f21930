"""The adapter for GitHub against the fake one: one request a method, statuses become our errors, the token stays where it belongs.

Every exchange is held to GitHub's own description of its API.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ci_plugin import __version__
from ci_plugin.errors import AccessDenied, AnswerIsNo, DocumentError, InputError, StagepinError, Unavailable
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.artifact_store import PINS_PATH
from ci_plugin.forge.github import GitHub
from ci_plugin.forge.ref_store import GitDatabase
from ci_plugin.values.document import LARGEST_DOCUMENT
from tests.contract.test_github_artifact_client import JobWithClient, step
from tests.fakes.github import FakeGitHub, Project
from tests.fakes.github_openapi import problems
from tests.fakes.github_state import zip_of

REF = "stagepin/0123456789ab"
NOBODY = "0" * 40


@pytest.fixture
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub(record=True) as running:
        yield running
    # Who a token belongs to is asked outside a repository, which is all that the description we hold covers.
    assert problems(exchange for exchange in running.exchanges if exchange.request.path != "/user") == []


@pytest.fixture
def project(fake: FakeGitHub) -> Project:
    made = fake.add_project("group/app")
    made.commit_files({"README.md": b"hello"})
    return made


def access(fake: FakeGitHub, token: str, *, is_job_token: bool = True, pipeline: str = "1001") -> ForgeAccess:
    return ForgeAccess("github", fake.url, "127.0.0.1", "group/app", token, is_job_token, pipeline)


@pytest.fixture
def github(fake: FakeGitHub, project: Project) -> GitHub:
    return GitHub(access(fake, fake.add_token("ghs_canary", contents="write", actions="read", pull_requests="write")))


@pytest.fixture
def database(github: GitHub) -> GitDatabase:
    return github.git_database()


def refusal(action: Callable[[], object]) -> StagepinError:
    with pytest.raises(StagepinError) as caught:
        action()
    return caught.value


class TestGitDatabase:
    def test_what_is_written_is_read_back_one_request_a_method(self, fake: FakeGitHub, database: GitDatabase) -> None:
        blob = database.write_blob(b"\0pins\xff")
        tree = database.write_tree({"pins.json": blob})
        commit = database.write_commit(tree, (), "stagepin: pins of pipeline:1001")
        assert database.create_ref(REF, commit)
        assert database.find_ref(REF) == commit
        assert database.find_tree(commit) == tree
        assert database.find_files(tree) == {"pins.json": blob}
        assert database.find_blob(blob) == b"\0pins\xff"
        assert [request.method + " " + request.path.partition("/git/")[2] for request in fake.requests] == [
            "POST blobs",
            "POST trees",
            "POST commits",
            "POST refs",
            f"GET ref/{REF}",
            f"GET commits/{commit}",
            f"GET trees/{tree}",
            f"GET blobs/{blob}",
        ]

    def test_a_ref_is_created_once_and_moves_forward_only(self, database: GitDatabase) -> None:
        tree = database.write_tree({"pins.json": database.write_blob(b"pins")})
        first, rival = database.write_commit(tree, (), "first"), database.write_commit(tree, (), "rival")
        child = database.write_commit(tree, (first,), "record")
        assert database.create_ref(REF, first)
        assert not database.create_ref(REF, rival)
        assert not database.advance_ref(REF, rival)
        assert database.advance_ref(REF, child)
        assert database.find_ref(REF) == child

    def test_what_is_not_there_is_none_once_the_repository_was_seen(self, fake: FakeGitHub, database: GitDatabase) -> None:
        assert database.find_ref(REF) is None
        assert database.find_tree(NOBODY) is None
        assert database.find_files(NOBODY) is None
        assert database.find_blob(NOBODY) is None
        assert [str(request) for request in fake.requests].count("GET /repos/group/app") == 1

    def test_a_ref_whose_name_another_one_begins_with_is_not_that_one(self, database: GitDatabase) -> None:
        tree = database.write_tree({"pins.json": database.write_blob(b"pins")})
        assert database.create_ref(f"{REF}cd", database.write_commit(tree, (), "other"))
        assert database.find_ref(REF) is None

    def test_links_and_directories_are_no_documents(self, project: Project, database: GitDatabase) -> None:
        from tests.fakes.github_git import TreeItem

        blob = project.git.write_blob(b"/etc/passwd")
        tree = project.git.write_files({"pins.json": TreeItem("120000", "", blob), "deep/build.json": TreeItem("100644", "", blob)})
        assert database.find_files(tree) == {}

    def test_a_ref_that_names_no_commit_is_refused(self, project: Project, database: GitDatabase) -> None:
        project.git.refs[f"refs/{REF}"] = project.git.write_blob(b"pins")
        error = refusal(lambda: database.find_ref(REF))
        assert isinstance(error, DocumentError)
        assert error.message == "expected a commit under the ref, found a blob"
        assert str(error.where) == f"127.0.0.1/group/app refs/{REF}"

    def test_a_blob_too_large_to_be_a_document_is_not_even_asked_for(
        self, fake: FakeGitHub, project: Project, database: GitDatabase
    ) -> None:
        blob = project.git.write_blob(b" " * (LARGEST_DOCUMENT + 1))
        from tests.fakes.github_git import TreeItem

        tree = project.git.write_files({"pins.json": TreeItem("100644", "", blob)})
        assert database.find_files(tree) == {"pins.json": blob}
        error = refusal(lambda: database.find_blob(blob))
        assert error.message == f"expected a document of at most {LARGEST_DOCUMENT} bytes, found {LARGEST_DOCUMENT + 1}"
        assert fake.count("GET", "/git/blobs/") == 0

    def test_an_object_that_another_one_names_and_that_is_not_there_yet_may_come(self, database: GitDatabase) -> None:
        error = refusal(lambda: database.write_tree({"pins.json": NOBODY}))
        assert isinstance(error, Unavailable)
        assert not database.create_ref(REF, NOBODY)

    def test_a_renamed_repository_is_followed_on_the_same_host(self, fake: FakeGitHub, project: Project, database: GitDatabase) -> None:
        fake.rename_project(project, "group/renamed")
        tree = database.write_tree({"pins.json": database.write_blob(b"pins")})
        commit = database.write_commit(tree, (), "pins")
        assert database.create_ref(REF, commit)
        assert database.find_ref(REF) == commit
        assert all(request.authorization == "token ghs_canary" for request in fake.requests)


def test_a_project_is_found_by_its_path(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    assert github.find_project_id("group/app") == str(project.id)
    assert github.find_project_id("Group/App") == str(project.id)
    assert github.find_project_id("group/none") is None


def test_requests_say_who_asks_and_nobody_waits_between_them(fake: FakeGitHub, database: GitDatabase) -> None:
    for _ in range(20):
        database.write_blob(b"x")
    assert {request.headers["user-agent"] for request in fake.requests} == {f"stagepin/{__version__}"}
    assert fake.clock.slept == []


# 401, 403, 404 (E 111, 118)


def test_a_token_nobody_knows(fake: FakeGitHub, project: Project) -> None:
    error = refusal(lambda: GitHub(access(fake, "ghs_wrong")).git_database().find_ref(REF))
    assert isinstance(error, AccessDenied)
    assert error.exit_code == 2
    assert error.message == "expected 127.0.0.1 to know the token in GITHUB_TOKEN, found status 401"
    assert error.hint == "it is wrong, expired or of another forge; a job's own token ends with the job"
    assert str(error.where) == f"{fake.url}/repos/group/app"


def test_no_token_at_all(fake: FakeGitHub, project: Project) -> None:
    error = refusal(lambda: GitHub(access(fake, "", is_job_token=False)).git_database().find_ref(REF))
    assert isinstance(error, AccessDenied)
    assert error.message == "expected a token for 127.0.0.1, found none (status 404)"
    assert error.hint == "hand it to the step: `env: GITHUB_TOKEN: ${{ github.token }}`; outside CI set STAGEPIN_TOKEN"


def test_a_token_without_the_right_to_write(fake: FakeGitHub, project: Project) -> None:
    github = GitHub(access(fake, fake.add_token(contents="read")))
    assert github.git_database().find_ref(REF) is None
    error = refusal(lambda: github.git_database().write_blob(b"x"))
    assert isinstance(error, AccessDenied)
    assert error.message == "expected the token in GITHUB_TOKEN to have the right 'contents: write' on group/app, found status 403"
    assert error.hint == (
        "add to the job: `permissions: {contents: write}`; a token of your own needs that permission for this repository; "
        "a pull request from a fork never has it"
    )


def test_a_token_of_ones_own_is_named_by_its_variable(fake: FakeGitHub, project: Project) -> None:
    github = GitHub(access(fake, fake.add_token(is_app=False), is_job_token=False))
    error = refusal(lambda: github.git_database().find_ref(REF))
    assert error.message == "expected the token in STAGEPIN_TOKEN to have the right 'contents: read' on group/app, found status 403"


def test_a_repository_that_the_token_may_not_see_is_no_absence(fake: FakeGitHub, project: Project) -> None:
    github = GitHub(access(fake, fake.add_token(contents="write", projects=[])))
    error = refusal(lambda: github.git_database().find_ref(REF))
    assert isinstance(error, AccessDenied)
    assert error.message == "expected the token in GITHUB_TOKEN to have the right 'metadata: read' on group/app, found status 404"
    assert error.hint.endswith("(GitHub answers 404, not 403, for what a token may not see)")
    assert "found status 404" in refusal(lambda: github.git_database().write_blob(b"x")).message


def test_a_404_that_is_not_githubs_own_is_no_absence(fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/ref/", status=404, body=b"<html>nginx</html>")
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, Unavailable)
    assert "expected an answer of GitHub's REST API from 127.0.0.1, found something else" in error.message


# 429, 5xx, connections (E 118)


@pytest.mark.parametrize("status", [403, 429])
def test_the_rate_limit_says_how_long_to_wait(status: int, fake: FakeGitHub, database: GitDatabase) -> None:
    fake.limit_rate_secondary(status=status, retry_after=17)
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, Unavailable)
    assert (error.exit_code, error.retry_after) == (3, 17.0)
    assert error.message == f"expected 127.0.0.1 to take the request, found its rate limit ({status})"
    assert error.hint == "wait 17 s, then run the job again; a token of its own (STAGEPIN_TOKEN) has limits of its own"


@pytest.mark.parametrize("status", [403, 429])
def test_the_primary_rate_limit_ends_by_githubs_clock(status: int, fake: FakeGitHub, database: GitDatabase) -> None:
    body = json.dumps({"message": "no"}).encode()
    headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1767323105"}
    fake.fail(path="/git/ref/", status=status, body=body, headers=headers)
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, Unavailable)
    assert error.retry_after == 60.0


def test_a_429_without_a_word_waits_as_github_asks_for(fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/ref/", status=429)
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, Unavailable)
    assert error.retry_after == 60.0


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_github_having_a_moment_is_unavailable_and_asked_once(status: int, fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/", status=status, headers={"Retry-After": "3"}, times=None)
    for action in (lambda: database.find_ref(REF), lambda: database.write_blob(b"x")):
        fake.requests.clear()
        error = refusal(action)
        assert isinstance(error, Unavailable)
        assert error.message.startswith(f"expected 127.0.0.1 to do as asked, found status {status}")
        assert error.retry_after == 3.0
        assert len(fake.requests) == 1


@pytest.mark.parametrize("fault", [{"drop": True}, {"lose_reply": True}, {"cut": True}])
def test_a_connection_that_ends_is_unavailable_and_nothing_is_sent_twice(
    fault: dict[str, bool], fake: FakeGitHub, project: Project, database: GitDatabase
) -> None:
    fake.fail(method="POST", **fault)
    error = refusal(lambda: database.write_blob(b"x"))
    assert isinstance(error, Unavailable)
    assert error.message.startswith("expected an answer from 127.0.0.1:")
    assert error.message.endswith("found: no connection, or one that was cut")
    assert fake.count("POST") == 1


def test_nobody_there_is_unavailable(fake: FakeGitHub, project: Project) -> None:
    nowhere = ForgeAccess("github", "http://127.0.0.1:9", "127.0.0.1", "group/app", "x", True)
    error = refusal(lambda: GitHub(nowhere).git_database().find_ref(REF))
    assert isinstance(error, Unavailable)
    assert error.hint == "is http://127.0.0.1:9 up and reachable from this machine?"
    assert str(error.where) == "http://127.0.0.1:9/repos/group/app/git/ref/stagepin/0123456789ab"


NONSENSE: dict[str, bytes] = {
    "no body": b"",
    "a page": b"<html>Welcome to the hotel's network</html>",
    "cut JSON": b'{"ref": "refs/x", "object": {',
    "a list": b"[]",
    "text": b'"hello"',
    "null": b"null",
    "an empty object": b"{}",
    "no object": b'{"ref": "refs/x", "object": null}',
    "a number for an id": b'{"object": {"type": "commit", "sha": 7}}',
    "an id that is none": b'{"object": {"type": "commit", "sha": "../../etc/passwd"}}',
    "no id": b'{"object": {"type": "commit"}}',
    "not UTF-8": b'{"object": "\xff"}',
    "depth": b"[" * 100_000,
}


@pytest.mark.parametrize("body", NONSENSE)
def test_an_answer_that_makes_no_sense_is_unavailable_and_never_absence(body: str, fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/ref/", status=200, body=NONSENSE[body])
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, Unavailable), error
    assert "found something else" in error.message
    assert error.hint == "is a proxy in the way? run the job again"


def test_not_ready_yet_is_not_waited_for_in_a_loop(fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/ref/", status=202, times=None)
    error = refusal(lambda: database.find_ref(REF))
    assert error.message.endswith("found status 202: it is not ready yet")
    assert len(fake.requests) == 1


def test_an_answer_without_end_is_not_read_to_the_end(fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/ref/", status=200, body=b" " * (40 * 1024 * 1024))
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, AnswerIsNo)
    assert "expected at most 33554432 bytes from 127.0.0.1:" in error.message


def test_nothing_compressed_is_asked_for(fake: FakeGitHub, database: GitDatabase) -> None:
    database.write_blob(b"x")
    assert fake.requests[0].headers["accept-encoding"] == "identity"


def test_a_status_nobody_expects_quotes_github(fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/ref/", status=451)
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, AnswerIsNo)
    assert error.message == "expected 127.0.0.1 to take the request, found status 451: injected"


# Other hosts (C 78, E 117, T7)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_redirect_to_another_host_never_sees_the_token(
    status: int, method: str, fake: FakeGitHub, project: Project, github: GitHub
) -> None:
    database = github.git_database()
    with FakeGitHub() as elsewhere:
        fake.fail(path="/git/", status=status, redirect=f"{elsewhere.url}/repos/group/app/git/ref/x?canary=1")
        error = refusal(lambda: database.find_ref(REF) if method == "GET" else database.write_blob(b"x"))
        assert elsewhere.requests == []
        assert isinstance(error, InputError)
        assert error.message == f"expected the API at {fake.url}, found a redirect at {elsewhere.url}: the token is not sent there"
        assert error.hint == "GITHUB_API_URL must be the forge's own address, as its runner sets it"
        assert error.exit_code == 2


@pytest.mark.parametrize(
    "target", ["https://evil.example.com/", "//evil.example.com/x", "ftp://127.0.0.1/", "http://user:pw@[/", "http://127.0.0.1:x/"]
)
def test_a_redirect_to_an_odd_address_is_refused(target: str, fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/", status=307, redirect=target)
    error = refusal(lambda: database.find_ref(REF))
    assert isinstance(error, InputError)
    assert "user" not in error.message


def test_a_redirect_in_a_circle_ends(fake: FakeGitHub, database: GitDatabase) -> None:
    fake.fail(path="/git/", status=301, redirect=f"{fake.url}/repos/group/app/git/ref/x", times=None)
    error = refusal(lambda: database.find_ref(REF))
    assert "found more than 5 redirects" in error.message
    assert len(fake.requests) == 6


def test_a_next_page_on_another_host_never_sees_the_token(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    with FakeGitHub() as elsewhere:
        fake.fail(path="/artifacts", headers={"Link": f'<{elsewhere.url}/x?page=2>; rel="next"'})
        error = refusal(lambda: list(github.artifacts().read_files(str(run.id), PINS_PATH)))
        assert elsewhere.requests == []
        assert error.message == f"expected the API at {fake.url}, found its next page at {elsewhere.url}: the token is not sent there"


# CI artifacts (C 76 to 78, F34, F35)


def read(github: GitHub, run: int) -> list[bytes]:
    return list(github.artifacts().read_files(str(run), PINS_PATH))


def test_a_runs_pin_files_come_oldest_first_from_every_page_and_attempt(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin", "build")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    project.finish_run(run.id, failed=["build"])
    fake.clock.advance(60)
    project.rerun_failed(run.id)
    for number in range(150):
        project.add_artifact(run.id, f"other-{number}", {"x": b""})
    project.add_artifact(run.id, "stagepin-pins", {".stagepin/pins.json": b"2", "other": b""})
    project.add_artifact(run.id, "stagepin-record", {"build.json": b"{}"})
    assert read(github, run.id) == [b"1", b"2"]
    assert [request.query["per_page"] for request in fake.requests if request.path.endswith("/artifacts")] == ["100", "100"]
    assert fake.count("GET", "/zip") == 3


def test_other_artifacts_are_not_downloaded(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "dist", {"pins.json": b"1"})
    project.add_artifact(run.id, "STAGEPIN-pins", {"pins.json": b"2"})
    assert read(github, run.id) == []
    assert fake.count("GET", "/zip") == 0


def test_a_file_that_was_uploaded_unzipped_is_taken_as_it_is(project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "pins.json", b'{"pins": 1}')
    project.add_artifact(run.id, "build.json", b"{}")
    assert read(github, run.id) == [b'{"pins": 1}']


@pytest.mark.parametrize("options", [{}, {"compressionLevel": 0}, {"compressionLevel": 9}])
def test_what_githubs_own_client_zips_is_read(
    options: dict[str, object], fake: FakeGitHub, project: Project, github: GitHub, tmp_path: Path
) -> None:
    run = project.start_run("pin")
    job = JobWithClient(fake, project, run, tmp_path)
    (tmp_path / ".stagepin" / "größe.txt").write_bytes(bytes(100_000))
    files = [str(path) for path in (tmp_path / ".stagepin", tmp_path / ".stagepin" / "größe.txt", job.pins)]
    job.run(step("uploadArtifact", "stagepin-pins", files, str(tmp_path), options))
    job.run(step("uploadArtifact", "stagepin-alone", [str(job.pins)], str(job.pins.parent), options))
    assert read(github, run.id) == [job.pins.read_bytes()] * 2


def test_what_githubs_own_client_uploads_unzipped_is_read(fake: FakeGitHub, project: Project, github: GitHub, tmp_path: Path) -> None:
    run = project.start_run("pin")
    job = JobWithClient(fake, project, run, tmp_path)
    job.run(step("uploadArtifact", "stagepin-pins", [str(job.pins)], str(tmp_path), {"skipArchive": True}))
    assert [artifact.name for artifact in project.artifacts(run.id)] == ["pins.json"]
    assert read(github, run.id) == [job.pins.read_bytes()]


def test_the_token_stays_behind_when_the_bytes_are_fetched(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    assert read(github, run.id) == [b"1"]
    (request,) = fake.blobs.requests
    assert "authorization" not in request.headers
    assert "ghs_canary" not in str(request.headers) + request.target
    assert request.headers["user-agent"] == f"stagepin/{__version__}"


def test_a_run_that_is_not_there_has_no_artifacts(project: Project, github: GitHub) -> None:
    assert read(github, 999) == []


def test_a_scope_that_is_no_runs_number_is_told_so(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    error = refusal(lambda: list(github.artifacts().read_files("../../x", PINS_PATH)))
    assert isinstance(error, InputError)
    assert error.message == "expected the number of a workflow run, found '../../x'"
    assert fake.requests == []


def test_an_expired_artifact_is_left_out(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    old = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    project.add_artifact(run.id, "stagepin-pins-2", {"pins.json": b"2"})
    project.expire_artifact(old.id)
    assert read(github, run.id) == [b"2"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_listed_artifact_that_the_api_has_lost_is_no_absence(status: int, fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    made = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(path="/zip", status=status)
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, Unavailable)
    assert error.message == f"expected the artifact stagepin-pins, which the listing shows, found status {status} from 127.0.0.1"
    assert error.hint == "run the job again; if it stays so, keep pins where they can be had: --store git-ref or stages-storage"
    assert str(error.where) == f"127.0.0.1/group/app artifact {made.id} (stagepin-pins)"
    assert read(github, run.id) == [b"1"]


@pytest.mark.parametrize("fault", [{"status": 404}, {"status": 410}, {"status": 403}, {"status": 500}, {"redirect": "http://127.0.0.1:9/"}])
def test_bytes_that_the_other_host_does_not_give_are_no_absence(
    fault: dict[str, object], fake: FakeGitHub, project: Project, github: GitHub
) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(host="blob", **fault)
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, Unavailable)
    assert f"found status {fault.get('status', 302)} from {fake.blobs.address}" in error.message
    assert "sig=" not in error.message + error.hint + str(error.where)


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd", "http://user:canary@[/", "http://127.0.0.1:x/"])
def test_bytes_at_an_odd_address_are_not_fetched(target: str, fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(path="/zip", redirect=target)
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, InputError)
    assert error.message.startswith("expected 127.0.0.1 to say where the bytes are over https, found ")
    assert "canary" not in error.message


def test_plain_http_will_do_for_the_bytes_only_where_it_does_for_the_api(fake: FakeGitHub) -> None:
    from github.Artifact import Artifact

    from ci_plugin.forge.github_artifacts import GitHubArtifacts
    from ci_plugin.forge.github_client import GitHubClient

    client = GitHubClient(ForgeAccess("github", "https://api.github.com", "github.com", "group/app", "x", True))
    made = Artifact(client.requester, {}, {"id": 1, "name": "stagepin-pins"})
    error = refusal(lambda: GitHubArtifacts(client)._target(made, "/x/zip", "http://blobs.example.com/x?sig=canary"))
    assert error.message == "expected github.com to say where the bytes are over https, found 'http://blobs.example.com'"


@pytest.mark.parametrize("fault", [{"drop": True}, {"cut": True}])
def test_bytes_that_are_cut_are_unavailable(fault: dict[str, bool], fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(host="blob", **fault)
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, Unavailable)
    assert "sig=" not in error.message


def test_bytes_that_were_changed_on_the_way_are_unavailable(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    made = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    other = zip_of({"pins.json": b"2"})
    fake.fail(host="blob", change=lambda _: other)
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, Unavailable)
    assert error.message.startswith(f"expected the artifact stagepin-pins with the digest {made.digest}, found sha256:")


def test_a_hostile_archive_is_refused_and_named(project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    made = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1", "../out": b""})
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, DocumentError)
    assert error.message == "expected a zip archive as the CI makes it, found a name that leads elsewhere or hides something: '../out'"
    assert str(error.where) == f"127.0.0.1/group/app artifact {made.id} (stagepin-pins)"


def test_something_else_under_our_name_is_refused(project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-1.0.tar.gz", b"\x1f\x8b tar")
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, DocumentError)
    assert error.message == (
        "expected a zip archive, or one file named pins.json in the artifact stagepin-1.0.tar.gz, found 6 bytes that are neither"
    )
    assert error.hint == "names that begin with stagepin- are stagepin's own: delete this artifact or upload it under another name"


def test_an_archive_that_is_too_large_is_not_downloaded(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(path="/artifacts", change=lambda body: body.replace(b'"size_in_bytes": ', b'"size_in_bytes": 99999999'))
    error = refusal(lambda: read(github, run.id))
    assert isinstance(error, DocumentError)
    assert "expected an archive of at most 67108864 bytes in the artifact stagepin-pins, found 99999999" in error.message
    assert fake.count("GET", "/zip") == 0


def test_an_artifact_that_the_platform_says_is_another_runs_is_passed_over(fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(path="/artifacts", change=lambda body: body.replace(b'"workflow_run": {"id": %d' % run.id, b'"workflow_run": {"id": 7'))
    assert read(github, run.id) == []


def test_a_forks_artifact_is_refused_in_any_run_but_its_own(fake: FakeGitHub, project: Project) -> None:
    fork = fake.add_project("mallory/app", fork_of=project.id)
    run = project.start_run("pin", event="pull_request", head_repository=fork.id)
    made = project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    token = fake.add_token(actions="read")
    assert read(GitHub(access(fake, token, pipeline=str(run.id))), run.id) == [b"1"]
    for other in ("", "7"):
        error = refusal(lambda other=other: read(GitHub(access(fake, token, pipeline=other)), run.id))  # type: ignore[misc]
        assert isinstance(error, DocumentError)
        assert error.message == (
            f"expected pins and records that code of group/app made, found an artifact of a fork (repository id {fork.id})"
        )
        assert error.hint == "a fork's run may write any pins it likes: pin in a run of this repository, and deploy that"
        assert str(error.where) == f"127.0.0.1/group/app artifact {made.id} (stagepin-pins)"


@pytest.mark.parametrize("said", [b'"head_repository_id": null', b'"head_x": 1'])
def test_an_artifact_whose_code_nobody_knows_counts_as_a_forks(said: bytes, fake: FakeGitHub, project: Project, github: GitHub) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(path="/artifacts", change=lambda body: body.replace(b'"head_repository_id": %d' % project.id, said))
    assert run.id != 1
    error = refusal(lambda: read(GitHub(access(fake, "ghs_canary", pipeline="1")), run.id))
    assert isinstance(error, DocumentError)
    assert error.message == "expected pins and records that code of group/app made, found an artifact of nobody knows whose code"


def test_artifacts_need_the_right_to_read_actions(fake: FakeGitHub, project: Project) -> None:
    run = project.start_run("pin")
    error = refusal(lambda: read(GitHub(access(fake, fake.add_token(contents="write"))), run.id))
    assert isinstance(error, AccessDenied)
    assert "to have the right 'actions: read' on group/app, found status 403" in error.message
    assert error.hint == "add to the job: `permissions: {actions: read}`; a token of your own needs that permission for this repository"


@pytest.mark.parametrize(("status", "kind"), [(401, AccessDenied), (403, AccessDenied), (429, Unavailable), (500, Unavailable)])
def test_a_download_that_is_refused_is_refused_in_the_same_words(
    status: int, kind: type[StagepinError], fake: FakeGitHub, project: Project, github: GitHub
) -> None:
    run = project.start_run("pin")
    project.add_artifact(run.id, "stagepin-pins", {"pins.json": b"1"})
    fake.fail(path="/zip", status=status)
    assert isinstance(refusal(lambda: read(github, run.id)), kind)
    assert fake.count("GET", "/zip") == 1


def test_artifacts_say_how_long_they_live(github: GitHub) -> None:
    artifacts = github.artifacts()
    assert artifacts.name == "127.0.0.1/group/app"
    assert artifacts.life == (
        "on GitHub they outlive a re-run of failed jobs, are lost by a re-run of all jobs, which then pins anew, "
        "and are kept 90 days at most (retention-days)"
    )


# Comments of a pull request

MARKER = "<!-- stagepin drift -->"


@pytest.fixture
def pull(project: Project) -> int:
    return project.open_pull(5)


def bodies(project: Project) -> list[tuple[str, str]]:
    return [(comment.login, comment.body) for comment in project.comments_of(5)]


def test_one_comment_is_written_and_then_written_over(project: Project, github: GitHub, pull: int) -> None:
    discussion = github.discussion(pull)
    assert discussion.find_comment(MARKER) is None
    address = discussion.put_comment(MARKER, f"{MARKER}\nfirst")
    assert discussion.find_comment(MARKER) == address
    assert github.discussion(pull).put_comment(MARKER, f"{MARKER}\nsecond") == address
    assert bodies(project) == [("github-actions[bot]", f"{MARKER}\nsecond")]
    assert "/group/app/" in address


def test_a_comment_that_says_the_same_is_left_alone(fake: FakeGitHub, project: Project, github: GitHub, pull: int) -> None:
    github.discussion(pull).put_comment(MARKER, f"{MARKER}\nfirst")
    github.discussion(pull).put_comment(MARKER, f"{MARKER}\nfirst")
    assert (fake.count("POST"), fake.count("PATCH")) == (1, 0)


def test_somebody_elses_comment_with_our_marker_is_left_alone(project: Project, github: GitHub, pull: int) -> None:
    for login in ("mallory", "other-app[bot]"):
        project.add_comment(pull, login, f"{MARKER} mine")
    github.discussion(pull).put_comment(MARKER, f"{MARKER}\nours")
    assert bodies(project)[:2] == [("mallory", f"{MARKER} mine"), ("other-app[bot]", f"{MARKER} mine")]
    assert bodies(project)[2:] == [("github-actions[bot]", f"{MARKER}\nours")]


def test_our_comment_is_found_behind_a_hundred_others(fake: FakeGitHub, project: Project, github: GitHub, pull: int) -> None:
    for number in range(120):
        project.add_comment(pull, "ada", f"comment {number}")
    project.add_comment(pull, "github-actions[bot]", f"{MARKER}\nold")
    github.discussion(pull).put_comment(MARKER, f"{MARKER}\nnew")
    assert bodies(project)[-1] == ("github-actions[bot]", f"{MARKER}\nnew")
    assert len(bodies(project)) == 121


def test_of_two_that_a_race_left_the_oldest_is_ours(project: Project, github: GitHub, pull: int) -> None:
    for text in ("one", "two"):
        project.add_comment(pull, "github-actions[bot]", f"{MARKER}\n{text}")
    github.discussion(pull).put_comment(MARKER, f"{MARKER}\nnew")
    assert [body for _, body in bodies(project)] == [f"{MARKER}\nnew", f"{MARKER}\ntwo"]


def test_a_users_own_token_writes_over_its_users_comment(fake: FakeGitHub, project: Project, pull: int) -> None:
    token = fake.add_token("ghp_ada", login="ada", is_app=False, pull_requests="write")
    project.add_comment(pull, "github-actions[bot]", f"{MARKER}\nthe job's")
    project.add_comment(pull, "ada", f"{MARKER}\nhers")
    fake.fail(path="/user", status=200, body=b'{"login": "ada", "id": 1, "type": "User"}')
    GitHub(access(fake, token, is_job_token=False)).discussion(pull).put_comment(MARKER, f"{MARKER}\nnew")
    assert bodies(project) == [("github-actions[bot]", f"{MARKER}\nthe job's"), ("ada", f"{MARKER}\nnew")]


def test_an_apps_token_writes_over_a_bots_comment(fake: FakeGitHub, project: Project, pull: int) -> None:
    token = fake.add_token("ghs_app", login="our-app[bot]", pull_requests="write")
    project.add_comment(pull, "ada", f"{MARKER}\nhers")
    project.add_comment(pull, "our-app[bot]", f"{MARKER}\nold")
    fake.fail(path="/user", status=403)
    GitHub(access(fake, token, is_job_token=False)).discussion(pull).put_comment(MARKER, f"{MARKER}\nnew")
    assert bodies(project) == [("ada", f"{MARKER}\nhers"), ("our-app[bot]", f"{MARKER}\nnew")]


def test_a_token_that_may_not_comment_is_told_which_right_is_missing(fake: FakeGitHub, project: Project, pull: int) -> None:
    github = GitHub(access(fake, fake.add_token(pull_requests="read")))
    error = refusal(lambda: github.discussion(pull).put_comment(MARKER, MARKER))
    assert isinstance(error, AccessDenied)
    assert "to have the right 'pull-requests: write' on group/app, found status 403" in error.message
    assert "a pull request from a fork never has it" in error.hint


def test_a_pull_request_that_is_not_there(project: Project, github: GitHub) -> None:
    error = refusal(lambda: github.discussion(99).put_comment(MARKER, MARKER))
    assert isinstance(error, AccessDenied)
    assert "'pull-requests: read' on group/app, found status 404" in error.message


# Loading


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_adapter_imports_no_library() -> None:
    code = "import sys, ci_plugin.forge.github; print([m for m in ('github', 'requests', 'urllib3', 'yaml') if m in sys.modules])"
    assert run_python(code) == "[]"


@pytest.mark.parametrize("missing", ["github", "requests"])
def test_without_pygithub_the_way_to_install_it_is_told(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
from ci_plugin.errors import InputError
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.github import GitHub
github = GitHub(ForgeAccess("github", "https://api.github.com", "github.com", "group/app", "x", True))
for part in (github.git_database, github.artifacts, lambda: github.discussion(1), lambda: github.find_project_id("group/app")):
    try:
        part()
    except InputError as error:
        print(error.message, "|", error.hint)
"""
    hint = "install it beside stagepin: pip install 'PyGithub>=2.8' (or in stagepin's checkout: pip install '.[github]')"
    line = f"expected PyGithub, which speaks to GitHub's API, found it not installed | {hint}"
    assert run_python(code).splitlines() == [line] * 4
