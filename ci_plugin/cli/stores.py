"""Which store keeps the pins: chosen by configuration alone, never by what a token happens to allow (DESIGN.md §7).

The forge libraries are imported only where their store is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ci_plugin.errors import InputError
from ci_plugin.retry import RetryPolicy, Tell
from ci_plugin.values.pipeline import PipelineId
from ci_plugin.values.store_name import STORES

if TYPE_CHECKING:
    from ci_plugin.forge.access import ForgeAccess
    from ci_plugin.ports import PinStore

FORGE_OF = {"git-ref": "github", "generic-package": "gitlab"}
"""Whose API a store is kept with, where it is one alone."""
_NAMES = {"github": "GitHub", "gitlab": "GitLab"}


def open_forge_store(name: str, access: ForgeAccess, sleep: Callable[[float], None], tell: Tell | None = None) -> PinStore:
    """A store of the forge: ``git-ref``, ``generic-package`` or ``ci-artifact``. Raises InputError where this forge has no such store."""
    if access.forge != FORGE_OF.get(name, access.forge):
        others = (store for store in STORES if FORGE_OF.get(store, access.forge) == access.forge)
        raise InputError(
            f"expected a job of {_NAMES[FORGE_OF[name]]} for the store {name}, found one of {_NAMES[access.forge]}",
            hint=f"choose another with --store: {', '.join(others)}",
        )
    retry = RetryPolicy(sleep, tell=tell)
    if access.forge == "github":
        return _on_github(name, access, retry)
    return _on_gitlab(name, access, retry)


def find_project_on_forge(access: ForgeAccess, sleep: Callable[[float], None], tell: Tell | None = None) -> PipelineId | None:
    """The identity of the project at ``access.project`` (its path), as jobs of that forge have it; None where the forge shows none."""
    from ci_plugin.forge.github import GitHub
    from ci_plugin.forge.gitlab import GitLab

    forge = GitHub(access) if access.forge == "github" else GitLab(access)
    project_id = RetryPolicy(sleep, tell=tell).run(lambda: forge.find_project_id(access.project))
    return None if project_id is None else PipelineId(access.forge, access.host, project_id, access.project, "")


def _on_github(name: str, access: ForgeAccess, retry: RetryPolicy) -> PinStore:
    from ci_plugin.forge.artifact_store import ArtifactStore
    from ci_plugin.forge.github import GitHub
    from ci_plugin.forge.ref_store import GitRefStore

    forge = GitHub(access)
    return GitRefStore(forge.git_database(), retry) if name == "git-ref" else ArtifactStore(forge.artifacts(), retry)


def _on_gitlab(name: str, access: ForgeAccess, retry: RetryPolicy) -> PinStore:
    from ci_plugin.forge.artifact_store import ArtifactStore
    from ci_plugin.forge.gitlab import GitLab
    from ci_plugin.forge.package_store import PackageStore

    forge = GitLab(access)
    return PackageStore(forge.packages(), retry) if name == "generic-package" else ArtifactStore(forge.artifacts(), retry)
