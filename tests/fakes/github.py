"""GitHub on loopback: the REST API, the artifact service of its runners and the blob host, over one state machine.

::

    with FakeGitHub() as github:
        project = github.add_project("group/app")
        project.commit_files({"README.md": b"hello"})
        token = github.add_token(contents="write", actions="read")
        github.fail(method="POST", path="/git/refs", lose_reply=True)
        ...
        assert [str(request) for request in github.requests] == ["GET /repos/group/app", …]

``github.url`` is what ``GITHUB_API_URL`` holds; the blob host is ``github.blobs``, whose ``requests`` show who came, and with what.
``FakeGitHub(record=True)`` keeps every exchange in ``exchanges``, which ``tests/fakes/github_openapi.py`` holds to GitHub's own
description of its API. Time is ``clock``'s: nothing here waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Self

from tests.fakes.clock import FakeClock
from tests.fakes.github_actions import ACTIONS_ROUTES, COMMENT_ROUTES
from tests.fakes.github_http import Answer, Exchange, Fault, LoopbackServer, Reply, Request, error_answer
from tests.fakes.github_rest import GIT_ROUTES, RestApi
from tests.fakes.github_results import READING, SERVICE, ArtifactService, BlobHost
from tests.fakes.github_state import Artifact, Comment, GitHubState, Job, Project, Run, Token

_QUOTA = 5000
_LIMITS = "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api"


@dataclass(slots=True)
class _Hidden:
    """A write that reads do not see yet: they answer from ``before`` until ``reads`` of them passed and it is ``until``."""

    before: GitHubState
    reads: int
    until: datetime


@dataclass(frozen=True, slots=True)
class _Lag:
    reads: int
    seconds: float


class FakeGitHub:
    """A running GitHub; use it as a context manager, or ``start()`` and ``close()``."""

    def __init__(self, clock: FakeClock | None = None, *, record: bool = False) -> None:
        self.clock = clock or FakeClock()
        self.state = GitHubState(self.clock)
        self.requests: list[Request] = []
        self.exchanges: list[Exchange] = []
        self.on_request: Callable[[Request], None] | None = None
        """Called with every request before it is answered: where a test lets somebody else act between two calls."""
        self._record = record
        self._faults: list[Fault] = []
        self._lag: _Lag | None = None
        self._hidden: list[_Hidden] = []
        self._used = 0
        self._lock = threading.RLock()
        self._server = LoopbackServer(lambda request: self._respond(request, "api"))
        self._blob_server = LoopbackServer(lambda request: self._respond(request, "blob"))
        self.url = f"http://127.0.0.1:{self._server.port}"
        # Another host name, too: clients that compare host names alone must see that it is another host.
        self.blobs = BlobHost(f"http://localhost:{self._blob_server.port}")
        self._rest = RestApi(self.url, (*GIT_ROUTES, *ACTIONS_ROUTES, *COMMENT_ROUTES), self.blobs.offer)
        self._results = ArtifactService(self.state, self.blobs)

    def start(self) -> Self:
        """Serve from now on."""
        self._server.start()
        self._blob_server.start()
        return self

    def close(self) -> None:
        """Stop serving."""
        self._server.close()
        self._blob_server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add_project(self, full_name: str, *, private: bool = True, id: int | None = None, fork_of: int | None = None) -> Project:  # noqa: A002 (GitHub's word)
        """An empty repository."""
        return self.state.add_project(full_name, private=private, id=id, fork_of=fork_of)

    def rename_project(self, project: Project, full_name: str) -> None:
        """Give it another name; the old one redirects (301, for anything but GET 307)."""
        self.state.rename_project(project, full_name)

    def add_token(
        self,
        text: str = "ghs_fake",
        *,
        login: str = "github-actions[bot]",
        projects: list[Project] | None = None,
        is_app: bool = True,
        is_classic: bool = False,
        **permissions: str,
    ) -> str:
        """A token with these rights (``contents="write"``, ``actions="read"``, ``pull_requests=…``), for every project unless told."""
        ids = None if projects is None else frozenset(project.id for project in projects)
        self.state.tokens[text] = Token(text, login, permissions, ids, is_app and not is_classic, is_classic)
        return text

    def revoke_token(self, text: str) -> None:
        """From now on it is a 401."""
        del self.state.tokens[text]

    def job_environment(self, project: Project, run: int, job: str = "pin", token: str | None = None) -> dict[str, str]:
        """What the runner gives a job of the run's current attempt: who it is, where the API is, and the artifact service's variables.

        ``GITHUB_EVENT_PATH`` and the files of the step (``GITHUB_OUTPUT``, …) are the caller's to make. In a run of a pull request
        ``GITHUB_SHA`` is really the commit of a trial merge; here it is the head's.
        """
        now = project.runs[run]
        token_of_job = {"GITHUB_TOKEN": token} if token else {}
        of_pull = {"GITHUB_HEAD_REF": now.head_branch, "GITHUB_REF": f"refs/pull/{now.pull}/merge"} if now.pull else {}
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": self.url,
            "GITHUB_API_URL": self.url,
            "GITHUB_REPOSITORY": project.full_name,
            "GITHUB_REPOSITORY_ID": str(project.id),
            "GITHUB_RUN_ID": str(run),
            "GITHUB_RUN_ATTEMPT": str(now.attempt),
            "GITHUB_SHA": now.head_sha,
            "GITHUB_EVENT_NAME": now.event,
            "ACTIONS_RESULTS_URL": f"{self.url}/",
            "ACTIONS_RUNTIME_TOKEN": self._results.make_token(project, now, job),
            "GITHUB_ACTOR": "ada",
            "GITHUB_REF": f"refs/heads/{now.head_branch}",
            **of_pull,
            **token_of_job,
        }

    def fail(self, **fault: Any) -> Fault:
        """Let the next matching requests fail or lie: the fields of ``Fault``; ``times=None`` is for ever."""
        made = Fault(**fault)
        self._faults.append(made)
        return made

    def limit_rate(self, *, status: int = 403, times: int | None = 1, seconds: int = 60, **where: Any) -> Fault:
        """The primary rate limit: nothing remains until ``seconds`` from now."""
        reset = int(self.clock.now().timestamp()) + seconds
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Used": str(_QUOTA), "X-RateLimit-Reset": str(reset)}
        answer = error_answer(status, "API rate limit exceeded for installation.", headers, docs=_LIMITS)
        return self.fail(status=status, body=answer.body, headers=answer.headers, times=times, **where)

    def limit_rate_secondary(self, *, status: int = 403, times: int | None = 1, retry_after: int | None = 60, **where: Any) -> Fault:
        """The secondary rate limit: come back after so many seconds; GitHub does not always say how many."""
        message = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        answer = error_answer(status, message, headers, docs=f"{_LIMITS}#about-secondary-rate-limits")
        return self.fail(status=status, body=answer.body, headers=answer.headers, times=times, **where)

    def lag(self, *, reads: int = 0, seconds: float = 0.0) -> None:
        """From now on each write over HTTP stays hidden from the next ``reads`` GETs and for ``seconds`` of the clock.

        Writes see it at once: they go to the primary.
        """
        self._lag = _Lag(reads, seconds)

    def hide(self, *, reads: int = 0, seconds: float = 0.0) -> None:
        """What happens after this, by whatever hand, is hidden from the next ``reads`` GETs and for ``seconds`` of the clock."""
        self._hide(self.state.copy(), _Lag(reads, seconds))

    def catch_up(self) -> None:
        """No lag any more."""
        self._lag = None
        self._hidden.clear()

    def count(self, method: str | None = None, path: str = "") -> int:
        """How many requests had this method and this text in their path."""
        return sum(1 for request in self.requests if method in (None, request.method) and path in request.path)

    def _respond(self, request: Request, host: str) -> Reply:
        (self.requests if host == "api" else self.blobs.requests).append(request)
        if self.on_request:
            self.on_request(request)  # outside the lock: it may send requests of its own
        with self._lock:
            fault = next((one for one in self._faults if one.takes(request, host)), None)
            reply = self._reply(request, fault, self._answer if host == "api" else self.blobs.answer)
            if host == "api" and not request.path.startswith(SERVICE):
                self._count_rate(reply.answer)
                self._keep(request, reply.answer, fault)
            return reply

    def _keep(self, request: Request, answer: Answer, fault: Fault | None) -> None:
        if self._record:
            self.exchanges.append(Exchange(request, answer, fault is not None))

    def _reply(self, request: Request, fault: Fault | None, answer_rightly: Callable[[Request], Answer]) -> Reply:
        if fault is None:
            return Reply(answer_rightly(request))
        if fault.drop:
            return Reply(Answer(0), is_lost=True)
        if replaced := fault.replacement():
            return Reply(replaced)
        answer = answer_rightly(request)
        fault.distort(answer)
        return Reply(answer, is_lost=fault.lose_reply, is_cut=fault.cut)

    def _answer(self, request: Request) -> Answer:
        if request.method in ("GET", "HEAD"):
            return self._rest.answer(request, self._visible_state())
        if request.path.startswith(SERVICE) and request.path.endswith(READING):
            return self._results.answer(request)
        before = self.state.copy() if self._lag else None
        answer = self._results.answer(request) if request.path.startswith(SERVICE) else self._rest.answer(request, self.state)
        if before and self._lag and answer.status < 300:
            self._hide(before, self._lag)
        return answer

    def _hide(self, before: GitHubState, lag: _Lag) -> None:
        self._hidden.append(_Hidden(before, lag.reads, self.clock.now() + timedelta(seconds=lag.seconds)))

    def _visible_state(self) -> GitHubState:
        now = self.clock.now()
        self._hidden = [one for one in self._hidden if one.reads > 0 or now < one.until]
        for one in self._hidden:
            one.reads -= 1
        return self._hidden[0].before if self._hidden else self.state

    def _count_rate(self, answer: Answer) -> None:
        self._used += 1
        reset = int(self.clock.now().timestamp()) + 3600
        rate = {"Limit": _QUOTA, "Remaining": _QUOTA - self._used % _QUOTA, "Used": self._used % _QUOTA, "Reset": reset, "Resource": "core"}
        for name, value in rate.items():
            answer.headers.setdefault(f"X-RateLimit-{name}", str(value))
        answer.headers.setdefault("Date", format_datetime(self.clock.now(), usegmt=True))
        answer.headers.setdefault("X-GitHub-Request-Id", f"FAKE:{len(self.requests)}")
        answer.headers.setdefault("X-GitHub-Media-Type", "github.v3; format=json")


__all__ = ["Artifact", "Comment", "Exchange", "FakeGitHub", "Fault", "Job", "Project", "Request", "Run", "Token"]
