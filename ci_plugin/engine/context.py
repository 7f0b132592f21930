"""A build context: the same files give the same bytes, nothing is ever read from the disk, and memory does not grow with it.

Files are kept in one temporary file as they come. As a tar: sorted by path, mtime 0, uid and gid 0, modes from git, symbolic links as
links. A path that would leave the context is refused.
"""

from __future__ import annotations

import hashlib
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from ci_plugin.errors import InputError
from ci_plugin.ports import ContextFile

_MODES = {"100644": stat.S_IFREG | 0o644, "100755": stat.S_IFREG | 0o755, "120000": stat.S_IFLNK | 0o777}
_IN_MEMORY = 1 << 24
"""Bytes of a context that need no file on the disk."""
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class ContextEntry:
    """One path of a context: ``mode`` as stat(2) has it, ``size`` in bytes, ``offset`` where they begin in ``kept``."""

    path: str
    mode: int
    size: int = 0
    link: str = ""
    offset: int = 0
    kept: IO[bytes] | None = None

    def read(self, start: int, size: int) -> bytes:
        """At most ``size`` bytes of a file from ``start`` on; empty at its end. By one thread at a time."""
        left = self.size - start
        if self.kept is None or left <= 0:
            return b""
        self.kept.seek(self.offset + start)
        return self.kept.read(min(size, left))

    def tar(self) -> Iterator[bytes]:
        """Its header and its bytes."""
        header = tarfile.TarInfo(self.path)
        header.mode, header.size, header.linkname = stat.S_IMODE(self.mode), self.size, self.link
        header.type = tarfile.DIRTYPE if stat.S_ISDIR(self.mode) else tarfile.SYMTYPE if stat.S_ISLNK(self.mode) else tarfile.REGTYPE
        yield header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        yield from (self.read(start, _CHUNK) for start in range(0, self.size, _CHUNK))
        yield bytes(-self.size % tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class BuildContext:
    """Every path of a context with its parent directories; ``key`` (64 hex characters) is the same for the same files alone."""

    entries: tuple[ContextEntry, ...]
    key: str

    def tar(self, added: Sequence[ContextEntry] = ()) -> Iterator[bytes]:
        """A PAX tar in pieces, sorted by path; ``added`` stands in it too."""
        for entry in sorted((*self.entries, *added), key=lambda entry: entry.path):
            yield from entry.tar()
        yield bytes(2 * tarfile.BLOCKSIZE)


@contextmanager
def keep_context(files: Iterable[ContextFile]) -> Iterator[BuildContext]:
    """The context until the block ends. Raises InputError for a path that is absolute, has ``..`` or stands twice."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as kept:
        by_path: dict[str, ContextEntry] = {}
        digests: dict[str, str] = {}
        for file in files:
            _check(file, by_path)
            by_path[file.path] = _keep(file, kept)
            digests[file.path] = f"{file.path}\0{file.mode}\0{hashlib.sha256(file.data).hexdigest()}\0"
        parents = {str(parent) for path in by_path for parent in PurePosixPath(path).parents}
        by_path |= {path: ContextEntry(path, stat.S_IFDIR | 0o755) for path in parents - {"."}}
        key = hashlib.sha256("".join(digests[path] for path in sorted(digests)).encode("utf-8", "surrogateescape"))
        yield BuildContext(tuple(by_path.values()), key.hexdigest())


def context_tar(files: Iterable[ContextFile]) -> bytes:
    """A PAX tar with the parent directories of every file. Raises InputError as ``keep_context``."""
    with keep_context(files) as context:
        return b"".join(context.tar())


def _keep(file: ContextFile, kept: IO[bytes]) -> ContextEntry:
    if file.mode == "120000":
        return ContextEntry(file.path, _MODES[file.mode], link=file.data.decode("utf-8", "surrogateescape"))
    offset = kept.seek(0, 2)
    kept.write(file.data)
    return ContextEntry(file.path, _MODES[file.mode], len(file.data), "", offset, kept)


def _check(file: ContextFile, known: dict[str, ContextEntry]) -> None:
    parts = PurePosixPath(file.path).parts
    if not parts or file.path.startswith("/") or ".." in parts or str(PurePosixPath(file.path)) != file.path:
        raise InputError(f"expected a path inside the build context, found {file.path!r}", hint="rename the file")
    if file.path in known:
        raise InputError(f"expected every path of the build context once, found {file.path!r} twice", hint="drop one of the two")
    if file.mode not in _MODES:
        hint = "a submodule is not part of a build context" if file.mode == "160000" else "commit it as a regular file"
        raise InputError(f"expected a file or a link in the build context, found mode {file.mode} at {file.path!r}", hint=hint)
