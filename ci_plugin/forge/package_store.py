"""Pin file and build record in GitLab's generic package registry: ``ports.PinStore`` over package files.

Package ``stagepin``, version ``<12 hex>``. GitLab makes a package and its first file in one transaction under a unique index, so the
creator's file has the lowest id for ever, and nobody sees the package without it: **the pin file with the lowest id is the pins** (read in
GitLab's source: packages/generic/create_package_file_service). That holds as long as file names never repeat, because clean-up of
duplicates keeps the newest of a name: every upload has a name of its own, and no upload is sent twice. The record is the newest
record file.

Rules: a listing after an upload counts only if it shows that upload (reads may come from a lagging replica); an upload that GitLab took is
waited for and not repeated, one whose reply was lost may have arrived or not and is followed by another under another name; a listed file
that cannot be read yet is Unavailable, never absence.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ci_plugin.errors import DocumentError, Unavailable
from ci_plugin.retry import RetryPolicy
from ci_plugin.values.digest import Digest
from ci_plugin.values.document import LARGEST_DOCUMENT
from ci_plugin.values.pipeline import ScopeKey

PACKAGE = "stagepin"
_PINS = "pins-"
_RECORD = "build-"
_LAG_SECONDS = 10.0
_LAG_HINT = "GitLab's replicas lag behind each other; run the job again"


@dataclass(frozen=True, slots=True)
class PackageFile:
    """One file of a package; ids grow with time. ``sha256`` is GitLab's own, 64 hex characters, None where it tells none."""

    id: int
    name: str
    sha256: str | None


class Packages(Protocol):
    """GitLab's generic packages named ``stagepin`` of one project. Raises AccessDenied, Unavailable."""

    @property
    def name(self) -> str:
        """``host/project``, for messages."""
        ...

    def list_files(self, version: str) -> Sequence[PackageFile]:
        """Every file of that version, all pages; empty where there is no such package."""
        ...

    def upload(self, version: str, file_name: str, data: bytes) -> None:
        """Add a file, once: never sent a second time by itself."""
        ...

    def find_file(self, version: str, file_name: str) -> bytes | None:
        """The newest file of that name, None for a 404."""
        ...


class PackageStore:
    """The pins and records kept as package files of one project."""

    def __init__(self, packages: Packages, retry: RetryPolicy) -> None:
        self._packages = packages
        self._retry = retry

    @property
    def name(self) -> str:
        """``generic package on HOST/PROJECT``."""
        return f"generic package on {self._packages.name}"

    @property
    def guarantee(self) -> str:
        """What may be relied on."""
        return (
            "create-if-absent: of any number of pin jobs one wins and all adopt it, over retries and child pipelines; "
            "kept until a clean-up policy or somebody deletes the package"
        )

    @property
    def lag(self) -> float:
        """GitLab may answer reads from a replica."""
        return _LAG_SECONDS

    def find_pins(self, key: ScopeKey) -> bytes | None:
        """The pin file, or None. Raises Unavailable where one is listed and cannot be read yet."""
        return self._retry.run(lambda: self._pins(key))

    def create_pins(self, key: ScopeKey, document: bytes) -> bytes:
        """Upload the pins unless the scope has some, and read the winner. Raises Unavailable where none can be read."""
        taken: list[str] = []

        def attempt() -> bytes:
            # Every try begins by looking: an earlier upload of ours may have arrived although its reply did not.
            if not taken:
                found = self._pins(key)
                if found is not None:
                    return found
                taken.append(self._upload(key, _PINS, document))
            return self._read(key, min(self._list_with(key, taken[0], _PINS), key=_by_id))

        return self._retry.run(attempt)

    def find_record(self, key: ScopeKey) -> bytes | None:
        """The build record, or None where the scope has none."""
        return self._retry.run(lambda: self._record(key))

    def put_record(self, key: ScopeKey, document: bytes, pins: bytes) -> bool:
        """Upload the record beside the pins; False where the package holds other pins."""
        if self.create_pins(key, pins) != pins:
            return False

        taken: list[str] = []

        def attempt() -> None:
            if not taken:
                if self._record(key) == document:
                    return
                taken.append(self._upload(key, _RECORD, document))
            self._list_with(key, taken[0], _RECORD)

        self._retry.run(attempt)
        return True

    def _upload(self, key: ScopeKey, prefix: str, document: bytes) -> str:
        if len(document) > LARGEST_DOCUMENT:
            raise DocumentError(f"expected a document of at most {LARGEST_DOCUMENT} bytes, found {len(document)}")
        name = f"{prefix}{Digest.of(document).hex[:12]}-{secrets.token_hex(4)}.json"
        self._packages.upload(key.short_hash, name, document)
        return name

    def _list_with(self, key: ScopeKey, name: str, prefix: str) -> Sequence[PackageFile]:
        """The files of that kind, as a listing shows them that has this upload of ours. Raises Unavailable where it has not."""
        files = self._list(key, prefix)
        if all(file.name != name for file in files):
            message = f"expected {name} in the {self.name} after uploading it, found it not there yet"
            raise Unavailable(message, hint=_LAG_HINT)
        return files

    def _list(self, key: ScopeKey, prefix: str) -> Sequence[PackageFile]:
        return [file for file in self._packages.list_files(key.short_hash) if file.name.startswith(prefix)]

    def _pins(self, key: ScopeKey) -> bytes | None:
        files = self._list(key, _PINS)
        return self._read(key, min(files, key=_by_id)) if files else None

    def _record(self, key: ScopeKey) -> bytes | None:
        files = self._list(key, _RECORD)
        return self._read(key, max(files, key=_by_id)) if files else None

    def _read(self, key: ScopeKey, file: PackageFile) -> bytes:
        data = self._packages.find_file(key.short_hash, file.name)
        if data is None:
            message = f"expected to read {file.name}, which the {self.name} lists, found it not there yet"
            raise Unavailable(message, hint=_LAG_HINT)
        if file.sha256 is not None and file.sha256 != Digest.of(data).hex:
            message = f"expected {file.name} with sha256 {file.sha256}, found {Digest.of(data).hex}"
            raise Unavailable(f"{message} in the {self.name}", hint="the download was damaged; run the job again")
        return data


def _by_id(file: PackageFile) -> int:
    return file.id
