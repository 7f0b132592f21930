"""Listings: which files a commit holds, as (path, mode, blob), sorted by path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ci_plugin.values.canonical import Value


@dataclass(frozen=True, slots=True, order=True)
class TreeEntry:
    """One file of a commit: ``mode`` is git's (``100644``, ``100755``, ``120000`` link, ``160000`` submodule), ``blob`` its object id."""

    path: str
    mode: str
    blob: str


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file with its bytes, as a build context holds it: ``mode`` as in ``TreeEntry``; a link (``120000``) has its target as data."""

    path: str
    mode: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of one commit, sorted by path, no path twice."""

    entries: tuple[TreeEntry, ...]

    @classmethod
    def of(cls, entries: Iterable[TreeEntry]) -> Listing:
        """A sorted listing."""
        return cls(tuple(sorted(entries)))

    def __iter__(self) -> Iterator[TreeEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def fields(self) -> Value:
        """The listing as a canonical value: what enters a stage signature."""
        return tuple((entry.path, entry.mode, entry.blob) for entry in self.entries)
