"""Files into and out of images, without running anything in them: tars over the engine's archive requests of an unstarted container.

Measured on 20.10.24: an archive is extracted with the image's root as root directory, links of a path's parents are followed in it, so no
path leads out of it; a member replaces what stands there, only a directory stays where a directory comes; missing parents are made
(root, 0755), and one that is a file is an error of status 500, as everything is that goes wrong there.
"""

from __future__ import annotations

import base64
import io
import json
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import IO, Any, Protocol, TypeAlias

from ci_plugin.engine.accounts import Accounts
from ci_plugin.engine.connection import EngineConnection
from ci_plugin.engine.containers import Containers
from ci_plugin.engine.failures import engine_errors, status_of
from ci_plugin.engine.layers import LONGEST_NAME, Kind, LayerPlan, check_changes, plan_layer
from ci_plugin.errors import Gone, StagepinError, Unavailable
from ci_plugin.ports import EngineImage, FileChanges

_Member: TypeAlias = tuple[tarfile.TarInfo, IO[bytes] | None]
_GO_DIRECTORY, _GO_SYMLINK = 1 << 31, 1 << 27
"""Bits of Go's ``fs.FileMode``, in which the engine tells a path's kind."""
_LARGEST_ACCOUNTS = 1 << 24
_UNPACKED = {"Accept-Encoding": "identity"}
"""Else the engine spends its time on gzip, for a connection within one machine."""
# What the engine puts into every container beside the image's own files, where the image has no such file (moby, initlayer).
_ADDED = frozenset({"/.dockerenv", "/dev/console"})
_ADDED_EMPTY = frozenset({"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"})


class ContainerFiles:
    """The files of one container that is not started; implements ``layers.ImageTree``."""

    def __init__(self, connection: EngineConnection, container: str) -> None:
        self._connection = connection
        self._container = container

    def find_kind(self, path: str) -> Kind | None:
        """What stands at a path, a link there not followed."""
        found = self._stat(path)
        return _kind(int(found["mode"])) if found else None

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there, links followed."""
        return self._follow(path)[1] == "directory"

    @contextmanager
    def walk(self, path: str) -> Iterator[Iterator[tuple[str, Kind]]]:
        """The path and all below it. Its files' bytes come too, so it is for directories that hold little."""
        try:
            with self.members(path) as found:
                yield ((posixpath.join(posixpath.dirname(path), member.name), _member_kind(member)) for member, _ in found)
        except Gone:
            yield iter(())

    @contextmanager
    def members(self, path: str) -> Iterator[Iterator[_Member]]:
        """The path and all below it with their bytes; names begin with its last part. Raises Gone where nothing is there."""
        doing, named = f"read {path} of an image", _nameable(path)
        with self._archive(path, named, doing) as body, _opened(body, doing) as tar:
            found = _members(tar, named, doing)
            yield found if named == path else _only(found, posixpath.relpath(path, posixpath.dirname(named)))

    def read(self, path: str) -> bytes:
        """A file's bytes, links followed; none for what is no file."""
        at, kind = self._follow(path)
        if kind != "file":
            return b""
        with self.members(at) as found:
            return next((data.read(_LARGEST_ACCOUNTS) for _, data in found if data), b"")

    def write(self, plan: LayerPlan) -> None:
        """Extract a layer over the image."""
        with engine_errors("write files into an image"):
            api: Any = self._connection.api
            url = api._url("/containers/{0}/archive", self._container)
            api._raise_for_status(api._put(url, params={"path": "/"}, data=plan.chunks()))

    def _follow(self, path: str) -> tuple[str, Kind | None]:
        """Where a path's link leads within the image, and what is there; a link to nothing is nothing."""
        found = self._stat(path)
        kind = _kind(int(found["mode"])) if found else None
        if found is None or kind != "symlink":
            return path, kind
        target = str(found["linkTarget"])  # the engine follows it to its end
        return target, None if target == path else self.find_kind(target)

    def _stat(self, path: str) -> dict[str, Any] | None:
        if len(posixpath.basename(path).encode("utf-8", "surrogateescape")) > LONGEST_NAME:
            return None
        with engine_errors(f"look at {path} of an image"):
            api: Any = self._connection.api
            response = api.head(api._url("/containers/{0}/archive", self._container), params=_query(path), timeout=api.timeout)
        if response.status_code == HTTPStatus.NOT_FOUND:
            return None
        if response.status_code == HTTPStatus.OK:
            found: dict[str, Any] = json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
            return found
        if response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR:
            message = f"expected the engine to look at {path} of an image, found status {response.status_code}"
            raise Unavailable(message, hint="look at the engine's log; run again")
        # Below a file the engine answers so, and for a link that leads round in circles.
        if path.count("/") > 1 and not self.is_directory(posixpath.dirname(path)):
            return None
        return {"mode": _GO_SYMLINK, "linkTarget": path}

    @contextmanager
    def _archive(self, path: str, named: str, doing: str) -> Iterator[_Body]:
        try:
            with engine_errors(doing):
                api: Any = self._connection.api
                url = api._url("/containers/{0}/archive", self._container)
                response = api._get(url, params=_query(named), headers=_UNPACKED, stream=True)
                api._raise_for_status(response)
        except StagepinError as error:
            if status_of(error) in (HTTPStatus.NOT_FOUND, HTTPStatus.INTERNAL_SERVER_ERROR) and self._stat(path) is None:
                raise Gone(f"expected {path} in the image, found nothing", hint="correct the path") from None
            raise
        try:
            yield _Body(response.raw, doing)
        finally:
            response.close()


