"""GitHub over its REST API: what the stores, the drift comment and a laptop need of one repository.

PyGithub is imported when the first of them is asked for; its only homes are the modules ``forge/github_*``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ci_plugin.errors import InputError
from ci_plugin.forge.access import ForgeAccess

if TYPE_CHECKING:
    from ci_plugin.forge.artifact_store import Artifacts
    from ci_plugin.forge.github_client import GitHubClient
    from ci_plugin.forge.ref_store import GitDatabase
    from ci_plugin.limits import Limits
    from ci_plugin.ports import Discussion


class GitHub:
    """One project on GitHub. Its parts raise InputError where PyGithub is not installed, else AccessDenied, Unavailable."""

    def __init__(self, access: ForgeAccess, limits: Limits | None = None) -> None:
        self._access = access
        self._limits = limits

    def git_database(self) -> GitDatabase:
        """Objects and refs, with ``contents: read`` and, to create, ``contents: write``."""
        client = self._client
        from ci_plugin.forge.github_git import GitHubGitDatabase

        return GitHubGitDatabase(client)

    def artifacts(self) -> Artifacts:
        """CI artifacts of the project's runs, with ``actions: read``."""
        client = self._client
        from ci_plugin.forge.github_artifacts import GitHubArtifacts

        return GitHubArtifacts(client)

    def discussion(self, number: int) -> Discussion:
        """The comments of a pull request, with ``pull-requests: write``."""
        client = self._client
        from ci_plugin.forge.github_discussion import GitHubDiscussion

        return GitHubDiscussion(client, number)

    def find_project_id(self, path: str) -> str | None:
        """The id of the repository ``owner/name``, None where there is none or this token may not see it."""
        client = self._client
        from github.Repository import Repository

        found = client.ask(lambda: Repository(client.requester, url=f"/repos/{path}").id, "metadata: read", none_for=(404,))
        return None if found is None else str(found)

    @cached_property
    def _client(self) -> GitHubClient:
        try:
            from ci_plugin.forge.github_client import GitHubClient
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in ("github", "requests"):
                raise
            raise InputError(
                "expected PyGithub, which speaks to GitHub's API, found it not installed",
                hint="install it beside stagepin: pip install 'PyGithub>=2.8' (or in stagepin's checkout: pip install '.[github]')",
            ) from None
        return GitHubClient(self._access, self._limits) if self._limits else GitHubClient(self._access)
