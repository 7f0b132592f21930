"""A layer of files as a tar that the engine extracts over an image: what is removed, which parents are made, who owns what. Pure.

A removed path is an empty file ``.wh.<name>`` beside it. Extracted into a container it is only a file, but the engine commits a layer by
reading the container's difference as a tar, in which that name means removal (OCI image-spec, layer.md, "Whiteouts"; measured on 20.10.24
with overlay2 and vfs, after the commit, a push with a pull, and in ``docker save``). Hence no file of a user can have such a name.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from tarfile import BLOCKSIZE, DIRTYPE, LNKTYPE, PAX_FORMAT, REGTYPE, SYMTYPE, TarInfo
from typing import Literal, Protocol

from ci_plugin.errors import Bug, InputError
from ci_plugin.ports import FileChanges, LayerFile

Kind = Literal["file", "directory", "symlink"]
WHITEOUT = ".wh."
_TYPES = {"file": REGTYPE, "directory": DIRTYPE, "symlink": SYMTYPE, "hardlink": LNKTYPE}
_CHUNK = 1 << 20
LONGEST_NAME = 255
"""Bytes, of the file systems engines keep layers on."""
Owners = Callable[[LayerFile], tuple[int, int]]
"""The numbers of a file's owner and group."""


class ImageTree(Protocol):
    """The files of the image that is changed."""

    def find_kind(self, path: str) -> Kind | None:
        """What stands at a path, a link there not followed; None for nothing. A device is a ``file``."""
        ...

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there, links followed."""
        ...

    def walk(self, path: str) -> AbstractContextManager[Iterator[tuple[str, Kind]]]:
        """The path and all below it, each directory before what it holds; nothing where nothing is."""
        ...


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """A file to write, the directories to make before it, the numbers of its owner and group."""

    file: LayerFile
    made: Sequence[str]
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """What one layer does: ``removed`` paths that are there, then ``written``.

    Nothing is left to ask: while the tar is sent, the engine answers no other question about the container.
    """

    removed: Sequence[str]
    written: Sequence[PlannedFile]

    def __bool__(self) -> bool:
        return bool(self.removed) or bool(self.written)

    def chunks(self) -> Iterator[bytes]:
        """The tar, in pieces of at most 1 MiB."""
        for path in self.removed:
            parent, name = posixpath.split(path)
            yield _header(TarInfo(posixpath.join(parent, WHITEOUT + name).lstrip("/")))
        for planned in self.written:
            for path in planned.made:
                yield _header(_directory(path))
            yield _header(tar_header(planned.file, planned.uid, planned.gid))
            if planned.file.kind == "file":
                yield from _content(planned.file)
        yield bytes(2 * BLOCKSIZE)


def check_changes(changes: FileChanges) -> None:
    """Raises InputError for a name no layer can hold, Bug for a path that is none."""
    for path in (*changes.removed, *changes.emptied, *(file.path for file in (*changes.written, *changes.directories))):
        parts = path.split("/")[1:]
        if not path.startswith("/") or (path != "/" and {"", ".", ".."} & set(parts)) or "\0" in path:
            raise Bug(f"expected an absolute, plain path in an image, found {path[:300]!r}")
        if any(part.startswith(WHITEOUT) for part in parts):
            raise InputError(
                f"expected file names that an image's layer can hold, found {path[:300]!r}: {WHITEOUT} there means that a file is removed",
                hint="rename it, or leave it out with excludePaths",
            )
    plain = {file.path for file in changes.written if file.kind != "directory"}
    for file in changes.written:
        if over := plain.intersection(_ancestors(file.path)):
            message = f"expected a directory at {min(over)[:300]!r}, below which {file.path[:300]!r} is written, found that a file is too"
            raise InputError(message, hint="two sources write one path: give one of them another `to`")


def plan_layer(changes: FileChanges, tree: ImageTree, owners: Owners, *, careful: bool) -> LayerPlan:
    """What has to be done to this image.

    Not ``careful``: the engine is trusted to make missing parents, and every parent is taken for a directory unless ``changes`` removes it;
    it refuses the tar where that is wrong. ``careful``: the image is asked for every parent, which takes a request each.
    """
    suspects = set(changes.removed)
    known: set[str] = set()

    def made(file: LayerFile) -> Sequence[str]:
        missing: list[str] = []
        for path in _ancestors(file.path):
            if path in known or not (careful or path in suspects):
                continue
            if missing or not tree.is_directory(path):
                missing.append(path)
            known.add(path)
        if file.kind == "directory":
            known.add(file.path)
        return missing

    written = (*_missing(changes, tree), *changes.written)
    return LayerPlan(_removed(changes, tree), [PlannedFile(file, made(file), *owners(file)) for file in written])


def _missing(changes: FileChanges, tree: ImageTree) -> Iterator[LayerFile]:
    """The directories to make, outer ones first; below one that is missing nothing is asked for."""
    missing: set[str] = set()
    for directory in sorted(changes.directories, key=lambda file: file.path):
        is_gone = directory.path in changes.removed
        if is_gone or not missing.isdisjoint(_ancestors(directory.path)) or tree.find_kind(directory.path) is None:
            missing.add(directory.path)
            yield directory


def tar_header(file: LayerFile, uid: int, gid: int) -> TarInfo:
    """The member of a file, by its path without the leading slash; ``.`` is the root."""
    entry = TarInfo(file.path.lstrip("/") or ".")
    entry.type, entry.mode, entry.mtime = _TYPES[file.kind], file.permissions & 0o7777, file.modified
    entry.uid, entry.gid = uid, gid
    if file.kind == "file":
        entry.size = file.size
    if file.kind in ("symlink", "hardlink"):
        entry.linkname = file.target.lstrip("/") if file.kind == "hardlink" else file.target
    return entry


def _removed(changes: FileChanges, tree: ImageTree) -> tuple[str, ...]:
    """The paths to take away, none below another: whole directories that are emptied, and single files that are there."""
    written = {file.path for file in changes.written}
    replaced = {file.path for file in changes.written if file.kind != "directory"}
    emptied = _emptied(changes, tree, {parent for path in written for parent in (path, *_ancestors(path))})
    over = emptied | replaced
    alone = {path for path in changes.removed if path not in written and over.isdisjoint(_ancestors(path))}
    gone = sorted(emptied | {path for path in alone if tree.find_kind(path) in ("file", "symlink")})
    _check_removed(gone)
    return tuple(gone)


def _check_removed(paths: Sequence[str]) -> None:
    for path in paths:
        if len(posixpath.basename(path).encode("utf-8", "surrogateescape")) > LONGEST_NAME - len(WHITEOUT):
            longest = LONGEST_NAME - len(WHITEOUT)
            raise InputError(
                f"expected a name of at most {longest} bytes for a file that an image's layer removes, found {path[:300]!r}",
                hint="let the image be made anew: change its fromCacheVersion",
            )


def _emptied(changes: FileChanges, tree: ImageTree, needed: set[str]) -> set[str]:
    """Of the candidates the topmost that hold nothing any more. One walk each, which ends at the first thing that stays."""
    candidates, removed = set(changes.emptied) - needed, set(changes.removed)
    emptied: set[str] = set()
    held = set(needed)
    for path in sorted(candidates, key=lambda path: path.count("/")):
        if path in held or not emptied.isdisjoint(_ancestors(path)):
            continue
        with tree.walk(path) as found:
            first = next(found, None)
            if first != (path, "directory"):
                continue
            stays = next((at for at, kind in found if at not in (candidates if kind == "directory" else removed)), None)
        if stays is None:
            emptied.add(path)
        else:
            held.update(_ancestors(stays))
    return emptied


def _ancestors(path: str) -> list[str]:
    """The directories above a path, the topmost first, without the root."""
    parts = path.split("/")[1:-1]
    return ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]


def _directory(path: str) -> TarInfo:
    entry = TarInfo(path.lstrip("/"))
    entry.type, entry.mode = DIRTYPE, 0o755
    return entry


def _header(entry: TarInfo) -> bytes:
    """PAX: names of any length and any bytes, numbers of any size."""
    return entry.tobuf(PAX_FORMAT, "utf-8", "surrogateescape")


def _content(file: LayerFile) -> Iterator[bytes]:
    left = file.size
    with file.open() as source:
        while left:
            data = source.read(min(left, _CHUNK))
            if not data:
                raise Bug(f"expected {file.size} bytes of {file.path}, found {file.size - left}")
            left -= len(data)
            yield data
    yield bytes(-file.size % BLOCKSIZE)
