"""What the stores and the comments need of one GitLab project, over python-gitlab: packages, job artifacts, merge request notes.

Rule: GitLab answers 404 also for what a token may not see, so a 404 is absence only below something this token was shown just before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ci_plugin.errors import DocumentError, Location, Unavailable
from ci_plugin.forge.gitlab_client import NO_RETRIES, GitLabClient
from ci_plugin.forge.package_store import PACKAGE, PackageFile
from ci_plugin.values.document import LARGEST_DOCUMENT

_LIMITS = "a job token has the role of whoever started the pipeline, ends with its job, and works in its own project"
_PACKAGES_READ = (
    "the project's package registry must be on (Settings > General > Visibility), the token needs the role Reporter or higher; "
    f"{_LIMITS}; else set STAGEPIN_TOKEN (a project access token, scope read_api)"
)
_PACKAGES_WRITE = (
    "the project's package registry must be on (Settings > General > Visibility) and the package stagepin not protected against this role; "
    f"the token needs the role Developer or higher; {_LIMITS}; else set STAGEPIN_TOKEN (a project access token, scope api)"
)
_JOBS = (
    "check the pipeline's id; the token needs the role Reporter or higher; older versions of GitLab take no job token here: "
    "set STAGEPIN_TOKEN (a project access token, scope read_api), or choose --store stages-storage"
)
_ARTIFACTS = (
    "artifacts:access may keep them from this role, and on GitLab Free a job token may not read them: "
    "set STAGEPIN_TOKEN (a project access token, scope read_api), or choose --store stages-storage"
)
_COMMENTS = "set the masked variable STAGEPIN_TOKEN to a project access token with the scope api and the role Reporter or higher"
_PROJECT = "set STAGEPIN_TOKEN to a token with the scope read_api"
_QUICK_ACTION = re.compile(r"^([ \t]*)/", re.MULTILINE)
"""A line that GitLab would take for a command, such as /merge (docs.gitlab.com/user/project/quick_actions)."""


class ProjectPackages:
    """``package_store.Packages`` over GitLab's packages API."""

    def __init__(self, client: GitLabClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        """``host/project``, for messages."""
        return self._client.name

    def list_files(self, version: str) -> Sequence[PackageFile]:
        """Every file of that version; empty where there is no such package. Raises AccessDenied, Unavailable."""
        files: list[PackageFile] = []
        for package in self._find_packages(version):
            entries = self._client.ask_list(
                f"the files of the package {PACKAGE} {version}",
                _PACKAGES_READ,
                self._client.project.packages.get(package, lazy=True).package_files.list,
                order_by="id",
                sort="asc",
            )
            if entries is None:
                message = f"expected the files of the package {PACKAGE} {version}, which {self.name} lists, found none there"
                raise Unavailable(message, hint="it is being deleted, or GitLab's replicas lag behind each other; run the job again")
            files += self._client.must("package files", _PACKAGES_READ, partial(_package_files, entries))
        return files

    def upload(self, version: str, file_name: str, data: bytes) -> None:
        """Add a file: one PUT, whatever becomes of it. Raises AccessDenied, InputError, Unavailable."""
        manager = self._client.project.generic_packages
        self._client.must(
            f"{self.name} to take the package {PACKAGE} {version}",
            _PACKAGES_WRITE,
            lambda: manager.upload(PACKAGE, version, file_name, data=data, **NO_RETRIES),
        )

    def find_file(self, version: str, file_name: str) -> bytes | None:
        """The newest file of that name, None for a 404. Raises AccessDenied, DocumentError, Unavailable."""
        manager = self._client.project.generic_packages
        data = self._client.ask(
            f"{file_name} of the package {PACKAGE} {version}",
            _PACKAGES_READ,
            lambda: manager.download(PACKAGE, version, file_name, **NO_RETRIES),
        )
        return None if data is None else _document(data, file_name, self.name)

    def _find_packages(self, version: str) -> list[int]:
        """The name is a fuzzy filter, and the version none before GitLab 16.6 (docs.gitlab.com/api/packages)."""
        expected = f"the packages of {self.name}"
        entries = self._client.must_list(
            expected,
            _PACKAGES_READ,
            self._client.project.packages.list,
            package_type="generic",
            package_name=PACKAGE,
            package_version=version,
        )
        ours = [entry for entry in entries if (entry.get("name"), entry.get("version")) == (PACKAGE, version)]
        return self._client.must(expected, _PACKAGES_READ, lambda: [_integer(entry, "id") for entry in ours])


class JobArtifacts:
    """``artifact_store.Artifacts`` over GitLab's jobs and job artifacts API."""

    def __init__(self, client: GitLabClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        """``host/project``, for messages."""
        return self._client.name

    @property
    def life(self) -> str:
        """How long they are kept and what they survive."""
        return (
            "kept as long as artifacts:expire_in says and nobody erases the job; retried jobs are read too, child pipelines are not; "
            "a pin job that is retried after its artifacts are gone pins anew"
        )

    def read_files(self, pipeline: str, path: str) -> Iterator[bytes]:
        """The files, oldest first. Raises AccessDenied where no archive may be read: what cannot be seen is not absent."""
        jobs = self._jobs_with_archive(pipeline)
        missing = 0
        for job in jobs:
            data = self._find_file(job, path)
            if data is None:
                missing += 1
            else:
                yield _document(data, path, f"job {job} of {self.name}")
        if jobs and missing == len(jobs):
            self._expect_readable(jobs[-1])

    def _jobs_with_archive(self, pipeline: str) -> list[int]:
        """The ids of all tries of all jobs that list an archive, oldest first."""
        expected = f"the jobs of pipeline {pipeline} of {self.name}"
        pipelines = self._client.project.pipelines
        jobs = pipelines.get(pipeline, lazy=True).jobs
        entries = self._client.must_list(expected, _JOBS, jobs.list, include_retried=True)
        return self._client.must(expected, _JOBS, lambda: sorted(_integer(entry, "id") for entry in entries if _has_archive(entry)))

    def _find_file(self, job: int, path: str) -> bytes | None:
        lazy = self._client.project.jobs.get(job, lazy=True)
        return self._client.ask(f"{path} of job {job}", _ARTIFACTS, lambda: lazy.artifact(path, **NO_RETRIES))

    def _expect_readable(self, job: int) -> None:
        """A 404 for the file means that the archive lacks it only if the archive itself is there for this token."""
        self._client.must_see(
            f"the artifacts of job {job}", _ARTIFACTS, f"/projects/{self._client.project.encoded_id}/jobs/{job}/artifacts"
        )


class MergeRequestNotes:
    """``ports.Discussion`` over the notes of one merge request."""

    def __init__(self, client: GitLabClient, iid: int) -> None:
        self._client = client
        self._iid = iid
        self._merge_request = client.project.mergerequests.get(iid, lazy=True)

    def find_comment(self, marker: str) -> str | None:
        """The address of our oldest note with the marker, or None. Raises AccessDenied, Unavailable."""
        note = self._find(marker)
        return None if note is None else self._address(note)

    def put_comment(self, marker: str, body: str) -> str:
        """Write over our oldest note with the marker, else make one; its address. Raises AccessDenied, Unavailable.

        A comment never commands: a slash that begins a line is escaped.
        """
        body = _QUICK_ACTION.sub(r"\1\\/", body)
        note, expected = self._find(marker), f"the merge request !{self._iid} to take a comment"
        if note is not None:
            self._client.must(expected, _COMMENTS, lambda: self._merge_request.notes.update(note, {"body": body}, **NO_RETRIES))
            return self._address(note)
        created = self._client.must(
            expected,
            _COMMENTS,
            lambda: _integer(self._merge_request.notes.create({"body": body}, **NO_RETRIES).attributes, "id"),
        )
        return self._address(created)

    def _find(self, marker: str) -> int | None:
        """The oldest note of this token's own user that holds the marker: anybody may copy a marker into a note."""
        expected = f"the comments of the merge request !{self._iid}"
        author = self._own_id()
        entries = self._client.must_list(expected, _COMMENTS, self._merge_request.notes.list, order_by="created_at", sort="asc")

        def ours() -> list[int]:
            return [
                _integer(entry, "id")
                for entry in entries
                if not entry["system"] and entry["author"]["id"] == author and marker in entry["body"]
            ]

        return min(self._client.must(expected, _COMMENTS, ours), default=None)

    def _own_id(self) -> int:
        return self._client.must(
            "the user of the token", _COMMENTS, lambda: _integer(self._client.api.http_get("/user", **NO_RETRIES), "id")
        )

    def _address(self, note: int) -> str:
        project = self._client.project
        url = self._client.must(
            f"the merge request !{self._iid}",
            _COMMENTS,
            lambda: _text(project.mergerequests.get(self._iid, **NO_RETRIES).attributes, "web_url"),
        )
        return f"{url}#note_{note}"


def find_project_id(client: GitLabClient, path: str) -> str | None:
    """The id of the project at this path, None for a 404. Raises AccessDenied, Unavailable."""
    found = client.ask(f"the project {path}", _PROJECT, lambda: _integer(client.api.projects.get(path, **NO_RETRIES).attributes, "id"))
    return None if found is None else str(found)


def _package_files(entries: Sequence[Mapping[str, Any]]) -> list[PackageFile]:
    return [PackageFile(_integer(entry, "id"), _text(entry, "file_name"), _sha256(entry)) for entry in entries]


def _sha256(entry: Mapping[str, Any]) -> str | None:
    value = entry.get("file_sha256")
    return value if isinstance(value, str) and value else None


def _has_archive(entry: Mapping[str, Any]) -> bool:
    return bool(entry.get("artifacts_file")) or any(one["file_type"] == "archive" for one in entry.get("artifacts") or ())


def _document(data: bytes, name: str, where: str) -> bytes:
    if len(data) > LARGEST_DOCUMENT:
        raise DocumentError(f"expected {name} of at most {LARGEST_DOCUMENT} bytes, found {len(data)}", where=Location(where))
    return data


def _integer(document: object, name: str) -> int:
    """Raises ValueError, which the client takes for an answer that makes no sense."""
    value = document.get(name) if isinstance(document, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(name)
    return value


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str):
        raise ValueError(name)
    return value