class ImageFiles:
    """Reads and writes the files of images on one engine."""

    def __init__(self, connection: EngineConnection, containers: Containers) -> None:
        self._connection = connection
        self._containers = containers

    @contextmanager
    def read(self, image: EngineImage, path: str) -> Iterator[Iterator[_Member]]:
        """The members at a path of an image; the container behind them is removed in the end."""
        at = posixpath.normpath("/" + path.strip("/"))
        with self._containers.unstarted(image) as container, ContainerFiles(self._connection, container).members(at) as found:
            yield found

    @contextmanager
    def written(self, image: EngineImage, changes: FileChanges) -> Iterator[str]:
        """A container that holds the image with these changes, to be committed."""
        check_changes(changes)
        with self._containers.unstarted(image) as container:
            files = ContainerFiles(self._connection, container)
            owners = Accounts(str(image.id), files.read).owners
            if plan := plan_layer(changes, files, owners, careful=False):
                try:
                    files.write(plan)
                except Unavailable as error:
                    # Most likely a parent that is a file. Extracting the same again over what came is harmless.
                    if status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR:
                        raise
                    files.write(plan_layer(changes, files, owners, careful=True))
            yield container


class _Readable(Protocol):
    def read(self, size: int | None = None, /) -> bytes: ...


class _Body(io.RawIOBase):
    """An answer's bytes as a file; a broken connection is one of our errors."""

    def __init__(self, raw: _Readable, doing: str) -> None:
        self._raw = raw
        self._doing = doing

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        with engine_errors(self._doing):
            return self._raw.read(size if size >= 0 else None)


def _query(path: str) -> dict[str, bytes]:
    """A path may hold any bytes."""
    return {"path": path.encode("utf-8", "surrogateescape")}


def _nameable(path: str) -> str:
    """The path, or the directory above it that the engine can be asked for: it hands the name on in JSON, which holds no other bytes."""
    while not _is_unicode(path):
        path = posixpath.dirname(path)
    return path


def _is_unicode(path: str) -> bool:
    return not any("\udc80" <= character <= "\udcff" for character in path)


def _only(found: Iterator[_Member], wanted: str) -> Iterator[_Member]:
    """The members at one path, under names that begin with its last part."""
    above = posixpath.dirname(wanted)
    for member, data in found:
        if member.name == wanted or member.name.startswith(f"{wanted}/"):
            member.name = member.name.removeprefix(above).lstrip("/")
            yield member, data


def _opened(body: _Body, doing: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=body, mode="r|", encoding="utf-8", errors="surrogateescape")
    except tarfile.TarError as error:
        raise _torn(doing, error) from error


def _torn(doing: str, error: tarfile.TarError) -> Unavailable:
    return Unavailable(f"expected the engine to {doing}, found a torn answer ({error})", hint="run again")


def _members(tar: tarfile.TarFile, path: str, doing: str) -> Iterator[_Member]:
    above = posixpath.dirname(path)
    archive: Any = tar
    try:
        for member in tar:
            member.name = member.name.strip("/") or "."
            if member.islnk():
                member.linkname = member.linkname.strip("/")
            if not _is_added(posixpath.normpath(posixpath.join(above, member.name)), member):
                yield member, tar.extractfile(member) if member.isreg() else None
            archive.members = []  # else the headers of all files would be kept
    except tarfile.TarError as error:
        raise _torn(doing, error) from error


def _is_added(path: str, member: tarfile.TarInfo) -> bool:
    """Whether the engine put it there, not the image."""
    mtab = path == "/etc/mtab" and member.issym() and member.linkname == "/proc/mounts"
    return mtab or path in _ADDED or (path in _ADDED_EMPTY and member.isreg() and not member.size)


def _kind(mode: int) -> Kind:
    return "directory" if mode & _GO_DIRECTORY else "symlink" if mode & _GO_SYMLINK else "file"


def _member_kind(member: tarfile.TarInfo) -> Kind:
    return "directory" if member.isdir() else "symlink" if member.issym() else "file"
