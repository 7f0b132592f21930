"""Listings: which files a commit holds, as (path, mode, blob), sorted by path."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import itemgetter
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


_make_entry = partial(tuple.__new__, TreeEntry)


class Listing:
    """Files of one commit, sorted by path, no path twice.

    Entries are made when they are looked at: a plan cuts a few hundred out of tens of thousands.
    """

    def __init__(self, entries: Sequence[TreeEntry] = (), *, records: Sequence[str] | None = None) -> None:
        self._entries = tuple(entries) if records is None else None
        self._records = records or ()
        self._at = self._records[0].index("\t") + 1 if self._records else 0

    @classmethod
    def of(cls, entries: Iterable[TreeEntry]) -> Listing:
        """A sorted listing."""
        return cls(sorted(entries))

    @classmethod
    def of_records(cls, records: Sequence[str]) -> Listing:
        """From ``<mode> blob <id>TAB<path>`` each, sorted by path: no submodule is among them, all ids have one length."""
        return cls(records=records)

    @property
    def entries(self) -> tuple[TreeEntry, ...]:
        """The files."""
        if self._entries is None:
            at = self._at
            self._entries = tuple(map(_make_entry, [(record[at:], record[:6], record[12 : at - 1]) for record in self._records]))
        return self._entries

    def __iter__(self) -> Iterator[TreeEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self._records) if self._entries is None else len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Listing) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

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

    def find(self, path: str) -> TreeEntry | None:
        """The file at a path."""
        found = self._cut(self._place(path), None)
        return found.entries[0] if len(found) and found.entries[0].path == path else None

    def below(self, path: str) -> Listing:
        """The file at a path, or the files below that directory, under their whole paths; ``""`` is the root."""
        if not path:
            return self
        file = self.find(path)
        # "0" follows "/": everything between begins with the directory.
        return Listing((file,)) if file else self._cut(self._place(f"{path}/"), self._place(f"{path}0"))

    @property
    def may_have_submodules(self) -> bool:
        """Whether looking for entries that stand for a commit of another repository is worth it."""
        return self._entries is not None

    def _place(self, path: str) -> int:
        if self._entries is not None:
            return bisect_left(self._entries, path, key=itemgetter(0))
        at = self._at
        return bisect_left(self._records, path, key=lambda record: record[at:])

    def _cut(self, first: int, end: int | None) -> Listing:
        end = first + 1 if end is None else end
        return Listing(self._entries[first:end]) if self._entries is not None else Listing(records=self._records[first:end])
