"""What a GitLab knows, as one state machine: projects, members, tokens, pipelines, jobs and their artifacts, packages, merge requests.

Only what the API shows of it matters here; who may see or change what is decided in ``gitlab_rest.py``. Everything is plain data, so that a
replica that lags is a copy taken earlier. Ids come from one counter per kind and grow with time, as database sequences do.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ci_plugin.ports import Clock

GUEST, REPORTER, DEVELOPER, MAINTAINER = 10, 20, 30, 40
"""Roles as GitLab numbers them."""
DISPLAYED = ("default", "deprecated", "error")
"""The states of a package that listings show unless asked for others."""


def stamp(moment: datetime) -> str:
    """A time as GitLab's API writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@dataclass
class User:
    """A person or a token's bot."""

    id: int
    username: str


@dataclass
class Token:
    """Who calls. ``kind``: ``job`` goes in the header JOB-TOKEN, ``private`` in PRIVATE-TOKEN; ``scopes`` are those of a private token."""

    text: str
    kind: str
    user: User
    role: int
    scopes: tuple[str, ...] = ()
    project_id: int = 0
    job_id: int = 0


@dataclass
class Project:
    """A project: private, so that without a right to see it everything is 404."""

    id: int
    path: str
    package_registry: bool = True
    allows_duplicates: bool = True
    """The group setting "Allow duplicates" for generic packages."""
    protected_packages: set[str] = field(default_factory=set)
    job_token_reads_artifacts: bool = True
    """False on GitLab.com's Free tier, as the documentation has it."""
    job_token_lists_jobs: bool = True
    """False before the endpoint took job tokens."""


@dataclass
class Pipeline:
    """A pipeline; ``parent`` is the one that triggered it, for a child pipeline."""

    id: int
    project_id: int
    ref: str
    sha: str
    parent: int | None = None


@dataclass
class Job:
    """One try of a job, or (with ``downstream``) a bridge. ``files`` is its artifact archive, None where it has none."""

    id: int
    pipeline_id: int
    name: str
    stage: str
    created_at: datetime
    status: str = "success"
    retried: bool = False
    files: dict[str, bytes] | None = None
    expire_at: datetime | None = None
    is_locked: bool = False
    """Kept past its expiry because it belongs to the latest successful pipeline of its ref."""
    downstream: int | None = None

    def has_archive(self) -> bool:
        """Whether listings show an archive: also an expired one that the clean-up did not reach yet."""
        return self.files is not None

    def is_readable(self, now: datetime) -> bool:
        """Whether single files can be read (``available_artifacts?``)."""
        return self.has_archive() and (self.is_locked or self.expire_at is None or now < self.expire_at)


