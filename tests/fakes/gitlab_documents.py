"""The documents of the fake GitLab's API, field by field as its API pages give them (``tests/data/gitlab`` lists them)."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.fakes.gitlab_state import Job, MergeRequest, Note, Package, PackageFile, Pipeline, Project, State, User, stamp


def package_document(project: Project, package: Package, url: str) -> dict[str, Any]:
    """Of a list of packages."""
    top = f"{url}/api/v4/projects/{project.id}/packages/{package.id}"
    return {
        "id": package.id,
        "name": package.name,
        "version": package.version,
        "package_type": "generic",
        "status": package.status,
        "_links": {"web_path": f"/{project.path}/-/packages/{package.id}", "delete_api_path": top},
        "created_at": stamp(package.created_at),
        "creator_id": package.creator.id,
        "tags": [],
    }


def job_document(state: State, job: Job, url: str) -> dict[str, Any]:
    """A job, or a bridge where it has a downstream pipeline."""
    pipeline = state.pipelines[job.pipeline_id]
    project = state.projects[pipeline.project_id]
    document = {
        "id": job.id,
        "name": job.name,
        "stage": job.stage,
        "status": job.status,
        "ref": pipeline.ref,
        "tag": False,
        "coverage": None,
        "allow_failure": False,
        "created_at": stamp(job.created_at),
        "started_at": stamp(job.created_at),
        "finished_at": stamp(job.created_at),
        "duration": 1.0,
        "queued_duration": 0.1,
        "user": None,
        "commit": {"id": pipeline.sha, "short_id": pipeline.sha[:8], "title": "A state", "message": "A state\n"},
        "pipeline": _pipeline(project, pipeline, url),
        "web_url": f"{url}/{project.path}/-/jobs/{job.id}",
        "project": {"ci_job_token_scope_enabled": False},
    }
    if job.downstream is not None:
        return document | {"downstream_pipeline": _pipeline(project, state.pipelines[job.downstream], url)}
    size = 0 if job.files is None else sum(map(len, job.files.values()))
    archive = {"file_type": "archive", "size": size, "filename": "artifacts.zip", "file_format": "zip"}
    metadata = {"file_type": "metadata", "size": 100, "filename": "metadata.gz", "file_format": "gzip"}
    trace = {"file_type": "trace", "size": 100, "filename": "job.log", "file_format": None}
    document |= {"artifacts": [*([archive, metadata] if job.has_archive() else []), trace], "runner": None, "tag_list": []}
    document |= {"artifacts_expire_at": stamp(job.expire_at) if job.expire_at else None}
    return document | ({"artifacts_file": {"filename": "artifacts.zip", "size": size}} if job.has_archive() else {})


def _pipeline(project: Project, pipeline: Pipeline, url: str) -> dict[str, Any]:
    where = f"{url}/{project.path}/-/pipelines/{pipeline.id}"
    return {
        "id": pipeline.id,
        "project_id": project.id,
        "ref": pipeline.ref,
        "sha": pipeline.sha,
        "status": "running",
        "web_url": where,
    }


def note_document(url: str, merge_request: MergeRequest, note: Note) -> dict[str, Any]:
    """A note on a merge request."""
    return {
        "id": note.id,
        "body": note.body,
        "attachment": None,
        "author": user_document(note.author, url),
        "created_at": stamp(note.created_at),
        "updated_at": stamp(note.updated_at),
        "system": note.is_system,
        "noteable_id": merge_request.id,
        "noteable_type": "MergeRequest",
        "project_id": merge_request.project_id,
        "noteable_iid": merge_request.iid,
        "resolvable": False,
        "confidential": False,
        "internal": False,
    }


def package_file_document(file: PackageFile) -> dict[str, Any]:
    """Of a list of package files."""
    return {
        "id": file.id,
        "package_id": file.package_id,
        "created_at": stamp(file.created_at),
        "file_name": file.name,
        "size": len(file.data),
        "file_md5": None,
        "file_sha1": hashlib.sha1(file.data, usedforsecurity=False).hexdigest(),
        "file_sha256": file.sha256,
    }


def user_document(user: User, url: str) -> dict[str, Any]:
    """Whoever calls, or the author of a note."""
    known = {"id": user.id, "username": user.username, "name": user.username, "state": "active"}
    return known | {"avatar_url": None, "web_url": f"{url}/{user.username}"}
