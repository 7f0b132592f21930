"""The tar of a build context: the same files give the same bytes, and nothing is ever read from the disk.

Sorted by path, mtime 0, uid and gid 0, modes from git, symbolic links as links. A path that would leave the context is refused.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import PurePosixPath

from ci_plugin.errors import InputError
from ci_plugin.ports import ContextFile

_MODES = {"100644": 0o644, "100755": 0o755, "120000": 0o777}


def context_tar(files: Iterable[ContextFile]) -> bytes:
    """A PAX tar with the parent directories of every file. Raises InputError for a path that is absolute, has ``..`` or stands twice."""
    by_path: dict[str, ContextFile] = {}
    for file in files:
        _check(file, by_path)
        by_path[file.path] = file
    directories = {str(parent) for path in by_path for parent in PurePosixPath(path).parents if str(parent) != "."}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape") as tar:
        for path in sorted({*by_path, *directories}):
            _add(tar, path, by_path.get(path))
    return out.getvalue()


def _add(tar: tarfile.TarFile, path: str, file: ContextFile | None) -> None:
    entry = tarfile.TarInfo(path)
    if file is None:
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(entry)
    elif file.mode == "120000":
        entry.type, entry.mode = tarfile.SYMTYPE, 0o777
        entry.linkname = file.data.decode("utf-8", "surrogateescape")
        tar.addfile(entry)
    else:
        entry.mode, entry.size = _MODES[file.mode], len(file.data)
        tar.addfile(entry, io.BytesIO(file.data))


def _check(file: ContextFile, known: dict[str, ContextFile]) -> None:
    parts = PurePosixPath(file.path).parts
    if not parts or file.path.startswith("/") or ".." in parts or str(PurePosixPath(file.path)) != file.path:
        raise InputError(f"expected a path inside the build context, found {file.path!r}", hint="rename the file")
    if file.path in known:
        raise InputError(f"expected every path of the build context once, found {file.path!r} twice", hint="drop one of the two")
    if file.mode not in _MODES:
        hint = "a submodule is not part of a build context" if file.mode == "160000" else "commit it as a regular file"
        raise InputError(f"expected a file or a link in the build context, found mode {file.mode} at {file.path!r}", hint=hint)
