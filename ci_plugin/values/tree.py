"""Listings: which files a commit holds, as (path, mode, blob), sorted by path."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from ci_plugin.values.canonical import Value


class TreeEntry(NamedTuple):
    """One file of a commit: ``mode`` is git's (``100644``, ``100755``, ``120000`` link, ``160000`` submodule), ``blob`` its object id.

    A named tuple: a repository has tens of thousands of them, and every command reads them all.
    """

    path: str
    mode: str
    blob: str


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file with its bytes, as a build context holds it: ``mode`` as in ``TreeEntry``; a link (``120000``) has its target as data."""

    path: str
    mode: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
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

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """The paths alone."""
        return tuple([entry[0] for entry in self.entries])

    @property
    def fields(self) -> Value:
        """The listing as a canonical value."""
        return self.entries

    @cached_property
    def hash(self) -> str:
        """sha256, 64 hex characters, of ``<mode> <blob>TAB<path>NUL`` of every file: quicker than the canonical value, and as unambiguous.

        No path holds a NUL byte, no mode or blob a space or a tab.
        """
        text = "".join([f"{mode} {blob}\t{path}\0" for path, mode, blob in self.entries])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def below(self, path: str) -> Listing:
        """The file at a path, or the files below that directory, under their whole paths; ``""`` is the root."""
        if not path:
            return self
        first = bisect_left(self.paths, path)
        if self.paths[first : first + 1] == (path,):
            return Listing(self.entries[first : first + 1])
        # "0" follows "/": everything between begins with the directory.
        return Listing(self.entries[bisect_left(self.paths, f"{path}/") : bisect_left(self.paths, f"{path}0")])
