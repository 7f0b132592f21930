"""GitHub over its REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci_plugin.errors import InputError
from ci_plugin.forge.access import ForgeAccess

if TYPE_CHECKING:
    from ci_plugin.forge.artifact_store import Artifacts
    from ci_plugin.forge.ref_store import GitDatabase


class GitHub:
    """One project on GitHub."""

    def __init__(self, access: ForgeAccess) -> None:
        self._access = access

    def git_database(self) -> GitDatabase:
        """What the store needs."""
        raise InputError(f"expected a store that works, found one on {self._access.host} that is not built yet")

    def artifacts(self) -> Artifacts:
        """What the store needs."""
        raise InputError(f"expected a store that works, found one on {self._access.host} that is not built yet")

    def find_project_id(self, path: str) -> str | None:
        """The id of the project at this path."""
        raise InputError(f"expected {path} on {self._access.host}, found an adapter that is not built yet")
