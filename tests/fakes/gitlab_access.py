"""How tests reach the fake GitLab: the access a job has, the adapter, and the store, where nobody waits."""

from __future__ import annotations

from ci_plugin.forge.access import ForgeAccess
from ci_plugin.forge.gitlab import GitLab
from ci_plugin.forge.package_store import PackageStore
from ci_plugin.retry import RetryPolicy
from tests.fakes.clock import FakeClock
from tests.fakes.gitlab import FakeGitLab


def access_to(gitlab: FakeGitLab, token: str, project: str = "4711") -> ForgeAccess:
    """The access with this token, a job's own or another."""
    return ForgeAccess("gitlab", gitlab.api_url, gitlab.address, project, token, is_job_token=token.startswith("glcbt-"))


def open_gitlab(gitlab: FakeGitLab, token: str, project: str = "4711") -> GitLab:
    """The adapter with this token."""
    return GitLab(access_to(gitlab, token, project))


def open_package_store(gitlab: FakeGitLab, token: str, clock: FakeClock | None = None) -> PackageStore:
    """The store as a job with this token has it; waiting moves the clock only."""
    return PackageStore(open_gitlab(gitlab, token).packages(), RetryPolicy((clock or FakeClock()).sleep))
