"""Image listings: which files git put where in an image; what SYNC makes true, and the document by which a later build knows the parent's.

The difference of two listings is all a stage does, so a stage built from an unrelated branch is as good a parent as any (DESIGN.md §6.3).
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

OWN = ""
"""The repository of the project itself."""


@dataclass(frozen=True, slots=True, order=True)
class MappedFile:
    """One file in the image: ``path`` is absolute and clean, ``mode`` and ``blob`` are git's; owner and group None for root.

    ``repository`` and ``source`` say where its bytes are read: the key of a repository (``OWN`` is the project's) and the path in it;
    ``root`` is the directory of the image its mapping fills, which with all below belongs to the same owner where git makes it; empty where
    the mapping is this one file. They are no part of what the file is.
    """

    path: str
    mode: str
    blob: str
    owner: str | None = None
    group: str | None = None
    repository: str = field(default=OWN, compare=False)
    source: str = field(default="", compare=False)
    root: str = field(default="", compare=False)

    @property
    def owned_directories(self) -> tuple[str, ...]:
        """The directories from ``root`` down to the file, without the image's root; none where it has no owner of its own."""
        if not self.root or (self.owner is None and self.group is None):
            return ()
        above = [
            parent for parent in directories_above([self.path]) if parent == self.root or parent.startswith(f"{self.root.rstrip('/')}/")
        ]
        return tuple(sorted(above))


@dataclass(frozen=True, slots=True)
class ListingChange:
    """What makes one listing of another: paths to remove, directories that may be empty then (deepest first), files to write."""

    removed: tuple[str, ...]
    emptied: tuple[str, ...]
    written: tuple[MappedFile, ...]


class ImageListing:
    """Mapped files of one image, sorted by path, no path twice; made when they are first looked at: a plan alone needs none of them."""

    def __init__(self, make: Callable[[], Iterable[MappedFile]] = tuple) -> None:
        self._make = make

    @classmethod
    def of(cls, files: Iterable[MappedFile]) -> ImageListing:
        """A listing of these files, in any order; of two at one path the later one stands."""
        return cls(lambda: files)

    @cached_property
    def files(self) -> tuple[MappedFile, ...]:
        """The files, sorted by path."""
        by_path = {file.path: file for file in self._make()}
        return tuple(by_path[path] for path in sorted(by_path))

    def __iter__(self) -> Iterator[MappedFile]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)

    def __contains__(self, path: object) -> bool:
        return path in self.by_path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageListing) and self.files == other.files

    def __hash__(self) -> int:
        return hash(self.files)

    @cached_property
    def by_path(self) -> Mapping[str, MappedFile]:
        """The files by their path."""
        return {file.path: file for file in self.files}

    @cached_property
    def directories(self) -> set[str]:
        """Every directory above its files but the image's root."""
        return directories_above(self.by_path)

    def change_from(self, before: ImageListing) -> ListingChange:
        """What has to be done to an image that holds ``before``."""
        written = tuple(file for file in self.files if before.by_path.get(file.path) != file)
        removed = tuple(file.path for file in before.files if file.path not in self.by_path)
        emptied = directories_above(removed) - self.directories
        return ListingChange(removed, tuple(sorted(emptied, key=lambda path: (-path.count("/"), path))), written)

    def to_document(self) -> bytes:
        """The bytes that are kept in the storage; equal listings give equal bytes."""
        rows = [[file.path, file.mode, file.blob, file.owner, file.group] for file in self.files]
        return json.dumps({"version": 1, "files": rows}, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def parse_image_listing(data: bytes) -> ImageListing:
    """The inverse of ``to_document``. Raises ValueError for anything else."""
    try:
        document = json.loads(data)
        if document["version"] != 1:
            raise ValueError(f"expected an image listing of version 1, found {document['version']!r:.20}")
        files = [MappedFile(*(None if item is None else str(item) for item in row)) for row in document["files"]]  # type: ignore[arg-type]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"expected an image listing, found something else ({type(error).__name__})") from None
    return ImageListing.of(files)


def directories_above(paths: Iterable[str]) -> set[str]:
    """Every directory above these paths but the root."""
    found: set[str] = set()
    for path in paths:
        parent = posixpath.dirname(path)
        while parent not in found and parent != "/":
            found.add(parent)
            parent = posixpath.dirname(parent)
    return found
