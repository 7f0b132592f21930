"""The REST API over a fake GitLab's state: who may ask what, which statuses answer, and the documents as GitLab's API pages describe them.

Where the pages are silent, GitLab's source decides: a private project is a 404 to whom it is not for; an endpoint that takes no job token
treats it as no token at all; a job token of another project is a 403; lists come in pages of 20 (at most 100) with ``Link`` and ``X-``
headers; GET of a package file by name gives the newest of that name. The documents are in ``gitlab_documents.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from tests.fakes.github_http import Answer, Request, json_answer
from tests.fakes.gitlab_documents import job_document, note_document, package_document, package_file_document, user_document
from tests.fakes.gitlab_state import (
    DEVELOPER,
    DISPLAYED,
    GUEST,
    REPORTER,
    Job,
    MergeRequest,
    Package,
    Project,
    State,
    Token,
    stamp,
)

_NAME = re.compile(r"[A-Za-z0-9._+~@-]{1,255}")
_VERSION = re.compile(r"(\.?[\w+-]+\.?)+")
_LONGEST_NOTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Call:
    """One request on its way to its endpoint. ``state`` is what a read sees: of the primary, or of a replica that lags."""

    request: Request
    state: State
    caller: Token
    project: Project
    args: Mapping[str, str]

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters, the first value of each."""
        return self.request.query


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A method and path with what it needs: the role, whether it takes a job token, and the answer."""

    method: str
    path: str
    respond: Callable[[RestApi, Call], Answer]
    role: int
    takes_job_token: Callable[[Project], bool] = lambda _: False

    def matches(self, request: Request) -> dict[str, str] | None:
        """The path's arguments, decoded, or None."""
        if self.method != request.method.replace("HEAD", "GET"):
            return None
        pattern = re.sub(r":(\w+)", r"(?P<\1>[^/]+)", re.sub(r"\*(\w+)", r"(?P<\1>.+)", self.path))
        found = re.fullmatch(f"/api/v4{pattern}", urlsplit(request.target).path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def failure(status: int, detail: str) -> Answer:
    """GitLab's error document: ``{"message": "404 Project Not Found"}``."""
    return json_answer(status, {"message": f"{status} {detail}"})


NOT_FOUND = (404, "Not Found")
UNAUTHORIZED = (401, "Unauthorized")
FORBIDDEN = (403, "Forbidden")


class RestApi:
    """Answers requests on a state. ``url`` is what GitLab calls itself; ``store`` gives a signed address for bytes elsewhere, or None."""

    def __init__(self, url: str, store: Callable[[bytes], str | None]) -> None:
        self.url = url
        self._store = store

    def answer(self, request: Request, live: State, seen: State) -> Answer:
        """The right answer. ``live`` knows tokens and takes writes; ``seen`` is what reads see."""
        caller = _caller(request, live)
        if caller is None and _claims_token(request):
            return failure(*UNAUTHORIZED)
        for endpoint in ENDPOINTS:
            args = endpoint.matches(request)
            if args is not None:
                return self._call(endpoint, request, seen if request.method in ("GET", "HEAD") else live, caller, args)
        return json_answer(404, {"error": "404 Not Found"})

    def _call(self, endpoint: Endpoint, request: Request, state: State, caller: Token | None, args: dict[str, str]) -> Answer:
        project = state.find_project(args.pop("project", ""))
        if "/projects/" not in endpoint.path:
            if caller is None or (caller.kind == "job") != (endpoint.path == "/job"):
                return failure(*UNAUTHORIZED)
            return endpoint.respond(self, Call(request, state, caller, Project(0, ""), args))
        if caller is not None and caller.kind == "job" and (project is None or not endpoint.takes_job_token(project)):
            caller = None
        if caller is None:
            return failure(404, "Project Not Found") if endpoint.method == "GET" else failure(*UNAUTHORIZED)
        if project is None or not caller.role:
            return failure(404, "Project Not Found")
        if caller.kind == "job" and caller.project_id != project.id:
            return failure(403, "Forbidden - Authentication by CI/CD job token not allowed from the one project to the other.")
        if caller.role < endpoint.role:
            return failure(*FORBIDDEN)
        if caller.kind == "private" and not {"api", *(["read_api"] if endpoint.method == "GET" else [])} & set(caller.scopes):
            scopes = {"error": "insufficient_scope", "error_description": "needs higher privileges", "scope": "api"}
            return json_answer(403, scopes)
        return endpoint.respond(self, Call(request, state, caller, project, args))

    # projects, users, jobs

    def project(self, call: Call) -> Answer:
        path = call.project.path
        namespace, _, name = path.rpartition("/")
        return json_answer(
            200,
            {
                "id": call.project.id,
                "description": None,
                "name": name,
                "name_with_namespace": f"{namespace} / {name}",
                "path": name,
                "path_with_namespace": path,
                "created_at": stamp(call.state.clock.now()),
                "default_branch": "main",
                "web_url": f"{self.url}/{path}",
                "visibility": "private",
                "jobs_enabled": True,
                "packages_enabled": call.project.package_registry,
            },
        )

    def current_user(self, call: Call) -> Answer:
        return json_answer(200, user_document(call.caller.user, self.url))

    def current_job(self, call: Call) -> Answer:
        job = call.state.jobs.get(call.caller.job_id)
        return failure(*NOT_FOUND) if job is None else json_answer(200, job_document(call.state, job, self.url))

    def pipeline_jobs(self, call: Call) -> Answer:
        return self._pipeline_jobs(call, bridges=False)

    def pipeline_bridges(self, call: Call) -> Answer:
        return self._pipeline_jobs(call, bridges=True)

    def _pipeline_jobs(self, call: Call, *, bridges: bool) -> Answer:
        pipeline = call.state.pipelines.get(int(call.args["pipeline"])) if call.args["pipeline"].isdecimal() else None
        if pipeline is None or pipeline.project_id != call.project.id:
            return failure(*NOT_FOUND)
        with_retried = call.query.get("include_retried", "").lower() in ("true", "1")
        jobs = [job for job in call.state.jobs.values() if job.pipeline_id == pipeline.id and (job.downstream is not None) == bridges]
        shown = sorted((job for job in jobs if with_retried or not job.retried), key=lambda job: -job.id)
        return self._page(call, [job_document(call.state, job, self.url) for job in shown])

    def artifact_file(self, call: Call) -> Answer:
        job = call.state.jobs.get(int(call.args["job"])) if call.args["job"].isdecimal() else None
        if job is None or not self._may_read_artifacts(call, job) or not job.is_readable(call.state.clock.now()):
            return failure(*NOT_FOUND)
        data = (job.files or {}).get(call.args["path"])
        return failure(*NOT_FOUND) if data is None else self._download(data)

    def artifact_archive(self, call: Call) -> Answer:
        job = call.state.jobs.get(int(call.args["job"])) if call.args["job"].isdecimal() else None
        if job is None or job.files is None or not self._may_read_artifacts(call, job):
            return failure(*NOT_FOUND)
        return self._download(repr(sorted(job.files)).encode())

    def erase(self, call: Call) -> Answer:
        job = call.state.jobs.get(int(call.args["job"]))
        if job is None:
            return failure(*NOT_FOUND)
        job.files = None
        return json_answer(201, job_document(call.state, job, self.url))

    def _may_read_artifacts(self, call: Call, job: Job) -> bool:
        ours = call.state.pipelines[job.pipeline_id].project_id == call.project.id
        return ours and (call.caller.kind != "job" or call.project.job_token_reads_artifacts)

    # packages

    def list_packages(self, call: Call) -> Answer:
        query = call.query
        if not call.project.package_registry:
            return failure(*FORBIDDEN)
        shown = [
            package
            for package in call.state.packages
            if package.project_id == call.project.id
            and (package.status in DISPLAYED if "status" not in query else package.status == query["status"])
            and query.get("package_type", "generic") == "generic"
            and query.get("package_name", "").lower() in package.name.lower()
            and query.get("package_version", package.version) == package.version
        ]
        return self._page(call, [package_document(call.project, package, self.url) for package in shown])

    def list_package_files(self, call: Call) -> Answer:
        package = _find_package(call)
        if not call.project.package_registry:
            return failure(*FORBIDDEN)
        return (
            failure(404, "Package Not Found")
            if package is None
            else self._page(call, [package_file_document(file) for file in package.installable()])
        )

    def delete_package(self, call: Call) -> Answer:
        package = _find_package(call)
        if package is None:
            return failure(404, "Package Not Found")
        package.status = "pending_destruction"
        return Answer(204)

    def upload(self, call: Call) -> Answer:
        project, name, version, file_name = call.project, call.args["name"], call.args["version"], call.args["file"]
        if not project.package_registry:
            return failure(*FORBIDDEN)
        for field, text, pattern in (
            ("package_name", name, _NAME),
            ("package_version", version, _VERSION),
            ("file_name", file_name, _NAME),
        ):
            if not pattern.fullmatch(text):
                return json_answer(400, {"error": f"{field} is invalid"})
        if name in project.protected_packages:
            return failure(403, "Forbidden - Package protected.")
        package = call.state.find_package(project, name, version)
        if package and not project.allows_duplicates and any(file.name == file_name for file in package.installable()):
            return failure(400, "Bad request - Duplicate package is not allowed")
        file = call.state.add_package_file(project, call.caller.user, name, version, file_name, call.request.body)
        return json_answer(201, package_file_document(file) if call.query.get("select") == "package_file" else {"message": "201 Created"})

    def download(self, call: Call) -> Answer:
        package = call.state.find_package(call.project, call.args["name"], call.args["version"])
        if not call.project.package_registry:
            return failure(*FORBIDDEN)
        files = [file for file in package.installable() if file.name == call.args["file"]] if package else []
        if not files:
            return failure(*NOT_FOUND)
        answer = self._download(files[-1].data)
        if answer.status == 200:
            answer.headers["X-Checksum-SHA256"] = files[-1].sha256
        return answer

    # merge requests

    def merge_request(self, call: Call) -> Answer:
        found = _find_merge_request(call)
        if found is None:
            return failure(*NOT_FOUND)
        web_url = f"{self.url}/{call.project.path}/-/merge_requests/{found.iid}"
        document = {
            "id": found.id,
            "iid": found.iid,
            "project_id": call.project.id,
            "title": "A change",
            "description": "",
            "state": "opened",
        }
        return json_answer(200, document | {"web_url": web_url, "draft": False, "source_branch": "change", "target_branch": "main"})

    def list_notes(self, call: Call) -> Answer:
        found = _find_merge_request(call)
        if found is None:
            return failure(*NOT_FOUND)
        notes = found.notes if call.query.get("sort", "desc") == "asc" else found.notes[::-1]
        return self._page(call, [note_document(self.url, found, note) for note in notes])

    def create_note(self, call: Call) -> Answer:
        found, body = _find_merge_request(call), _note_body(call)
        if found is None:
            return failure(*NOT_FOUND)
        if body is None:
            return json_answer(400, {"error": "body is missing"})
        return json_answer(201, note_document(self.url, found, call.state.add_note(found, call.caller.user, body)))

    def update_note(self, call: Call) -> Answer:
        found, body = _find_merge_request(call), _note_body(call)
        note = next((note for note in found.notes if str(note.id) == call.args["note"]), None) if found else None
        if found is None or note is None:
            return failure(*NOT_FOUND)
        if note.author.id != call.caller.user.id or note.is_system:
            return failure(*FORBIDDEN)
        if body is None:
            return json_answer(400, {"error": "body is missing"})
        note.body, note.updated_at = body, call.state.clock.now()
        return json_answer(200, note_document(self.url, found, note))

    def _download(self, data: bytes) -> Answer:
        address = self._store(data)
        if address is not None:
            return Answer(302, {"Location": address, "Content-Type": "application/json"}, b"{}")
        return Answer(200, {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment"}, data)

    def _page(self, call: Call, items: Sequence[Mapping[str, Any]]) -> Answer:
        """One page, with the headers of offset pagination."""
        size = min(int(call.query.get("per_page", "20")), 100)
        page, pages = max(1, int(call.query.get("page", "1"))), max(1, -(-len(items) // size))
        links = {"prev": page - 1, "next": page + 1, "first": 1, "last": pages}

        def link(number: int) -> str:
            path = quote(urlsplit(call.request.target).path, safe="/%")
            return f"{self.url}{path}?{urlencode({**call.query, 'page': number, 'per_page': size})}"

        named = [f'<{link(number)}>; rel="{name}"' for name, number in links.items() if 1 <= number <= pages]
        headers = {
            "Link": ", ".join(named),
            "X-Page": str(page),
            "X-Per-Page": str(size),
            "X-Next-Page": str(page + 1) if page < pages else "",
            "X-Prev-Page": str(page - 1) if page > 1 else "",
            "X-Total": str(len(items)),
            "X-Total-Pages": str(pages),
        }
        return json_answer(200, items[(page - 1) * size : page * size], headers)


def _caller(request: Request, state: State) -> Token | None:
    for header, kind in (("job-token", "job"), ("private-token", "private")):
        token = state.tokens.get(request.headers.get(header, ""))
        if token is not None and token.kind == kind:
            return token
    return None


def _claims_token(request: Request) -> bool:
    return "job-token" in request.headers or "private-token" in request.headers


def _find_package(call: Call) -> Package | None:
    found = (package for package in call.state.packages if (str(package.id), package.project_id) == (call.args["package"], call.project.id))
    return next((package for package in found if package.status in DISPLAYED), None)


def _find_merge_request(call: Call) -> MergeRequest | None:
    wanted = (call.args["iid"], call.project.id)
    return next((one for one in call.state.merge_requests if (str(one.iid), one.project_id) == wanted), None)


def _note_body(call: Call) -> str | None:
    document = call.request.json
    body = document.get("body") if isinstance(document, dict) else None
    return body if isinstance(body, str) and 0 < len(body) <= _LONGEST_NOTE else None


def _always(_: Project) -> bool:
    return True


_GENERIC = "/projects/:project/packages/generic/:name/:version/:file"
_NOTES = "/projects/:project/merge_requests/:iid/notes"

ENDPOINTS = (
    Endpoint("GET", "/user", RestApi.current_user, 0),
    Endpoint("GET", "/job", RestApi.current_job, 0),
    Endpoint("GET", "/projects/:project", RestApi.project, GUEST),
    Endpoint(
        "GET", "/projects/:project/pipelines/:pipeline/jobs", RestApi.pipeline_jobs, REPORTER, lambda project: project.job_token_lists_jobs
    ),
    Endpoint("GET", "/projects/:project/pipelines/:pipeline/bridges", RestApi.pipeline_bridges, REPORTER),
    Endpoint("POST", "/projects/:project/jobs/:job/erase", RestApi.erase, DEVELOPER),
    Endpoint("GET", "/projects/:project/jobs/:job/artifacts", RestApi.artifact_archive, REPORTER, _always),
    Endpoint("GET", "/projects/:project/jobs/:job/artifacts/*path", RestApi.artifact_file, REPORTER, _always),
    Endpoint("GET", "/projects/:project/packages", RestApi.list_packages, REPORTER, _always),
    Endpoint("GET", "/projects/:project/packages/:package/package_files", RestApi.list_package_files, REPORTER, _always),
    Endpoint("DELETE", "/projects/:project/packages/:package", RestApi.delete_package, 40, _always),
    Endpoint("PUT", _GENERIC, RestApi.upload, DEVELOPER, _always),
    Endpoint("GET", _GENERIC, RestApi.download, REPORTER, _always),
    Endpoint("GET", "/projects/:project/merge_requests/:iid", RestApi.merge_request, REPORTER, _always),
    Endpoint("GET", _NOTES, RestApi.list_notes, REPORTER, _always),
    Endpoint("POST", _NOTES, RestApi.create_note, REPORTER),
    Endpoint("PUT", f"{_NOTES}/:note", RestApi.update_note, REPORTER),
)
"""What this GitLab has; statuses, tags and variables it has not: a job token could not write them, and nothing here does."""
