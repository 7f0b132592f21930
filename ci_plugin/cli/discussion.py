"""The comments of this job's merge or pull request: where they are, and what right a comment needs.

The forge libraries are imported only where a comment is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ci_plugin.errors import InputError, Location

if TYPE_CHECKING:
    from ci_plugin.forge.access import ForgeAccess
    from ci_plugin.forge.environment import CiContext
    from ci_plugin.ports import Discussion

COMMENT_RIGHTS = {
    "gitlab": "GitLab's job token may not comment: set the masked variable STAGEPIN_TOKEN to a project access token with the scope api and "
    "the role Reporter or higher",
    "github": "give the job `permissions: pull-requests: write`; of a fork's pull request the token may only read",
}
"""Forge → the right a comment needs, and how a job gets it."""


def get_change_request(context: CiContext) -> int:
    """The number of the merge or pull request this job runs for. Raises InputError where there is none."""
    if context.change_request is None:
        raise InputError(
            "expected a merge or pull request to comment on, found none for this job",
            hint="run it in a merge request pipeline (rules: - if: $CI_PIPELINE_SOURCE == 'merge_request_event'), "
            "on GitHub in a workflow `on: pull_request`, or leave --comment out",
        )
    return context.change_request


def open_discussion(access: ForgeAccess, environ: Mapping[str, str], number: int) -> Discussion:
    """The comments of the merge or pull request of that number. Raises InputError where the forge's library is not installed."""
    if access.forge == "github":
        from ci_plugin.forge.github import GitHub

        return GitHub(access).discussion(number)
    from ci_plugin.forge.gitlab import GitLab

    return GitLab(replace(access, project=_target_project(access, environ))).discussion(number)


def _target_project(access: ForgeAccess, environ: Mapping[str, str]) -> str:
    """The merge request's number counts in the project it goes to; in a fork's pipeline that is not the project that runs the job."""
    target = environ.get("CI_MERGE_REQUEST_PROJECT_ID") or access.project
    if not (target.isdecimal() and target.isascii()):
        raise InputError(
            f"expected a number, found {target[:100]!r} in CI_MERGE_REQUEST_PROJECT_ID",
            hint="CI_MERGE_REQUEST_PROJECT_ID is set by the forge; do not override it",
            where=Location("$CI_MERGE_REQUEST_PROJECT_ID"),
        )
    return target
