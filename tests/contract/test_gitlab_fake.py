"""The fake GitLab, held to what GitLab's pages say field by field (tests/data/gitlab) and to what python-gitlab needs, unmodified."""

from __future__ import annotations

import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gitlab as library
import pytest

from tests.fakes.clock import FakeClock
from tests.fakes.github_http import Exchange, Request
from tests.fakes.gitlab import FakeGitLab
from tests.fakes.gitlab_rest import ENDPOINTS
from tests.fakes.gitlab_state import DEVELOPER, GUEST, MAINTAINER, REPORTER

DATA = Path(__file__).parents[1] / "data" / "gitlab"
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_TYPES: Mapping[str, Callable[[object], bool]] = {
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "timestamp": lambda value: isinstance(value, str) and _TIME.fullmatch(value) is not None,
    "null": lambda value: value is None,
}


def load(name: str) -> Any:
    return json.loads((DATA / name).read_text("utf-8"))


OPERATIONS = {one["operation"]: one for file in sorted(DATA.glob("*.json")) for one in load(file.name).get("operations", [])}


@pytest.fixture
def gitlab() -> Iterator[FakeGitLab]:
    with FakeGitLab() as running:
        project = running.add_project()
        running.add_pipeline(project)
        running.state.add_merge_request(project, 7)
        yield running


def connect(gitlab: FakeGitLab, role: int = MAINTAINER) -> Any:
    return library.Gitlab(gitlab.url, private_token=gitlab.add_access_token(role))


def operation_of(exchange: Exchange) -> str:
    endpoint = next(one for one in ENDPOINTS if one.matches(exchange.request) is not None)
    return f"{endpoint.method} {endpoint.path}"


def check_document(operation: Mapping[str, Any], document: Mapping[str, object]) -> None:
    fields = operation["fields"]
    assert set(document) <= set(fields), f"{operation['operation']} has fields that its page does not name"
    assert set(operation["needed"]) <= set(document), f"{operation['operation']} lacks fields"
    for name, value in document.items():
        assert any(_TYPES[kind](value) for kind in fields[name].split("|")), f"{operation['operation']}: {name} is {value!r}"


def check(exchange: Exchange) -> None:
    operation, answer = OPERATIONS[operation_of(exchange)], exchange.answer
    assert answer.status == operation.get("status", 200)
    if operation["answer"] == "bytes":
        assert set(operation.get("headers", [])) <= set(answer.headers)
        return
    if operation["answer"] == "none":
        assert answer.body == b""
        return
    assert answer.headers["Content-Type"].startswith("application/json")
    document = json.loads(answer.body)
    assert _TYPES[operation["answer"]](document)
    for one in document if isinstance(document, list) else [document]:
        check_document(operation, one)
    if isinstance(document, list):
        assert set(load("pagination.json")["headers"]) <= set(answer.headers)


def test_python_gitlab_drives_every_endpoint_and_every_answer_is_as_the_pages_say(gitlab: FakeGitLab) -> None:
    job = gitlab.state.add_job(gitlab.state.pipelines[1001], "pin", files={".stagepin/pins.json": b"{}"}, expire_in=3600)
    gitlab.add_pipeline(gitlab.state.projects[4711], 1002, parent=1001)
    api = connect(gitlab)
    project = api.projects.get("group/app")
    assert (project.id, api.projects.get(4711).path_with_namespace) == (4711, "group/app")
    api.auth()
    assert api.user.username == "project_bot"

    created = project.generic_packages.upload("stagepin", "1.0", "a.json", data=b"{}", select="package_file")
    assert created.file_sha256 == hashlib.sha256(b"{}").hexdigest()
    project.generic_packages.upload("stagepin", "1.0", "b.json", data=b"[]")
    (package,) = project.packages.list(package_type="generic", package_name="stagepin", package_version="1.0", get_all=True)
    assert [file.file_name for file in package.package_files.list(get_all=True)] == ["a.json", "b.json"]
    assert project.generic_packages.download("stagepin", "1.0", "b.json") == b"[]"
    package.delete()
    assert project.packages.list(get_all=True) == []

    pipeline = project.pipelines.get(1001, lazy=True)
    (listed,) = pipeline.jobs.list(include_retried=True, get_all=True)
    assert {frozenset(one) for one in listed.artifacts} == {frozenset(load("jobs.json")["artifact"])}
    assert [bridge.downstream_pipeline["id"] for bridge in pipeline.bridges.list(get_all=True)] == [1002]
    found = project.jobs.get(job.id, lazy=True)
    assert found.artifact(".stagepin/pins.json") == b"{}"
    assert found.artifacts()
    found.erase()
    job_api = library.Gitlab(gitlab.url, job_token=gitlab.add_job_token(gitlab.state.projects[4711], job=job))
    assert job_api.http_get("/job")["id"] == job.id  # type: ignore[index]

    merge_request = project.mergerequests.get(7)
    note = merge_request.notes.create({"body": "one"})
    note.body = "two"
    note.save()
    assert [one.body for one in merge_request.notes.list(get_all=True)] == ["two"]

    for exchange in gitlab.exchanges:
        check(exchange)
    assert {operation_of(exchange) for exchange in gitlab.exchanges} == set(OPERATIONS), "an operation was not driven"
    assert {f"{one.method} {one.path}" for one in ENDPOINTS} == set(OPERATIONS), "an endpoint is not described"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    document: Any


