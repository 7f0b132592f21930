"""The files of an image in memory: layers applied one over the other, as an engine does it (tests/contract/test_engine_files.py)."""

from __future__ import annotations

import copy
import io
import posixpath
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from ci_plugin.engine.layers import WHITEOUT, Kind
from ci_plugin.errors import Gone

_MOST_LINKS = 40


class ImageTree:
    """Implements ``ci_plugin.engine.layers.ImageTree``; layers that are no tar hold nothing."""

    def __init__(self, layers: Iterable[bytes] = ()) -> None:
        self.entries: dict[str, tuple[tarfile.TarInfo, bytes]] = {}
        for layer in layers:
            self.apply(layer)

    def apply(self, layer: bytes) -> None:
        """Put a layer's tar over what is here."""
        try:
            with tarfile.open(fileobj=io.BytesIO(layer), encoding="utf-8", errors="surrogateescape") as tar:
                for member in tar:
                    data = tar.extractfile(member) if member.isreg() else None
                    self._put(member, data.read() if data else b"")
        except tarfile.TarError:
            return

    def find_kind(self, path: str) -> Kind | None:
        """What stands at a path, a link there not followed."""
        found = self.entries.get(self._at(path))
        return _kind(found[0]) if found else "directory" if path == "/" else None

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there, links followed."""
        return path == "/" or self.find_kind(self._followed(path)) == "directory"

    @contextmanager
    def walk(self, path: str) -> Iterator[Iterator[tuple[str, Kind]]]:
        """The path and all below it."""
        at = self._at(path)
        yield iter([(path + found.removeprefix(at), _kind(member)) for found, member, _ in self._below(at)])

    def read(self, path: str) -> bytes:
        """A file's bytes, links followed; none for what is no file."""
        found = self.entries.get(self._followed(path))
        return found[1] if found else b""

    def members(self, path: str) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        """As ``Engine.read_files`` gives them. Raises Gone where nothing is there."""
        at = self._at(path)
        if path != "/" and at not in self.entries:
            raise Gone(f"expected {path} in the image, found nothing", hint="correct the path")
        above = "/" if path == "/" else posixpath.dirname(at)
        first = [(copy.copy(_directory(".")), None)] if path == "/" else []
        return iter([*first, *(_named(member, data, posixpath.relpath(found, above)) for found, member, data in self._below(at))])

    def _below(self, at: str) -> list[tuple[str, tarfile.TarInfo, bytes]]:
        prefix = at.rstrip("/") + "/"
        return [(path, *entry) for path, entry in sorted(self.entries.items()) if path == at or path.startswith(prefix)]

    def _put(self, member: tarfile.TarInfo, data: bytes) -> None:
        path = posixpath.normpath("/" + member.name)
        if path == "/":
            return
        at = self._at(path)
        parent, name = posixpath.split(at)
        if name.startswith(WHITEOUT):
            self._remove(posixpath.join(parent, name.removeprefix(WHITEOUT)))
            return
        for number in range(1, at.count("/")):
            above = "/".join(at.split("/")[: number + 1])
            self.entries.setdefault(above, (_directory(above.lstrip("/")), b""))
        if member.islnk():
            target = self.entries.get(self._at(posixpath.normpath("/" + member.linkname)))
            member, data = (copy.copy(target[0]), target[1]) if target else (member, data)
        if not (member.isdir() and self.find_kind(at) == "directory"):
            self._remove(at)
        self.entries[at] = (member, data)

    def _remove(self, at: str) -> None:
        for path, _, _ in self._below(at):
            del self.entries[path]

    def _followed(self, path: str) -> str:
        """The path without links, also at its end."""
        at = self._at(path)
        for _ in range(_MOST_LINKS):
            found = self.entries.get(at)
            if found is None or not found[0].issym():
                return at
            at = self._at(posixpath.normpath(posixpath.join(posixpath.dirname(at), found[0].linkname)))
        return at

    def _at(self, path: str) -> str:
        """The path with the links of its parents followed, within the root."""
        parent, name = posixpath.split(path)
        return path if parent == path else posixpath.join(self._followed(parent) if parent != "/" else "/", name)


def _kind(member: tarfile.TarInfo) -> Kind:
    return "directory" if member.isdir() else "symlink" if member.issym() else "file"


def _directory(name: str) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    return entry


def _named(member: tarfile.TarInfo, data: bytes, name: str) -> tuple[tarfile.TarInfo, IO[bytes] | None]:
    named = copy.copy(member)
    named.name = name
    return named, io.BytesIO(data) if member.isreg() else None
