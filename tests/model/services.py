"""The services the stores are built on, as their state alone: one method is one API call, atomic, over every version of what it holds.

``behind`` is by how many writes the answering replica lags; a replica shows the writes in the order they were made. Sources: the facts on
GitHub's git database, GitLab's package registry and job artifacts, and the distribution API, as the stores' own docstrings state them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ci_plugin.errors import AnswerIsNo
from ci_plugin.forge.package_store import PackageFile
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import Descriptor, Manifest, parse_manifest

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class GitCommit:
    """What a commit names."""

    tree: str
    parents: tuple[str, ...]


@dataclass(slots=True)
class GitState:
    """Objects and refs of one repository on GitHub. A ref is made once and moves to a descendant only."""

    version: int = 0
    blobs: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    trees: dict[str, tuple[int, Mapping[str, str]]] = field(default_factory=dict)
    commits: dict[str, tuple[int, GitCommit]] = field(default_factory=dict)
    moves: list[tuple[int, str, str]] = field(default_factory=list)

    def find_ref(self, ref: str, behind: int = 0) -> str | None:
        found = None
        for version, name, commit in self.moves:
            if name == ref and version <= self.version - behind:
                found = commit
        return found

    def create_ref(self, ref: str, commit: str) -> bool:
        """201, or 422 where it is there; the object has to exist."""
        assert commit in self.commits, "a ref to a commit that was never written"
        if self.find_ref(ref) is not None:
            return False
        self.force_ref(ref, commit)
        return True

    def advance_ref(self, ref: str, commit: str) -> bool:
        """200, or 422 where that would be no fast-forward."""
        tip = self.find_ref(ref)
        if tip is None or not self._descends(commit, tip):
            return False
        self.force_ref(ref, commit)
        return True

    def force_ref(self, ref: str, commit: str) -> None:
        """What ``force: true`` does, which no store of ours may send."""
        self.version += 1
        self.moves.append((self.version, ref, commit))

    def delete_refs(self) -> None:
        """Somebody removes them."""
        self.version += 1
        self.moves.clear()

    def find_commit(self, commit: str, behind: int = 0) -> GitCommit | None:
        version, found = self.commits.get(commit, (0, None))
        return found if version <= self.version - behind else None

    def find_tree(self, tree: str, behind: int = 0) -> Mapping[str, str] | None:
        version, found = self.trees.get(tree, (0, None))
        return found if version <= self.version - behind else None

    def find_blob(self, blob: str, behind: int = 0) -> bytes | None:
        version, found = self.blobs.get(blob, (0, None))
        return found if version <= self.version - behind else None

    def write_blob(self, data: bytes) -> str:
        return self._keep(self.blobs, data, data)

    def write_tree(self, files: Mapping[str, str]) -> str:
        return self._keep(self.trees, repr(sorted(files.items())).encode(), dict(files))

    def write_commit(self, tree: str, parents: tuple[str, ...], message: str) -> str:
        return self._keep(self.commits, repr((tree, parents, message)).encode(), GitCommit(tree, parents))

    def _keep(self, objects: dict[str, tuple[int, _T]], data: bytes, value: _T) -> str:
        self.version += 1
        name = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        objects.setdefault(name, (self.version, value))
        return name

    def _descends(self, commit: str, ancestor: str) -> bool:
        return commit == ancestor or any(self._descends(parent, ancestor) for parent in self.commits[commit][1].parents)


@dataclass(slots=True)
class _StoredFile:
    """A package file from the version it came with to the one it went with."""

    id: int
    name: str
    data: bytes
    born: int
    died: int | None = None

    def is_there(self, version: int) -> bool:
        return self.born <= version and (self.died is None or version < self.died)


@dataclass(slots=True)
class PackageState:
    """The files of one version of a generic package on GitLab.

    The package and its first file are one transaction under a unique index, so whoever makes the package has the lowest id. Names may
    repeat: all files are listed, a download by name gives the newest, and the clean-up of duplicates keeps only that one.
    """

    version: int = 0
    files: list[_StoredFile] = field(default_factory=list)

    def list_files(self, behind: int = 0) -> list[PackageFile]:
        """Newest first, as GitLab may: nobody is promised an order."""
        return [PackageFile(file.id, file.name, Digest.of(file.data).hex) for file in reversed(self._there(behind))]

    def upload(self, name: str, data: bytes) -> None:
        self.version += 1
        self.files.append(_StoredFile(len(self.files) + 1, name, data, self.version))

    def find_file(self, name: str, behind: int = 0) -> bytes | None:
        named = [file.data for file in self._there(behind) if file.name == name]
        return named[-1] if named else None

    def clean_up(self) -> None:
        """GitLab's policy for duplicates: of every name the newest stays."""
        self.version += 1
        newest = {file.name: file.id for file in self._there(0)}
        for file in self._there(0):
            if file.id != newest[file.name]:
                file.died = self.version

    def delete(self) -> None:
        """Somebody removes the package."""
        self.version += 1
        for file in self._there(0):
            file.died = self.version

    def _there(self, behind: int) -> list[_StoredFile]:
        return [file for file in self.files if file.is_there(self.version - behind)]


