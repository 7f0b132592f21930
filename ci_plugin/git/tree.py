"""The source tree: the git repository at one commit, read through the ``git`` command.

Rules: nothing uncommitted is ever read; names travel NUL-terminated and objects under their full name; no ``GIT_*`` variable of the
caller reaches git (a leaked ``GIT_DIR`` would answer for another repository); nothing is asked for of history, so shallow clones do.
Paths are POSIX, relative to the project directory, which may lie below the top level; bytes that are no UTF-8 stand as
``surrogateescape``. Files are the blobs as committed: no filter, no line-end conversion, no ``export-ignore``; of Git LFS the pointers.
A submodule's files are listed where the checkout has the commit that its project names, else one entry of mode 160000 stands for them.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from itertools import groupby
from pathlib import Path

from ci_plugin.errors import InputError, Location
from ci_plugin.git.command import Git, line, text
from ci_plugin.git.objects import read_blobs
from ci_plugin.git.parts import Part, find_parts
from ci_plugin.values.blob import blob_id
from ci_plugin.values.pipeline import parse_commit
from ci_plugin.values.submodules import SUBMODULE, no_submodule
from ci_plugin.values.tree import Listing, TreeEntry

_LINK = "120000"
_FILES = {"100644": False, "100755": True}
"""Mode of a regular file → whether it is executable."""
_SMALL = 1 << 20
"""Bytes of a file that is looked at without asking git."""
_MOST_LINKS = 8
_REPAIR = "clone without --filter, or repair the clone with: git fetch --refetch"
_REFUSALS = {
    "dubious ownership": "git config --global --add safe.directory {directory}",
    "unsafe repository": "git config --global --add safe.directory {directory}",
    "must be run in a work tree": "run stagepin in a clone with a working tree, not in a bare repository",
}
"""What git says (always in English, exit code 128 for everything) → what to do. Anything else: there is no repository."""
_SLUG = re.compile(r"[^a-z0-9]+", re.ASCII)
_SEPARATOR = re.compile(r"\.|_|__|-+", re.ASCII)


def open_source_tree(directory: Path, *, environ: Mapping[str, str] | None = None) -> GitTree:
    """The commit checked out in ``directory``. Raises InputError where there is no git, no repository, or no commit yet."""
    git = Git(directory.absolute(), os.environ if environ is None else environ)
    if not directory.is_dir():
        raise InputError(f"expected a project directory, found none at {directory}", hint="give an existing directory with -C")
    answer = git.run("rev-parse", "--show-toplevel", "--show-prefix", "HEAD^{commit}")
    said = text(answer.stdout).split("\n")
    if not answer.returncode and len(said) == len(("top", "prefix", "commit", "")):
        return GitTree(git, Path(said[0]), directory, parse_commit(said[2]), said[1].rstrip("/"))
    return _open_step_by_step(git, directory)


def _open_step_by_step(git: Git, directory: Path) -> GitTree:
    """The same in three commands: to say what is wrong, and for paths that hold a line break."""
    answer = git.run("rev-parse", "--show-toplevel")
    if answer.returncode:
        raise _no_repository(directory, text(answer.stderr))
    top = Path(line(answer.stdout))
    prefix = line(git.run("rev-parse", "--show-prefix").stdout).rstrip("/")
    head = git.run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if head.returncode:
        raise InputError(
            f"expected a git commit, found a repository without one at {top}",
            hint="git add -A && git commit -m 'first commit'",
            where=Location(str(directory)),
        )
    return GitTree(git, top, directory, parse_commit(line(head.stdout)), prefix)


class CommitTree:
    """One commit of one repository, and of the submodules this checkout has; implements ``ports.SourceTree``."""

    def __init__(self, git: Git, commit: str, prefix: str = "", directory: Path | None = None, hint: str = _REPAIR) -> None:
        self._git = git
        self._prefix = prefix
        self._commit = commit
        self._checkout = directory
        self._hint = hint

    @property
    def commit(self) -> str:
        """The full commit id, 40 or 64 hex characters."""
        return self._commit

    def commit_date(self) -> int:
        """When the commit was made, seconds since 1970: the committer's date, as werf takes it."""
        return int(self._git.expect("show", "--no-patch", "--no-show-signature", "--format=%ct", self._commit))

    def listing(self) -> Listing:
        """Every committed file below the project directory; empty where the commit holds none of it."""
        return self._listing

    def find_file(self, path: str) -> bytes | None:
        """A committed file's bytes; a link is followed while it stays in the project. None: not committed, or not a file."""
        for _ in range(_MOST_LINKS):
            path = posixpath.normpath(path)
            entry = self._listing.find(path)
            if entry is None or entry.mode == SUBMODULE:
                return None
            data = self.read([entry])[entry.blob]
            if entry.mode != _LINK:
                return data
            path = posixpath.join(posixpath.dirname(path), data.decode("utf-8", "surrogateescape"))
        return None

    def read(self, entries: Collection[TreeEntry]) -> Mapping[str, bytes]:
        """Blob id → bytes; a link's bytes are its target. Raises InputError for a submodule that is not checked out."""
        once = {entry.blob: entry for entry in entries}
        return {entry.blob: data for entry, data in self.read_each(once.values())}

    def read_each(self, entries: Iterable[TreeEntry]) -> Iterator[tuple[TreeEntry, bytes]]:
        """Each file with its bytes, in this order, one in memory at a time; one process for each run of files of one repository.

        Raises InputError for a submodule that is not checked out, or a blob the repository lacks.
        """
        for git, run in groupby(entries, self._repository_of):
            group = list(run)
            with closing(read_blobs(git, [entry.blob for entry in group])) as blobs:
                for entry in group:
                    _, data = next(blobs)
                    if data is None:
                        raise self._missing(entry)
                    yield entry, data
                    # Not kept while the next one is read.
                    del data

    def _missing(self, entry: TreeEntry) -> InputError:
        message = f"expected {entry.path!r} in the git repository, found its blob {entry.blob} missing"
        return InputError(message, hint=self._hint, where=Location(entry.path))

    def uncommitted(self, paths: Collection[str]) -> Sequence[str]:  # noqa: ARG002 - the port's
        """Nothing: there is a commit alone."""
        return ()

    @cached_property
    def _parts(self) -> tuple[Part, ...]:
        """The project's own part first, then the submodules', outer ones first."""
        return find_parts(self._git, self._commit, self._prefix, self._checkout)

    @cached_property
    def _listing(self) -> Listing:
        if len(self._parts) == 1:
            return self._parts[0].files
        return Listing.of(entry for part in self._parts for entry in part.files)

    def _repository_of(self, entry: TreeEntry) -> Git:
        if entry.mode == SUBMODULE:
            raise no_submodule(entry.path)
        if len(self._parts) > 1:
            # The innermost one that holds the path: outer parts come first.
            return next(part.git for part in reversed(self._parts) if entry.path.startswith(part.prefix))
        return self._git


