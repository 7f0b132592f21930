"""The files of a project a plan reads: the commit's, through git, and the few on disk that were asked for by name.

``WorkingTree`` is the commit with uncommitted changes laid over it, for builds at a desk that nobody else ever sees (ADR 12).

What is asked for by name (``fromArchive``, ``--context-add``) may be uncommitted; its content is an input of the stage signature.
Links are taken as links; what is neither file nor link nor directory is refused, and so is a path that leaves the project directory.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Protocol

from ci_plugin.config.git_references import git_key
from ci_plugin.config.parts import GitRemote
from ci_plugin.conveyor.git_files import RepositoryFiles
from ci_plugin.errors import Bug, InputError, Location
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.ports import SourceTree
from ci_plugin.values.blob import blob_id
from ci_plugin.values.digest import Digest
from ci_plugin.values.image_listing import OWN
from ci_plugin.values.submodules import SUBMODULE
from ci_plugin.values.tree import ContextFile, Listing, TreeEntry

_LINK = "120000"
_MOST_LINKS = 8
_NEVER_ADDED = frozenset({".git", ".stagepin"})


class Repositories(Protocol):
    """Other repositories, fetched; ``git.remote.RemoteRepositories`` has them."""

    def tree(self, remote: GitRemote, ref: str, commit: str, where: Location) -> SourceTree:
        """The files of that commit, which the pin found under ``ref``."""
        ...


class DirectoryFiles:
    """Implements ``conveyor.plan.ProjectFiles`` for a project directory."""

    def __init__(
        self, tree: SourceTree, directory: Path, diff_id: Callable[[Path], Digest], repositories: Callable[[], Repositories] | None = None
    ) -> None:
        self._tree = tree
        self._directory = directory
        self._diff_id = diff_id
        self._repositories = repositories
        self._others: dict[str, SourceTree] = {}

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

    def remote(self, remote: GitRemote, pins: PinSet, where: Location) -> RepositoryFiles:
        """The files of another repository at its pinned commit, which are fetched where they are not here yet.

        Raises InputError where it was not pinned, Gone where it has the commit no more.
        """
        url, ref = git_key(remote, where)
        pin = pins.get_git(url, ref, where)
        key = f"{url}@{pin.commit}"
        if key not in self._others:
            if self._repositories is None:
                raise Bug(f"expected somebody who fetches other repositories, found nobody for {url}")
            self._others[key] = self._repositories().tree(remote, ref, pin.commit, where)
        return RepositoryFiles(key, self._others[key].listing())

    def source(self, key: str) -> SourceTree:
        """The repository of that key, as ``remote`` gave it, or ``OWN``: where the bytes of mapped files are read."""
        if key == OWN:
            return self._tree
        if key not in self._others:
            raise Bug(f"expected a repository that a plan named, found {key}")
        return self._others[key]

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


class WorkingTree:
    """Implements ``ports.SourceTree``: the files of a commit, those in ``changes`` as they are on disk, with git's blob ids of those bytes.

    A file that changes between its listing and its reading is refused: what is built has to be what was planned.
    """

    def __init__(self, tree: SourceTree, directory: Path, changes: Collection[str]) -> None:
        self._tree = tree
        self._directory = directory
        self._changes = frozenset(path for path in changes if not _NEVER_ADDED.intersection(path.split("/")))

    @property
    def commit(self) -> str:
        """The commit the changes lie over."""
        return self._tree.commit

    @property
    def changes(self) -> tuple[str, ...]:
        """What differs from the commit, sorted."""
        return tuple(sorted(self._changes))

    @cached_property
    def _entries(self) -> Mapping[str, TreeEntry]:
        kept = {entry.path: entry for entry in self._tree.listing() if entry.path not in self._changes or entry.mode == SUBMODULE}
        return kept | {entry.path: entry for path in self._changes - kept.keys() if (entry := self._entry(path))}

    def listing(self) -> Listing:
        """Every file below the project directory, new ones that git does not ignore too."""
        return Listing.of(self._entries.values())

    def find_file(self, path: str) -> bytes | None:
        """A file's bytes; a link is followed while it stays in the project."""
        for _ in range(_MOST_LINKS):
            path = posixpath.normpath(path)
            entry = self._entries.get(path)
            if entry is None or entry.mode == SUBMODULE:
                return None
            data = self.read([entry])[entry.blob]
            if entry.mode != _LINK:
                return data
            path = posixpath.join(posixpath.dirname(path), data.decode("utf-8", "surrogateescape"))
        return None

    def read(self, entries: Collection[TreeEntry]) -> Mapping[str, bytes]:
        """Blob id → bytes. Raises InputError for a file that is no longer what was listed, or a submodule."""
        on_disk = {entry.blob: self._read(entry) for entry in entries if self._is_on_disk(entry)}
        return {**self._tree.read([entry for entry in entries if entry.blob not in on_disk]), **on_disk}

    def read_each(self, entries: Iterable[TreeEntry]) -> Iterator[tuple[TreeEntry, bytes]]:
        """Each file with its bytes, in this order, one in memory at a time. Raises InputError as ``read``."""
        for is_on_disk, run in groupby(entries, self._is_on_disk):
            group = list(run)
            yield from ((entry, self._read(entry)) for entry in group) if is_on_disk else self._tree.read_each(group)

    def uncommitted(self, paths: Collection[str]) -> Sequence[str]:
        """Which of these paths differ from the commit."""
        return self._tree.uncommitted(paths)

    def _is_on_disk(self, entry: TreeEntry) -> bool:
        return entry.path in self._changes and entry.mode != SUBMODULE

    def _read(self, entry: TreeEntry) -> bytes:
        found = self._on_disk(entry.path)
        if found is None or blob_id(found[1], self.commit) != entry.blob:
            message = f"expected {entry.path} to stay as it is while it is built, found it changed"
            raise InputError(message, hint="run the command again", where=Location(entry.path))
        return found[1]

    def _entry(self, path: str) -> TreeEntry | None:
        found = self._on_disk(path)
        return None if found is None else TreeEntry(path, found[0], blob_id(found[1], self.commit))

    def _on_disk(self, path: str) -> tuple[str, bytes] | None:
        """Mode and bytes, or None where no file is there, or another kind, or a directory above it is a link out of the project."""
        place = self._directory / path
        if not place.parent.resolve().is_relative_to(self._directory.resolve()):
            return None
        try:
            mode = place.lstat().st_mode
            if stat.S_ISLNK(mode):
                return _LINK, str(place.readlink()).encode("utf-8", "surrogateescape")
            return ("100755" if mode & 0o100 else "100644", place.read_bytes()) if stat.S_ISREG(mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            message = f"expected to read {path}, found: {error.strerror}"
            raise InputError(message, hint="check who may read it, or have git ignore it", where=Location(path)) from None


def _outside(path: str) -> InputError:
    return InputError(f"expected a path inside the project directory, found {path!r}", hint="use a relative path without ..")
