"""The files of a project a plan reads: the commit's, through git, and the few on disk that were asked for by name.

What is asked for by name (``fromArchive``, ``--context-add``) may be uncommitted; its content is an input of the stage signature.
Links are taken as links; what is neither file nor link nor directory is refused, and so is a path that leaves the project directory.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from ci_plugin.errors import InputError, Location
from ci_plugin.ports import SourceTree
from ci_plugin.values.digest import Digest
from ci_plugin.values.tree import ContextFile, Listing

_NEVER_ADDED = frozenset({".git", ".stagepin"})


class DirectoryFiles:
    """Implements ``conveyor.plan.ProjectFiles`` for a project directory."""

    def __init__(self, tree: SourceTree, directory: Path, diff_id: Callable[[Path], Digest]) -> None:
        self._tree = tree
        self._directory = directory
        self._diff_id = diff_id

    def find_file(self, path: str) -> bytes | None:
        """A committed file's bytes, or None."""
        return self._tree.find_file(path)

    def listing(self) -> Listing:
        """Every committed file."""
        return self._tree.listing()

    def archive_diff_id(self, path: str) -> Digest | None:
        """sha256 of the decompressed tar, or None where there is no file. Raises InputError for an archive nobody can read."""
        place = self._inside(path)
        if not place.resolve().is_relative_to(self._directory.resolve()):
            raise _outside(path)
        return self._diff_id(place) if place.is_file() else None

    def added(self, path: str) -> Sequence[ContextFile]:
        """A file, or all files below a directory but git's and our own, sorted by path; empty where there is none."""
        place = self._inside(path)
        found = sorted(place.rglob("*")) if place.is_dir() and not place.is_symlink() else [place]
        found = [item for item in found if not _NEVER_ADDED.intersection(item.relative_to(self._directory).parts)]
        try:
            return tuple(file for item in found for file in self._read(item))
        except OSError as error:
            message = f"expected to read {path}, found: {error.strerror}"
            raise InputError(message, hint="check the path and who may read it", where=Location(path)) from None

    def _read(self, place: Path) -> Iterator[ContextFile]:
        path = place.relative_to(self._directory).as_posix()
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            yield ContextFile(path, "120000", str(place.readlink()).encode("utf-8", "surrogateescape"))
        elif stat.S_ISREG(mode):
            yield ContextFile(path, "100755" if mode & 0o100 else "100644", place.read_bytes())
        elif not stat.S_ISDIR(mode):
            raise InputError(f"expected files, links and directories at {path}, found another kind", hint="remove it", where=Location(path))

    def _inside(self, path: str) -> Path:
        parts = PurePosixPath(path)
        place = self._directory / parts
        # A committed link to a directory must not lead out either; the project directory itself may be one.
        above = place.parent if parts.parts else place
        if parts.is_absolute() or ".." in parts.parts or not above.resolve().is_relative_to(self._directory.resolve()):
            raise _outside(path)
        return place


def _outside(path: str) -> InputError:
    return InputError(f"expected a path inside the project directory, found {path!r}", hint="use a relative path without ..")
