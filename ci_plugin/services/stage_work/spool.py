"""Bytes of files on their way into an image: kept in one temporary file, hashed as they come, read as often as it takes."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Self

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """One file's bytes: their count, their sha256 (64 hex characters), and a fresh stream of them for every call of ``open``."""

    size: int
    sha256: str
    open: Callable[[], IO[bytes]] = field(repr=False, compare=False)


class Spool:
    """One temporary file without a name, gone with the ``with`` block; what it gave is not to be read after that."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="stagepin-", buffering=0)  # noqa: SIM115 - closed by __exit__
        self._end = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def keep(self, source: IO[bytes]) -> Kept:
        """All that is left to read of ``source``."""
        digest = hashlib.sha256()
        with self._lock:
            start = self._end
            while data := source.read(_CHUNK):
                digest.update(data)
                self._append(data)
            size = self._end - start
        return Kept(size, digest.hexdigest(), lambda: io.BufferedReader(_Slice(self._file.fileno(), start, size), _CHUNK))

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file.fileno(), view, self._end)
            self._end, view = self._end + count, view[count:]


class _Slice(io.RawIOBase):
    """A part of a file, read without moving anybody's place in it."""

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._place, self._end = descriptor, start, start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = os.pread(self._descriptor, min(len(buffer), self._end - self._place), self._place)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
