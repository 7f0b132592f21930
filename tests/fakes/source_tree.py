"""A source tree in memory; its blob ids are git's own, so that listings equal those of a real repository."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ci_plugin.values.submodules import SUBMODULE, no_submodule
from ci_plugin.values.tree import Listing, TreeEntry

COMMIT = "c0ffee" + "0" * 34


@dataclass
class FakeSourceTree:
    """Implements ``ports.SourceTree`` over ``files``: path → bytes; ``modes`` names what is no plain file."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    modes: Mapping[str, str] = field(default_factory=dict)
    changed: Collection[str] = ()
    commit: str = COMMIT

    def listing(self) -> Listing:
        return Listing.of(TreeEntry(path, self.modes.get(path, "100644"), blob_id(data)) for path, data in self.files.items())

    def find_file(self, path: str) -> bytes | None:
        for _ in range(8):
            path = posixpath.normpath(path)
            data = self.files.get(path)
            if data is None or self.modes.get(path) != "120000":
                return data
            path = posixpath.join(posixpath.dirname(path), data.decode("utf-8", "surrogateescape"))
        return None

    def read(self, entries: Collection[TreeEntry]) -> Mapping[str, bytes]:
        return {entry.blob: data for entry, data in self.read_each(entries)}

    def read_each(self, entries: Iterable[TreeEntry]) -> Iterator[tuple[TreeEntry, bytes]]:
        for entry in entries:
            if entry.mode == SUBMODULE:
                raise no_submodule(entry.path)
            yield entry, self.files[entry.path]

    def uncommitted(self, paths: Collection[str]) -> Sequence[str]:
        def differs(path: str) -> bool:
            path = posixpath.normpath(path)
            return path in self.changed or (path == "." and bool(self.changed)) or any(name.startswith(f"{path}/") for name in self.changed)

        return tuple(sorted(path for path in set(paths) if differs(path)))


def blob_id(data: bytes) -> str:
    """The id git (object format sha1) gives a blob of these bytes."""
    return hashlib.sha1(b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()
