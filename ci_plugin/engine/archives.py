"""Root filesystem archives: a tar, plain or compressed, as a stream of its decompressed bytes, hashed on the way.

The sha256 of the decompressed tar is the layer's diff_id (measured: the engine keeps imported bytes as they are).
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias

from ci_plugin.errors import InputError, Location
from ci_plugin.values.digest import Digest

_CHUNK = 1 << 20
EMPTY_TAR = bytes(1024)
"""A tar of no files: its one layer is what ``scratch`` stands for, with the diff_id sha256:5f70bf18… that every engine knows as empty."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@contextmanager
def _plain(path: Path) -> Iterator[_Readable]:
    with path.open("rb") as file:
        yield file


@contextmanager
def _gzip(path: Path) -> Iterator[_Readable]:
    with gzip.open(path, "rb") as file:
        yield file


@contextmanager
def _xz(path: Path) -> Iterator[_Readable]:
    with lzma.open(path, "rb") as file:
        yield file


@contextmanager
def _zstd(path: Path) -> Iterator[_Readable]:
    try:
        process = subprocess.Popen(["zstd", "-dcq", "--", str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    except OSError:
        raise InputError("expected the program zstd to unpack it, found none on PATH", hint="install zstd, or use gzip or xz") from None
    with process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        yield process.stdout
        process.stdout.read()
    if process.returncode:
        raise EOFError(f"zstd ended with {process.returncode}")


_Opener: TypeAlias = Callable[[Path], AbstractContextManager[_Readable]]
_OPENERS: tuple[tuple[bytes, _Opener], ...] = ((b"\x1f\x8b", _gzip), (b"\xfd7zXZ\x00", _xz), (b"\x28\xb5\x2f\xfd", _zstd))


class RootfsArchive:
    """One archive: iterate ``chunks()`` once, then ``diff_id`` is known."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._hash = hashlib.sha256()

    @property
    def diff_id(self) -> Digest:
        """sha256 of what ``chunks`` gave so far."""
        return Digest(f"sha256:{self._hash.hexdigest()}")

    def chunks(self) -> Iterator[bytes]:
        """The decompressed tar in pieces of at most 1 MiB. Raises InputError for an archive that cannot be read."""
        if self._path is None:
            self._hash.update(EMPTY_TAR)
            yield EMPTY_TAR
            return
        try:
            with _opener(self._path)(self._path) as file:
                while data := file.read(_CHUNK):
                    self._hash.update(data)
                    yield data
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            message = f"expected a root filesystem tar (plain, gzip, xz or zstd), found: {error}"
            raise InputError(message, hint="make the archive again", where=Location(str(self._path))) from error


def diff_id_of(path: Path) -> Digest:
    """The diff_id the archive's layer will have. Raises InputError for an archive that cannot be read."""
    archive = RootfsArchive(path)
    for _ in archive.chunks():
        pass
    return archive.diff_id


def _opener(path: Path) -> _Opener:
    with path.open("rb") as file:
        head = file.read(6)
    if head.startswith(b"BZh"):
        raise InputError(
            "expected a root filesystem tar (plain, gzip, xz or zstd), found bzip2", hint="compress it with xz", where=Location(str(path))
        )
    return next((opener for magic, opener in _OPENERS if head.startswith(magic)), _plain)
