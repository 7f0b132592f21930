"""The directories a build asks for: the sending side of fsutil's protocol, in ``moby.filesync.v1.FileSync/DiffCopy``.

Sources: tonistiigi/fsutil types/wire.proto and types/stat.proto, send.go; moby/buildkit session/filesync. We send the facts of every path
in fsutil's order, then an empty STAT; the engine asks for the content of files by their number in that order; FIN is answered with FIN.
The patterns it sends along are not applied: which files belong to the context was decided before, and is what the stage signature holds.
"""

from __future__ import annotations

import socket
import stat
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Protocol

from ci_plugin.engine.buildkit.grpc import NOT_FOUND, UNKNOWN, CallFailed, Metadata, Method
from ci_plugin.engine.buildkit.protobuf import field, fields

_STAT, _REQUEST, _DATA, _FIN, _ERROR = range(5)
_CHUNK = 1 << 15
_GO_DIRECTORY, _GO_SYMLINK = 1 << 31, 1 << 27
"""Bits of Go's os.FileMode, which travels in ``Stat.mode``."""
_IGNORE_FILE = ".dockerignore"


class SentFile(Protocol):
    """One path: ``mode`` as stat(2) has it, ``link`` a symlink's text."""

    @property
    def path(self) -> str:
        """Relative, with slashes."""
        ...

    @property
    def mode(self) -> int:
        """Type and permissions."""
        ...

    @property
    def size(self) -> int:
        """Bytes of a regular file."""
        ...

    @property
    def link(self) -> str:
        """Where a symbolic link points to."""
        ...

    def read(self, start: int, size: int) -> bytes:
        """Bytes of a regular file."""
        ...


def by_components(path: str) -> list[bytes]:
    """The key fsutil's order is by: directories before what is below them, and names byte by byte."""
    return [part.encode("utf-8", "surrogateescape") for part in path.split("/")]


def directories(trees: Mapping[str, Sequence[SentFile]]) -> dict[str, Method]:
    """The service that sends these directories: name (``context``, ``dockerfile``) → every path in the order of ``by_components``."""

    def diff_copy(metadata: Metadata) -> _Sending:
        name = (*metadata.get("dir-name", ()), "")[0]
        if name not in trees:
            raise CallFailed(NOT_FOUND, f"no directory {name!r} belongs to this build")
        return _Sending(_asked(trees[name], metadata))

    return {"/moby.filesync.v1.FileSync/DiffCopy": diff_copy}


def _asked(tree: Sequence[SentFile], metadata: Metadata) -> Sequence[SentFile]:
    """All of it, but for the question what ``.dockerignore`` says, which comes before and would fetch everything twice."""
    patterns = {*metadata.get("followpaths", ()), *metadata.get("include-patterns", ())}
    return [file for file in tree if file.path == _IGNORE_FILE] if patterns == {_IGNORE_FILE} else tree


class _Sending:
    """One directory on its way."""

    source: socket.socket | None = None

    def __init__(self, files: Sequence[SentFile]) -> None:
        self._files = files
        self._told = 0
        self._asked_for: deque[int] = deque()
        self._position = 0
        self._is_fin_owed = False
        self.is_finished = False

    def take(self, message: bytes) -> None:
        """Packet: type = 1, ID = 3, data = 4. A request for a file's content, the end, or what went wrong over there."""
        packet = dict(fields(message))
        match packet.get(1, _STAT):
            case 1:
                self._asked_for.append(self._number(packet.get(3, 0)))
            case 3:
                self._is_fin_owed = True
            case 4:
                data = packet.get(4, b"")
                raise CallFailed(UNKNOWN, data.decode("utf-8", "replace") if isinstance(data, bytes) else "")

    def _number(self, value: bytes | int) -> int:
        if not isinstance(value, int) or value >= len(self._files) or not stat.S_ISREG(self._files[value].mode):
            raise CallFailed(NOT_FOUND, f"no file has the number {value!r}")
        return value

    def end(self) -> None:
        """The engine needs no more."""

    def readable(self) -> None:
        """Nothing to read."""

    def next_message(self) -> bytes | None:
        """The facts of all paths and their end, then the content that was asked for, then FIN."""
        if self._told <= len(self._files):
            self._told += 1
            found = self._files[self._told - 1 : self._told]
            return field(2, _facts(found[0])) if found else b"\x08\x00"
        if self._asked_for:
            return self._next_chunk()
        if self._is_fin_owed:
            self._is_fin_owed, self.is_finished = False, True
            return field(1, _FIN)
        return None

    def _next_chunk(self) -> bytes:
        """DATA; one without bytes says that the file is whole."""
        number = self._asked_for[0]
        data = self._files[number].read(self._position, _CHUNK)
        self._position += len(data)
        if not data:
            self._asked_for.popleft()
            self._position = 0
        return field(1, _DATA) + field(3, number) + field(4, data)

    def close(self) -> None:
        """The files are the caller's to close."""


def _facts(file: SentFile) -> bytes:
    """Stat: path = 1, mode = 2, size = 5, linkname = 7. Owner (3, 4) and time (6) are 0, as in a tar of ours."""
    mode = stat.S_IMODE(file.mode)
    mode |= _GO_DIRECTORY if stat.S_ISDIR(file.mode) else _GO_SYMLINK if stat.S_ISLNK(file.mode) else 0
    return field(1, file.path) + field(2, mode) + field(5, file.size) + field(7, file.link)
