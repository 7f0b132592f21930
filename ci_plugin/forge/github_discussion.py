"""The comments of a pull request on GitHub: ``ports.Discussion``.

Rules: a comment counts as ours when this token's own user wrote it and it holds the marker; of several the oldest, all pages read. A job's
own token is no user (``GET /user`` refuses it): it writes as ``github-actions[bot]``. Any other token that is no user belongs to a GitHub
App, whose own name it cannot ask for; there a bot's comment with our marker counts.
"""

from __future__ import annotations

from functools import cached_property

from github.AuthenticatedUser import AuthenticatedUser
from github.Issue import Issue
from github.IssueComment import IssueComment

from ci_plugin.forge.github_client import GitHubClient

_READ, _WRITE = "pull-requests: read", "pull-requests: write"
JOB_LOGIN = "github-actions[bot]"


class GitHubDiscussion:
    """The comments of pull request ``number``."""

    def __init__(self, client: GitHubClient, number: int) -> None:
        self._client = client
        # A pull request is an issue to the comments' API (docs.github.com, "Issue comments").
        self._issue = Issue(client.requester, url=f"{client.repository.url}/issues/{number}", completed=True)

    def find_comment(self, marker: str) -> str | None:
        """The address of our comment with this marker, None where there is none."""
        found = self._find(marker)
        return None if found is None else self._client.expect_text(found.html_url)

    def put_comment(self, marker: str, body: str) -> str:
        """Write over our comment, or write one where there is none. Raises AccessDenied, Unavailable."""
        found = self._find(marker)
        if found is None:
            created = self._client.must(lambda: self._issue.create_comment(body), _WRITE)
            return self._client.expect_text(created.html_url)
        if found.body == body:
            return self._client.expect_text(found.html_url)

        def edit() -> str:
            found.edit(body)
            return found.html_url

        return self._client.must(edit, _WRITE)

    def _find(self, marker: str) -> IssueComment | None:
        def read() -> list[IssueComment]:
            return [one for one in self._issue.get_comments() if marker in (one.body or "") and self._is_ours(one)]

        return min(self._client.must(read, _READ), key=lambda one: one.id, default=None)

    def _is_ours(self, comment: IssueComment) -> bool:
        user = comment.raw_data.get("user") or {}
        if self._login is not None:
            return bool(user.get("login") == self._login)
        return bool(user.get("type") == "Bot")

    @cached_property
    def _login(self) -> str | None:
        user = AuthenticatedUser(self._client.requester, url="/user")
        login = self._client.ask(lambda: user.login, "metadata: read", none_for=(403, 404))
        return login or (JOB_LOGIN if self._client.access.is_job_token else None)