@dataclass
class PackageFile:
    """One uploaded file; names may repeat within a package."""

    id: int
    package_id: int
    name: str
    data: bytes
    created_at: datetime
    status: str = "default"

    @property
    def sha256(self) -> str:
        """Of the bytes, in hex."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass
class Package:
    """A generic package; unique by project, name and version among those not pending destruction."""

    id: int
    project_id: int
    name: str
    version: str
    created_at: datetime
    creator: User
    status: str = "default"
    files: list[PackageFile] = field(default_factory=list)

    def installable(self) -> list[PackageFile]:
        """The files that can be listed and read, lowest id first."""
        return [file for file in self.files if file.status == "default"]


@dataclass
class Note:
    """A comment or a system note."""

    id: int
    author: User
    body: str
    created_at: datetime
    updated_at: datetime
    is_system: bool = False


@dataclass
class MergeRequest:
    """A merge request with its notes, oldest first."""

    id: int
    iid: int
    project_id: int
    notes: list[Note] = field(default_factory=list)


class State:
    """All of it. Methods that change something are what users, runners, clean-up workers and the API do."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.users: list[User] = []
        self.tokens: dict[str, Token] = {}
        self.projects: dict[int, Project] = {}
        self.pipelines: dict[int, Pipeline] = {}
        self.jobs: dict[int, Job] = {}
        self.packages: list[Package] = []
        self.merge_requests: list[MergeRequest] = []
        self._ids: dict[str, Iterator[int]] = {}

    def copy(self) -> State:
        """As it is now, for a replica; clock and counters stay shared, as they are not what readers see."""
        from copy import deepcopy

        kept = {id(self.clock): self.clock, id(self._ids): self._ids}
        return deepcopy(self, kept)

    def next_id(self, kind: str, start: int = 1) -> int:
        """The next id of a kind."""
        return next(self._ids.setdefault(kind, itertools.count(start)))

    def add_user(self, username: str) -> User:
        """Somebody."""
        user = User(self.next_id("user"), username)
        self.users.append(user)
        return user

    def find_project(self, name: str) -> Project | None:
        """By id, or by path without regard to case."""
        if name.isdecimal():
            return self.projects.get(int(name))
        return next((project for project in self.projects.values() if project.path.lower() == name.lower()), None)

    def add_pipeline(self, project: Project, id: int, ref: str, sha: str, parent: int | None = None) -> Pipeline:  # noqa: A002
        """A pipeline; one with a parent gets a bridge there."""
        pipeline = self.pipelines[id] = Pipeline(id, project.id, ref, sha, parent)
        if parent is not None:
            self.add_job(self.pipelines[parent], "trigger", downstream=id)
        return pipeline

    def add_job(
        self,
        pipeline: Pipeline,
        name: str,
        *,
        files: Mapping[str, bytes] | None = None,
        status: str = "success",
        expire_in: float | None = None,
        downstream: int | None = None,
    ) -> Job:
        """A try of a job that has ended, with what it handed on; an earlier try of that name counts as retried."""
        for job in self.jobs.values():
            if (job.pipeline_id, job.name) == (pipeline.id, name):
                job.retried = True
        now = self.clock.now()
        expire_at = None if expire_in is None else now + timedelta(seconds=expire_in)
        kept = None if files is None else dict(files)
        job = Job(
            self.next_id("job", 5001), pipeline.id, name, "build", now, status, files=kept, expire_at=expire_at, downstream=downstream
        )
        self.jobs[job.id] = job
        return job

    def find_package(self, project: Project, name: str, version: str) -> Package | None:
        """The one of that name and version that is not being destroyed."""
        wanted = (project.id, name, version)
        found = (package for package in self.packages if (package.project_id, package.name, package.version) == wanted)
        return next((package for package in found if package.status != "pending_destruction"), None)

    def add_package_file(self, project: Project, user: User, name: str, version: str, file_name: str, data: bytes) -> PackageFile:
        """One transaction: find or make the package, add the file."""
        package = self.find_package(project, name, version)
        now = self.clock.now()
        if package is None:
            package = Package(self.next_id("package"), project.id, name, version, now, user)
            self.packages.append(package)
        file = PackageFile(self.next_id("package_file", 101), package.id, file_name, data, now)
        package.files.append(file)
        return file

    def clean_up_duplicates(self, keep: int = 1) -> None:
        """The clean-up policy of the package registry: of files of one name the newest ``keep`` stay."""
        for package in self.packages:
            for name in {file.name for file in package.files}:
                for file in [file for file in package.installable() if file.name == name][:-keep]:
                    file.status = "pending_destruction"

    def add_merge_request(self, project: Project, iid: int) -> MergeRequest:
        """A merge request without comments."""
        merge_request = MergeRequest(self.next_id("merge_request", 901), iid, project.id)
        self.merge_requests.append(merge_request)
        return merge_request

    def add_note(self, merge_request: MergeRequest, author: User, body: str, *, is_system: bool = False) -> Note:
        """A comment."""
        now = self.clock.now()
        note = Note(self.next_id("note", 301), author, body, now, now, is_system)
        merge_request.notes.append(note)
        return note
