"""GitLab on loopback: the parts of its REST API that stores and comments need, over one state machine, with faults between any two calls.

::

    with FakeGitLab() as gitlab:
        project = gitlab.add_project("group/app", 4711)
        token = gitlab.add_job_token(project)
        gitlab.fail(method="PUT", path="/packages/generic/", lose_reply=True)
        gitlab.lag(reads=3)
        ...
        assert [str(request) for request in gitlab.requests] == ["GET /api/v4/projects/4711/packages?…", …]

``gitlab.api_url`` is what ``CI_API_V4_URL`` holds. ``keep_objects_elsewhere()`` sends downloads to object storage on another host, whose
``requests`` tell which headers arrived there. ``exchanges`` keeps every right answer, for the check against GitLab's documentation.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from ci_plugin.ports import Clock
from tests.fakes.clock import FakeClock
from tests.fakes.github_http import Answer, Exchange, LoopbackServer, Reply, Request
from tests.fakes.gitlab_faults import Fault
from tests.fakes.gitlab_rest import RestApi, failure
from tests.fakes.gitlab_state import DEVELOPER, Job, Pipeline, Project, State, Token

__all__ = ["FakeGitLab", "FakeObjectStorage", "Request"]


class FakeObjectStorage:
    """A bucket on another host (``localhost`` where GitLab is ``127.0.0.1``): signed addresses, and what was sent there."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fails_with: int | None = None
        self._objects: dict[str, bytes] = {}
        self._signature = secrets.token_hex(8)
        self._server = LoopbackServer(self._respond)
        self.url = f"http://localhost:{self._server.port}"

    def start(self) -> None:
        """Serve from now on."""
        self._server.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def keep(self, data: bytes) -> str:
        """The signed address of these bytes."""
        name = hashlib.sha256(data).hexdigest()
        self._objects[name] = data
        return f"{self.url}/bucket/{name}?X-Amz-Signature={self._signature}"

    def _respond(self, request: Request) -> Reply:
        self.requests.append(request)
        data = self._objects.get(request.path.rpartition("/")[2])
        if self.fails_with:
            return Reply(Answer(self.fails_with, {"Content-Type": "application/xml"}, b"<Error><Code>SlowDown</Code></Error>"))
        if data is None or request.query.get("X-Amz-Signature") != self._signature:
            return Reply(Answer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AccessDenied</Code></Error>"))
        return Reply(Answer(200, {"Content-Type": "application/octet-stream"}, data))


class FakeGitLab:
    """A running GitLab; use it as a context manager. ``external_url`` is what it calls itself in links, its own address by default."""

    def __init__(self, clock: Clock | None = None, *, external_url: str = "") -> None:
        self.state = State(clock or FakeClock())
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self.on_request: Callable[[Request], None] | None = None
        """Called with every request before it is answered, side by side for requests at one time: where a test lets somebody else act."""
        self.racing_creation_fails = False
        """As older versions: of two uploads that would create one package at one time, the second one ends with 500."""
        self.storage: FakeObjectStorage | None = None
        self._faults: list[Fault] = []
        self._replica: State | None = None
        self._stale_reads = 0
        self._next_lag = 0
        self._lock = threading.RLock()
        self._server = LoopbackServer(self._respond)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.address = f"127.0.0.1:{self._server.port}"
        self.api_url = f"{self.url}/api/v4"
        self._rest = RestApi(external_url or self.url, lambda data: self.storage.keep(data) if self.storage else None)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.close()
        if self.storage:
            self.storage.close()

    def add_project(self, path: str = "group/app", id: int = 4711) -> Project:  # noqa: A002 - GitLab's word
        """A private project."""
        project = self.state.projects[id] = Project(id, path)
        return project

    def add_pipeline(self, project: Project, id: int = 1001, *, parent: int | None = None) -> Pipeline:  # noqa: A002
        """A pipeline of the main branch."""
        return self.state.add_pipeline(project, id, "main", f"{id:040x}", parent)

    def add_job_token(self, project: Project, role: int = DEVELOPER, job: Job | None = None) -> str:
        """The ``CI_JOB_TOKEN`` of a job that somebody of this role started."""
        return self._add_token(
            Token(f"glcbt-{secrets.token_hex(10)}", "job", self.state.add_user("someone"), role, (), project.id, job.id if job else 0)
        )

    def add_access_token(self, role: int = DEVELOPER, scopes: tuple[str, ...] = ("api",), username: str = "project_bot") -> str:
        """A project access token; it acts as a bot of its own."""
        return self._add_token(Token(f"glpat-{secrets.token_hex(10)}", "private", self.state.add_user(username), role, scopes))

    def _add_token(self, token: Token) -> str:
        self.state.tokens[token.text] = token
        return token.text

    def revoke(self, token: str) -> None:
        """The job has ended, or somebody revoked it."""
        del self.state.tokens[token]

    def keep_objects_elsewhere(self) -> FakeObjectStorage:
        """From now on downloads are redirected to object storage on another host."""
        self.storage = FakeObjectStorage()
        self.storage.start()
        return self.storage

    def fail(self, **fault: Any) -> None:
        """Inject a fault: the fields of ``Fault``."""
        self._faults.append(Fault(**fault))

    def limit_rate(self, retry_after: str | None = "7", **fault: Any) -> None:
        """The next matching requests are too many: 429, plain text, as Rack::Attack answers."""
        headers = {"Content-Type": "text/plain", "RateLimit-Remaining": "0"} | ({"Retry-After": retry_after} if retry_after else {})
        self.fail(status=429, headers=headers, body=b"Retry later\n", **fault)

    def lag(self, reads: int) -> None:
        """After the next write so many reads come from a replica that does not have it yet."""
        self._next_lag = reads

    def count(self, method: str | None = None, path: str = "") -> int:
        """How many requests had this method and this text in their target."""
        return sum(1 for request in self.requests if method in (None, request.method) and path in request.target)

    def _respond(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            creates = request.method == "PUT" and not self._package_exists(request)
        if self.on_request:
            self.on_request(request)
        with self._lock:
            return self._answer(request, creates)

    def _answer(self, request: Request, creates: bool) -> Reply:
        fault = next((one for one in self._faults if one.takes(request)), None)
        if fault and fault.drop:
            return Reply(Answer(0), is_lost=True)
        replacement = fault.replacement() if fault else None
        if replacement and not (fault and fault.commits):
            return Reply(replacement)
        answer = self._answer_rightly(request, creates)
        if fault is None:
            self.exchanges.append(Exchange(request, answer))
            return Reply(answer)
        fault.distort(answer)
        return Reply(replacement or answer, is_lost=fault.lose_reply, is_cut=fault.cut)

    def _answer_rightly(self, request: Request, creates: bool) -> Answer:
        if creates and self.racing_creation_fails and self._package_exists(request):
            return failure(500, "Internal Server Error")
        if request.method in ("GET", "HEAD"):
            stale = self._stale_reads > 0
            self._stale_reads -= stale
            return self._rest.answer(request, self.state, self._replica if stale and self._replica else self.state)
        if self._next_lag:
            self._replica, self._stale_reads, self._next_lag = self.state.copy(), self._next_lag, 0
        return self._rest.answer(request, self.state, self.state)

    def _package_exists(self, request: Request) -> bool:
        parts = urlsplit(request.target).path.split("/")
        if "generic" not in parts:
            return True
        project = self.state.find_project(parts[4])
        return project is not None and self.state.find_package(project, parts[-3], parts[-2]) is not None
