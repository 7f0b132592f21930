"""Submodules: what a listing has of one that is not checked out, and what is said where its files are needed."""

from __future__ import annotations

from collections.abc import Iterable

from ci_plugin.errors import InputError, Location
from ci_plugin.values.tree import TreeEntry

SUBMODULE = "160000"
"""The mode of an entry that stands for a whole submodule, because this checkout does not have its commit."""


def missing_submodules(entries: Iterable[TreeEntry]) -> tuple[str, ...]:
    """The paths of the submodules among these entries whose files are not there."""
    return tuple([entry[0] for entry in entries if entry[1] == SUBMODULE])


def no_submodule(path: str, where: Location | None = None) -> InputError:
    """The error for files of a submodule that this checkout lacks."""
    return InputError(
        f"expected the submodule {path!r} to be checked out at the commit its project names, found it missing",
        hint="git submodule update --init --recursive; on GitLab set GIT_SUBMODULE_STRATEGY: recursive, "
        "on GitHub give actions/checkout `submodules: recursive`; or leave it out",
        where=where or Location(path),
    )