def ask(gitlab: FakeGitLab, method: str, path: str, headers: Mapping[str, str], body: bytes = b'{"body": "text"}') -> Reply:
    data = body if method in ("PUT", "POST") else None
    request = urllib.request.Request(f"{gitlab.api_url}{path}", data, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return Reply(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, json.loads(error.read()))


class TestRights:
    def path(self, gitlab: FakeGitLab, operation: str) -> tuple[str, str]:
        """An address of that operation at which something is there."""
        project, somebody = gitlab.state.projects[4711], gitlab.state.add_user("x")
        file = gitlab.state.add_package_file(project, somebody, "stagepin", "1.0", "a.json", b"{}")
        job = gitlab.state.add_job(gitlab.state.pipelines[1001], "pin", files={"a.json": b"{}"})
        note = gitlab.state.add_note(gitlab.state.merge_requests[0], somebody, "hello")
        values = {"project": 4711, "package": file.package_id, "name": "stagepin", "version": "1.0", "file": "a.json", "pipeline": 1001}
        values |= {"job": job.id, "path": "a.json", "iid": 7, "note": note.id, "sha": "0" * 40}
        method, _, template = operation.partition(" ")
        return method, re.sub(r"[:*](\w+)", lambda found: str(values[found[1]]), template)

    @pytest.mark.parametrize("operation", load("job_token.json")["may"])
    def test_a_job_token_may(self, gitlab: FakeGitLab, operation: str) -> None:
        project = gitlab.state.projects[4711]
        job = gitlab.state.add_job(gitlab.state.pipelines[1001], "running", status="running")
        headers = {"JOB-TOKEN": gitlab.add_job_token(project, job=job)}
        assert ask(gitlab, *self.path(gitlab, operation), headers).status in (200, 201)

    @pytest.mark.parametrize("operation", load("job_token.json")["may_not"])
    def test_a_job_token_may_not(self, gitlab: FakeGitLab, operation: str) -> None:
        headers = {"JOB-TOKEN": gitlab.add_job_token(gitlab.state.projects[4711], MAINTAINER)}
        assert ask(gitlab, *self.path(gitlab, operation), headers).status in (401, 404)

    @pytest.mark.parametrize("operation", [name for name in OPERATIONS if "/projects/" in name])
    def test_without_a_token_a_private_project_is_not_there(self, gitlab: FakeGitLab, operation: str) -> None:
        method, path = self.path(gitlab, operation)
        expected = (404, {"message": "404 Project Not Found"}) if method == "GET" else (401, {"message": "401 Unauthorized"})
        answer = ask(gitlab, method, path, {})
        assert (answer.status, answer.document) == expected

    @pytest.mark.parametrize(("role", "status"), [(0, 404), (GUEST, 403), (REPORTER, 403), (DEVELOPER, 201), (MAINTAINER, 201)])
    def test_packages_are_written_by_developers(self, gitlab: FakeGitLab, role: int, status: int) -> None:
        headers = {"JOB-TOKEN": gitlab.add_job_token(gitlab.state.projects[4711], role)}
        assert ask(gitlab, "PUT", "/projects/4711/packages/generic/stagepin/1.0/a.json", headers).status == status

    def test_a_wrong_token_is_refused_also_where_none_would_do(self, gitlab: FakeGitLab) -> None:
        for header in ("JOB-TOKEN", "PRIVATE-TOKEN"):
            answer = ask(gitlab, "GET", "/projects/4711", {header: "wrong"})
            assert (answer.status, answer.document) == (401, {"message": "401 Unauthorized"})

    def test_a_token_in_the_other_header_is_no_token(self, gitlab: FakeGitLab) -> None:
        headers = {"PRIVATE-TOKEN": gitlab.add_job_token(gitlab.state.projects[4711])}
        assert ask(gitlab, "GET", "/projects/4711/packages", headers).status == 401

    def test_somebody_elses_note_cannot_be_changed(self, gitlab: FakeGitLab) -> None:
        method, path = self.path(gitlab, "PUT /projects/:project/merge_requests/:iid/notes/:note")
        assert ask(gitlab, method, path, {"PRIVATE-TOKEN": gitlab.add_access_token(MAINTAINER)}).status == 403


class TestPackages:
    def test_a_name_uploaded_twice_is_there_twice_and_read_as_the_newest(self, gitlab: FakeGitLab) -> None:
        project = connect(gitlab).projects.get(4711, lazy=True)
        for data in (b"old", b"new"):
            project.generic_packages.upload("stagepin", "1.0", "a.json", data=data)
        (package,) = project.packages.list(get_all=True)
        assert [file.id for file in package.package_files.list(get_all=True)] == [101, 102]
        assert project.generic_packages.download("stagepin", "1.0", "a.json") == b"new"
        gitlab.state.clean_up_duplicates()
        assert [file.id for file in package.package_files.list(get_all=True)] == [102], "the clean-up keeps the newest, not the first"

    def test_where_duplicates_are_not_allowed_the_second_is_refused_and_other_names_are_not(self, gitlab: FakeGitLab) -> None:
        gitlab.state.projects[4711].allows_duplicates = False
        packages = connect(gitlab).projects.get(4711, lazy=True).generic_packages
        packages.upload("stagepin", "1.0", "a.json", data=b"1")
        packages.upload("stagepin", "1.0", "b.json", data=b"1")
        with pytest.raises(library.exceptions.GitlabUploadError, match="400: 400 Bad request - Duplicate package is not allowed"):
            packages.upload("stagepin", "1.0", "a.json", data=b"2")

    def test_a_deleted_package_frees_its_name(self, gitlab: FakeGitLab) -> None:
        project = connect(gitlab).projects.get(4711, lazy=True)
        project.generic_packages.upload("stagepin", "1.0", "a.json", data=b"1")
        project.packages.list(get_all=True)[0].delete()
        with pytest.raises(library.exceptions.GitlabGetError, match="404"):
            project.generic_packages.download("stagepin", "1.0", "a.json")
        project.generic_packages.upload("stagepin", "1.0", "a.json", data=b"2")
        assert [package.id for package in project.packages.list(get_all=True)] == [2]
        assert [package.id for package in project.packages.list(status="pending_destruction", get_all=True)] == [1]

    @pytest.mark.parametrize(("name", "status"), [("stagepin", 201), ("with%20blank", 400), ("ümlaut", 400)])
    def test_names_have_an_alphabet(self, gitlab: FakeGitLab, name: str, status: int) -> None:
        headers = {"PRIVATE-TOKEN": gitlab.add_access_token()}
        path = f"/projects/4711/packages/generic/{urllib.request.pathname2url(name) if '%' not in name else name}/1.0/a.json"
        assert ask(gitlab, "PUT", path, headers).status == status

    def test_of_two_that_create_at_one_time_older_versions_refuse_the_second_with_500(self, gitlab: FakeGitLab) -> None:
        gitlab.racing_creation_fails = True
        project = gitlab.state.projects[4711]

        def somebody_is_first(_: Request) -> None:
            if not gitlab.state.packages:
                gitlab.state.add_package_file(project, gitlab.state.users[0], "stagepin", "1.0", "first.json", b"1")

        gitlab.on_request = somebody_is_first
        headers = {"PRIVATE-TOKEN": gitlab.add_access_token()}
        statuses = [ask(gitlab, "PUT", f"/projects/4711/packages/generic/stagepin/1.0/{name}.json", headers).status for name in "ab"]
        assert statuses == [500, 201]

    def test_a_filter_by_name_is_fuzzy_and_by_version_exact(self, gitlab: FakeGitLab) -> None:
        project = connect(gitlab).projects.get(4711, lazy=True)
        for name, version in (("stagepin", "1.0"), ("stagepin-more", "1.0"), ("stagepin", "1.0.1")):
            project.generic_packages.upload(name, version, "a.json", data=b"1")
        found = project.packages.list(package_name="stagepin", package_version="1.0", get_all=True)
        assert [package.name for package in found] == ["stagepin", "stagepin-more"]


class TestPages:
    def test_there_are_twenty_unless_asked_for_and_a_hundred_at_most(self, gitlab: FakeGitLab) -> None:
        for number in range(130):
            gitlab.state.add_note(gitlab.state.merge_requests[0], gitlab.state.add_user("x"), str(number))
        notes = connect(gitlab).projects.get(4711, lazy=True).mergerequests.get(7, lazy=True).notes
        sizes = load("pagination.json")["per_page"]
        assert [len(notes.list(get_all=False)), len(notes.list(get_all=False, per_page=500))] == [sizes["default"], sizes["most"]]
        assert [note.body for note in notes.list(iterator=True, sort="asc")] == [str(number) for number in range(130)]
        assert [note.body for note in notes.list(page=7, sort="asc")] == [str(number) for number in range(120, 130)]


class TestJobs:
    def test_retried_tries_are_listed_on_request_and_newest_first(self, gitlab: FakeGitLab) -> None:
        tries = [gitlab.state.add_job(gitlab.state.pipelines[1001], "pin").id for _ in range(3)]
        jobs = connect(gitlab).projects.get(4711, lazy=True).pipelines.get(1001, lazy=True).jobs
        assert [job.id for job in jobs.list(get_all=True)] == [tries[2]]
        assert [job.id for job in jobs.list(include_retried=True, get_all=True)] == tries[::-1]

    def test_an_archive_that_expired_is_listed_until_it_is_removed_and_its_files_are_not_read(self, gitlab: FakeGitLab) -> None:
        job = gitlab.state.add_job(gitlab.state.pipelines[1001], "pin", files={"a": b"1"}, expire_in=60)
        clock = gitlab.state.clock
        assert isinstance(clock, FakeClock)
        clock.advance(61)
        project = connect(gitlab).projects.get(4711, lazy=True)
        (listed,) = project.pipelines.get(1001, lazy=True).jobs.list(get_all=True)
        assert listed.artifacts_file["filename"] == "artifacts.zip"
        with pytest.raises(library.exceptions.GitlabGetError, match="404"):
            project.jobs.get(job.id, lazy=True).artifact("a")


class TestFaults:
    def test_a_replica_lags_for_so_many_reads_after_the_next_write(self, gitlab: FakeGitLab) -> None:
        project = connect(gitlab).projects.get(4711, lazy=True)
        gitlab.lag(reads=2)
        assert project.packages.list(get_all=True) == []
        project.generic_packages.upload("stagepin", "1.0", "a.json", data=b"1")
        assert [len(project.packages.list(get_all=True)) for _ in range(3)] == [0, 0, 1]

    def test_a_lost_reply_changes_the_state_and_a_dropped_request_does_not(self, gitlab: FakeGitLab) -> None:
        packages = connect(gitlab).projects.get(4711, lazy=True).generic_packages
        faults: list[dict[str, Any]] = [{"drop": True}, {"status": 500}, {"lose_reply": True}, {"status": 500, "commits": True}]
        for number, fault in enumerate(faults):
            gitlab.fail(method="PUT", **fault)
            with pytest.raises(Exception, match=r"aborted|500"):
                packages.upload("stagepin", "1.0", f"{number}.json", data=b"1")
        assert [file.name for file in gitlab.state.packages[0].files] == ["2.json", "3.json"]

    def test_object_storage_gives_nothing_without_its_signature(self, gitlab: FakeGitLab) -> None:
        storage = gitlab.keep_objects_elsewhere()
        address = storage.keep(b"data")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(address, timeout=30) as answer:
            assert answer.read() == b"data"
        with pytest.raises(urllib.error.HTTPError, match="403") as caught:
            opener.open(address.partition("?")[0], timeout=30)
        caught.value.close()
