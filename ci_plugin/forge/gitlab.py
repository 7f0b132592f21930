"""GitLab over its REST API: generic packages, job artifacts, the comments of a merge request, the project's id.

This module is light: python-gitlab is imported when GitLab is asked for the first time (``gitlab_client.py``, ``gitlab_project.py``).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ci_plugin.errors import AccessDenied, InputError
from ci_plugin.forge.access import ForgeAccess
from ci_plugin.ports import Discussion

if TYPE_CHECKING:
    from ci_plugin.forge.artifact_store import Artifacts
    from ci_plugin.forge.gitlab_client import GitLabClient
    from ci_plugin.forge.package_store import Packages
    from ci_plugin.limits import Limits


class GitLab:
    """One project on GitLab. Raises InputError where python-gitlab is not installed or the access cannot be used."""

    def __init__(self, access: ForgeAccess, limits: Limits | None = None) -> None:
        self._access = access
        self._limits = limits

    def packages(self) -> Packages:
        """The project's packages named ``stagepin``, for ``PackageStore``."""
        client = self._client
        from ci_plugin.forge.gitlab_project import ProjectPackages

        return ProjectPackages(client)

    def artifacts(self) -> Artifacts:
        """The artifacts of the project's pipelines, for ``ArtifactStore``."""
        client = self._client
        from ci_plugin.forge.gitlab_project import JobArtifacts

        return JobArtifacts(client)

    def discussion(self, iid: int) -> Discussion:
        """The comments of the merge request ``!iid``. Raises AccessDenied for a job token, which may not comment."""
        if self._access.is_job_token:
            raise AccessDenied(
                f"expected a token that may comment on the merge request !{iid}, found CI_JOB_TOKEN, which may only read",
                hint="set the masked variable STAGEPIN_TOKEN to a project access token with the scope api and the role Reporter or higher",
            )
        client = self._client
        from ci_plugin.forge.gitlab_project import MergeRequestNotes

        return MergeRequestNotes(client, iid)

    def find_project_id(self, path: str) -> str | None:
        """The id of the project at this path, None where this token sees none. Raises AccessDenied, Unavailable."""
        client = self._client
        from ci_plugin.forge.gitlab_project import find_project_id

        return find_project_id(client, path)

    @cached_property
    def _client(self) -> GitLabClient:
        try:
            from ci_plugin.forge.gitlab_client import GitLabClient
        except ModuleNotFoundError as error:
            raise InputError(
                f"expected the library python-gitlab to speak to {self._access.host}, found no module {error.name}",
                hint="install it beside stagepin: pip install 'python-gitlab>=6' (or in stagepin's checkout: pip install '.[gitlab]')",
            ) from None
        return GitLabClient(self._access, self._limits) if self._limits else GitLabClient(self._access)