class BlobUnknown(AnswerIsNo):
    """MANIFEST_BLOB_UNKNOWN: garbage collection took a blob before the manifest named it."""


@dataclass(slots=True)
class RegistryState:
    """Blobs, manifests and tags of one repository: the last writer of a tag wins, unless the registry keeps tags (``immutable``).

    ``refuses_same``: such a registry refuses a second push of the same bytes, too, as some do.
    """

    immutable: bool = False
    refuses_same: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def find_descriptor(self, tag: str) -> Descriptor | None:
        manifest = self.find_manifest(tag)
        return manifest.descriptor if manifest else None

    def find_manifest(self, tag: str) -> Manifest | None:
        return self.manifests.get(self.tags.get(tag, ""))

    def put_blob(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[str(digest)] = data
        return digest

    def put_manifest(self, tag: str, data: bytes, media_type: str) -> Digest:
        manifest = parse_manifest(data, media_type)
        if not all(str(blob.digest) in self.blobs for blob in _blobs(manifest)):
            raise BlobUnknown(f"expected the blobs of {tag}, found them gone")
        if self.immutable and tag in self.tags and (self.refuses_same or self.tags[tag] != str(manifest.descriptor.digest)):
            raise AnswerIsNo(f"expected to write the tag {tag}, found it immutable")
        self.manifests[str(manifest.descriptor.digest)] = manifest
        self.tags[tag] = str(manifest.descriptor.digest)
        return manifest.descriptor.digest

    def collect_garbage(self) -> None:
        """What no manifest names goes."""
        named = {str(blob.digest) for manifest in self.manifests.values() for blob in _blobs(manifest)}
        self.blobs = {digest: data for digest, data in self.blobs.items() if digest in named}


def _blobs(manifest: Manifest) -> tuple[Descriptor, ...]:
    return (manifest.get_config(), *manifest.layers)


@dataclass(slots=True)
class Artifact:
    """What one run of one job handed on: path → bytes."""

    files: Mapping[str, bytes]
    is_expired: bool = False


@dataclass(slots=True)
class ArtifactState:
    """The CI artifacts of one pipeline, oldest first: every try of every job keeps its own until it expires."""

    artifacts: list[Artifact] = field(default_factory=list)

    def list_ids(self, behind: int = 0) -> list[int]:
        shown = self.artifacts[: max(0, len(self.artifacts) - behind)]
        return [number for number, artifact in enumerate(shown) if not artifact.is_expired]

    def download(self, number: int, path: str) -> bytes | None:
        """The file, None where the artifact expired since it was listed or holds no such file."""
        artifact = self.artifacts[number]
        return None if artifact.is_expired else artifact.files.get(path)

    def expire(self) -> None:
        """The oldest that is left goes."""
        for number in self.list_ids()[:1]:
            self.artifacts[number].is_expired = True