class GitTree(CommitTree):
    """The commit a working tree was checked out of, seen from the project directory."""

    def __init__(self, git: Git, top: Path, directory: Path, commit: str, prefix: str) -> None:
        super().__init__(git, commit, prefix, directory.absolute())
        self.top = top
        """The top level of the working tree, an absolute path."""
        self.directory = directory
        """The project directory, as it was given."""

    def uncommitted(self, paths: Collection[str]) -> Sequence[str]:
        """Which of these files and directories differ from the commit (changed, removed, new), sorted; for telling people only."""
        if not paths:
            return ()
        # A directory is asked about: what is new in it is in no diff.
        wanted = {path for path in map(posixpath.normpath, paths) if not self._is_as_committed(path)}
        if not wanted:
            return ()
        with_new = any(self._listing.find(path) is None for path in wanted)
        inside = [(part, part.inside(wanted)) for part in self._parts]
        changed = {name for part, own in inside if own for name in self._changed(part, own, with_new=with_new)}
        return tuple(sorted(path for path in set(paths) if self._differs(posixpath.normpath(path), changed)))

    def changes(self) -> Sequence[str]:
        """Every path of the project whose file differs from the commit: changed, removed, or new and not ignored; sorted.

        Of a submodule too, where it differs from the commit that its project names.
        """
        return tuple(sorted({name for part in self._parts for name in self._changed(part, (".",), with_new=True)}))

    def remote_name(self) -> str:
        """A name for the project: the last part of origin's address (never its credentials), else the directory's; a valid image name."""
        last = re.split(r"[/:\\]", self.remote_url().rstrip("/"))[-1].removesuffix(".git")
        return _slug(last) or _slug(self.directory.absolute().resolve().name) or "app"

    def branch_name(self) -> str | None:
        """The branch that is checked out; None where HEAD is detached."""
        return line(self._git.run("symbolic-ref", "--quiet", "--short", "HEAD").stdout) or None

    def remote_url(self) -> str:
        """The address of the remote ``origin`` as it is configured, which may hold credentials; empty where there is none."""
        return self._remote_url

    @cached_property
    def _remote_url(self) -> str:
        return line(self._git.run("config", "--get", "remote.origin.url").stdout)

    def _changed(self, part: Part, paths: Sequence[str], *, with_new: bool) -> set[str]:
        # A submodule that is a part of its own tells its files itself.
        return {*part.changed(paths, with_new=with_new)} - {other.path for other in self._parts}

    def _is_as_committed(self, path: str) -> bool:
        """Whether a file has the bytes of its blob, or is nowhere: then git need not be asked, which would look at its whole index."""
        entry = self._listing.find(path)
        place = self.directory / path
        try:
            if entry is None:
                return not os.path.lexists(place) and not self._listing.below(path)
            if entry.mode not in _FILES or place.resolve() != self.directory.resolve() / path:
                return False
            status = place.stat()
            is_executable = bool(status.st_mode & 0o100)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL or _FILES[entry.mode] is not is_executable:
                return False
            return blob_id(place.read_bytes(), entry.blob) == entry.blob
        except OSError:
            return False

    def _differs(self, path: str, changed: set[str]) -> bool:
        if path == ".":
            return bool(changed)
        # A file that git ignores is in no list of changes, but it is there and not committed.
        is_inside = not path.startswith(("/", "../"))
        is_new_file = is_inside and self._listing.find(path) is None and (self.directory / path).is_file()
        return path in changed or is_new_file or any(name.startswith(f"{path}/") for name in changed)


def _no_repository(directory: Path, said: str) -> InputError:
    for words, hint in _REFUSALS.items():
        if words in said:
            message = f"expected a git repository that may be read, found: {said.strip()[:300]}"
            return InputError(message, hint=hint.format(directory=directory), where=Location(str(directory)))
    return InputError(
        f"expected a git repository, found none at {directory}",
        hint="git init && git add -A && git commit -m 'first commit'",
        where=Location(str(directory)),
    )


def _slug(text: str) -> str:
    """A path part of a repository (distribution/reference): lower-case, single separators; empty where nothing is left."""
    kept = _SLUG.sub(lambda found: found[0] if _SEPARATOR.fullmatch(found[0]) else "-", text.lower())
    return kept.strip("._-")[:100].strip("._-")
