"""What GitHub knows: projects, tokens, runs with their attempts, jobs, artifacts, comments; one state machine without any HTTP.

Rules (facts/ci-platforms.md 1.2 says where each is from):

- An artifact's name is unique within one *attempt* of a run. The name is taken by CreateArtifact; where Finalize fails it stays taken
  and is in no listing: burnt.
- Re-running failed jobs makes a new attempt; earlier artifacts stay. Re-running all jobs makes a new attempt, and earlier artifacts go.
- Artifacts expire: they stay in listings with ``expired`` true, and cannot be downloaded.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count

from ci_plugin.ports import Clock
from tests.fakes.github_git import Commit, GitRepository, Person, Refused, TreeItem

TAKEN = "an artifact with this name already exists on the workflow run"
_FORBIDDEN_IN_NAMES = frozenset('":<>|*?\r\n\\/')


@dataclass(frozen=True, slots=True)
class Token:
    """``permissions``: GitHub's names (contents, actions, issues, pull_requests, …) → read or write.

    ``projects``: ids of those it was made for, None for every one. ``is_app`` says who GitHub's refusal names: an integration
    (such as a job's own token) or a personal access token. From a classic one GitHub hides what it may not do: 404.
    """

    text: str
    login: str
    permissions: Mapping[str, str]
    projects: frozenset[int] | None = None
    is_app: bool = True
    is_classic: bool = False

    def may(self, permission: str, level: str) -> bool:
        """Whether it holds the right."""
        held = self.permissions.get(permission, "none")
        return held == "write" or held == level


@dataclass(frozen=True, slots=True)
class Run:
    """A workflow run; ``starts`` holds when each attempt began, the last is the current one."""

    id: int
    head_sha: str
    head_branch: str
    event: str
    head_repository: int
    starts: tuple[datetime, ...]
    pull: int | None = None
    status: str = "in_progress"
    conclusion: str | None = None

    @property
    def attempt(self) -> int:
        """The current attempt's number."""
        return len(self.starts)


@dataclass(frozen=True, slots=True)
class Job:
    """A job of one attempt; ``conclusion`` is None until it ends."""

    id: int
    run: int
    attempt: int
    name: str
    started_at: datetime
    completed_at: datetime | None = None
    conclusion: str | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A CI artifact; while its name is only taken, ``digest`` is empty and no listing shows it."""

    id: int
    run: int
    attempt: int
    name: str
    created_at: datetime
    expires_at: datetime
    data: bytes = field(default=b"", repr=False)
    digest: str = ""
    blob: str = ""

    @property
    def is_final(self) -> bool:
        """Whether Finalize succeeded."""
        return bool(self.digest)


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment of an issue or pull request."""

    id: int
    issue: int
    login: str
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class Project:
    """A repository on GitHub with all that belongs to it."""

    id: int
    owner: str
    name: str
    clock: Clock
    ids: Iterator[int]
    private: bool = True
    fork_of: int | None = None
    default_branch: str = "main"
    git: GitRepository = field(default_factory=GitRepository)
    runs: dict[int, Run] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    stored: dict[int, Artifact] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    issues: dict[int, bool] = field(default_factory=dict)
    """Number of an issue or pull request → whether it is locked."""

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"

    def copy(self) -> Project:
        """The same, to stay as it is now; records are frozen, so only the tables are copied."""
        made = replace(self, git=self.git.copy(), runs=dict(self.runs), jobs=dict(self.jobs), stored=dict(self.stored))
        made.comments, made.issues = dict(self.comments), dict(self.issues)
        return made

    def commit_files(self, files: Mapping[str, bytes], message: str = "work", branch: str | None = None) -> str:
        """Push a commit of these files to a branch (the default one); returns its id."""
        ref = f"refs/heads/{branch or self.default_branch}"
        items: dict[str, TreeItem | None] = {path: TreeItem("100644", path, self.git.write_blob(data)) for path, data in files.items()}
        parents = (self.git.refs[ref],) if ref in self.git.refs else ()
        person = self.person("Ada", "ada@example.com")
        commit = self.git.write_commit(Commit(self.git.write_files(items), parents, message, person, person))
        self.git.refs[ref] = commit
        return commit

    def person(self, name: str, email: str, date: str | None = None) -> Person:
        """Somebody, now or at a date GitHub's way."""
        at = datetime.fromisoformat(date) if date else self.clock.now()
        return Person(name, email, text_of(at), int(at.timestamp()))

    def start_run(
        self,
        *jobs: str,
        head_sha: str | None = None,
        event: str = "push",
        branch: str | None = None,
        head_repository: int | None = None,
        pull: int | None = None,
        run_id: int | None = None,
    ) -> Run:
        """Begin a run, at the default branch's tip unless told; its jobs are in progress."""
        branch = branch or self.default_branch
        sha = head_sha or self.git.refs[f"refs/heads/{branch}"]
        run = Run(run_id or next(self.ids), sha, branch, event, head_repository or self.id, (self.clock.now(),), pull)
        self.runs[run.id] = run
        self._start_jobs(run, jobs)
        return run

    def finish_job(self, run: int, name: str, conclusion: str = "success") -> Job:
        """End a job of the current attempt."""
        job = next(job for job in self.jobs_of(run, self.runs[run].attempt) if job.name == name)
        self.jobs[job.id] = replace(job, conclusion=conclusion, completed_at=self.clock.now())
        return self.jobs[job.id]

    def finish_run(self, run: int, conclusion: str = "success", failed: Collection[str] = ()) -> Run:
        """End the current attempt: its jobs succeed but for ``failed``."""
        for job in self.jobs_of(run, self.runs[run].attempt):
            if job.conclusion is None:
                self.finish_job(run, job.name, "failure" if job.name in failed else "success")
        self.runs[run] = replace(self.runs[run], status="completed", conclusion="failure" if failed else conclusion)
        return self.runs[run]

    def rerun_failed(self, run: int) -> Run:
        """Begin an attempt in which the jobs that did not succeed run again; the others' outputs and artifacts stay."""
        names = [job.name for job in self.latest_jobs(run) if job.conclusion != "success"]
        return self._begin_attempt(run, names)

    def rerun_all(self, run: int) -> Run:
        """Begin an attempt in which every job runs again; the artifacts of earlier attempts go."""
        names = [job.name for job in self.latest_jobs(run)]
        self.stored = {id_: one for id_, one in self.stored.items() if one.run != run}
        return self._begin_attempt(run, names)

    def jobs_of(self, run: int, attempt: int) -> list[Job]:
        """The jobs that ran in that attempt."""
        return [job for job in self.jobs.values() if (job.run, job.attempt) == (run, attempt)]

    def latest_jobs(self, run: int, attempt: int | None = None) -> list[Job]:
        """The newest try of each job, up to an attempt."""
        upto = [job for job in self.jobs.values() if job.run == run and (attempt is None or job.attempt <= attempt)]
        return list({job.name: job for job in upto}.values())

    def artifacts(self, run: int | None = None, name: str | None = None) -> list[Artifact]:
        """What listings show, newest first."""
        shown = [one for one in self.stored.values() if one.is_final and run in (None, one.run) and name in (None, one.name)]
        return sorted(shown, key=lambda one: -one.id)

    def is_expired(self, artifact: Artifact) -> bool:
        """Whether its time is over."""
        return self.clock.now() >= artifact.expires_at

    def reserve_artifact(self, run: int, attempt: int, name: str, expires_at: datetime | None = None) -> Artifact:
        """Take a name for this attempt; 409 where it is taken, 400 where it cannot be one."""
        if not name or _FORBIDDEN_IN_NAMES & set(name):
            raise Refused(400, "the artifact name is not valid")
        if any((one.run, one.attempt, one.name) == (run, attempt, name) for one in self.stored.values()):
            raise Refused(409, TAKEN)
        now, id_ = self.clock.now(), next(self.ids)
        longest = now + timedelta(days=90)
        self.stored[id_] = Artifact(id_, run, attempt, name, now, min(expires_at or longest, longest), blob=f"blob-{id_}")
        return self.stored[id_]

    def find_reserved(self, run: int, attempt: int, name: str) -> Artifact | None:
        """The artifact whose name was taken in this attempt and that is not final."""
        mine = (one for one in self.stored.values() if (one.run, one.attempt, one.name) == (run, attempt, name) and not one.is_final)
        return next(mine, None)

    def finalize_artifact(self, artifact: Artifact, data: bytes) -> Artifact:
        """Make it immutable and visible."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.stored[artifact.id] = replace(artifact, data=data, digest=digest)
        return self.stored[artifact.id]

    def add_artifact(
        self, run: int, name: str, files: Mapping[str, bytes] | bytes, *, attempt: int | None = None, days: float = 90
    ) -> Artifact:
        """What upload-artifact does in a job of the current attempt: a zip of these files (or these very bytes) under a name."""
        data = files if isinstance(files, bytes) else zip_of(files)
        expires = self.clock.now() + timedelta(days=days)
        return self.finalize_artifact(self.reserve_artifact(run, attempt or self.runs[run].attempt, name, expires), data)

    def expire_artifact(self, artifact: int) -> None:
        """Its retention is over as of now."""
        self.stored[artifact] = replace(self.stored[artifact], expires_at=self.clock.now())

    def delete_artifact(self, artifact: int) -> None:
        """Remove it; its name is free again."""
        if not (artifact in self.stored and self.stored[artifact].is_final):
            raise Refused(404, "Not Found")
        del self.stored[artifact]

    def open_pull(self, number: int) -> int:
        """A pull request that can be commented on."""
        self.issues[number] = False
        return number

    def lock_issue(self, number: int) -> None:
        """Nobody may comment any more."""
        self.issues[number] = True

    def comments_of(self, issue: int) -> list[Comment]:
        """Oldest first."""
        if issue not in self.issues:
            raise Refused(404, "Not Found")
        return [comment for comment in self.comments.values() if comment.issue == issue]

    def add_comment(self, issue: int, login: str, body: str) -> Comment:
        """Write a comment."""
        if issue not in self.issues:
            raise Refused(404, "Not Found")
        if self.issues[issue]:
            raise Refused(403, "Unable to create comment because issue is locked.")
        now, id_ = self.clock.now(), next(self.ids)
        self.comments[id_] = Comment(id_, issue, login, _checked_body(body), now, now)
        return self.comments[id_]

    def edit_comment(self, comment: int, body: str) -> Comment:
        """Replace a comment's text."""
        if comment not in self.comments:
            raise Refused(404, "Not Found")
        self.comments[comment] = replace(self.comments[comment], body=_checked_body(body), updated_at=self.clock.now())
        return self.comments[comment]

    def _begin_attempt(self, run: int, names: Collection[str]) -> Run:
        if len(self.runs[run].starts) > 50:
            raise Refused(403, "This workflow run cannot be rerun: it was rerun 50 times already")
        now = self.clock.now()
        self.runs[run] = replace(self.runs[run], starts=(*self.runs[run].starts, now), status="in_progress", conclusion=None)
        self._start_jobs(self.runs[run], names)
        return self.runs[run]

    def _start_jobs(self, run: Run, names: Collection[str]) -> None:
        for name in names:
            id_ = next(self.ids)
            self.jobs[id_] = Job(id_, run.id, run.attempt, name, self.clock.now())


@dataclass(slots=True)
class GitHubState:
    """Everything behind one API address."""

    clock: Clock
    projects: dict[int, Project] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    former_names: dict[str, int] = field(default_factory=dict)
    ids: Iterator[int] = field(default_factory=lambda: count(1001))

    def copy(self) -> GitHubState:
        """The same, to stay as it is now."""
        return replace(self, projects={id_: project.copy() for id_, project in self.projects.items()}, former_names=dict(self.former_names))

    def add_project(self, full_name: str, *, private: bool = True, id: int | None = None, fork_of: int | None = None) -> Project:  # noqa: A002 (GitHub's word)
        """An empty repository."""
        owner, _, name = full_name.partition("/")
        project = Project(id or next(self.ids), owner, name, self.clock, self.ids, private, fork_of)
        self.projects[project.id] = project
        return project

    def rename_project(self, project: Project, full_name: str) -> None:
        """Give it another name; the old one redirects."""
        self.former_names[project.full_name.lower()] = project.id
        project.owner, _, project.name = full_name.partition("/")

    def find_project(self, full_name: str) -> Project | None:
        """By its name of today, whatever the case."""
        return next((one for one in self.projects.values() if one.full_name.lower() == full_name.lower()), None)


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip archive; the same files give the same bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(zipfile.ZipInfo(path), content)
    return data.getvalue()


def text_of(at: datetime) -> str:
    """A time as GitHub writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _checked_body(body: object) -> str:
    if not isinstance(body, str) or not body.strip():
        raise Refused(422, "Validation Failed", [{"resource": "IssueComment", "code": "missing_field", "field": "body"}])
    if len(body) > 65536:
        too_long = {
            "resource": "IssueComment",
            "code": "unprocessable",
            "field": "data",
            "message": "Body is too long (maximum is 65536 characters)",
        }
        raise Refused(422, "Validation Failed", [too_long])
    return body
