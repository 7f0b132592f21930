"""The few commands the fake engine knows, and what they do to the files of an image. Paths are absolute; what it does not know succeeds."""

from __future__ import annotations

import io
import posixpath
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ci_plugin.engine.layers import LayerPlan, PlannedFile, plan_layer
from ci_plugin.ports import FileChanges, LayerFile, PathChange, RunSettings
from tests.fakes.image_files import ImageTree


@dataclass
class Shell:
    """One run over a tree of its own; ``failures``: command → (exit code, output)."""

    tree: ImageTree
    settings: RunSettings
    failures: Mapping[str, tuple[int, str]]
    removed: list[str] = field(default_factory=list)
    written: dict[str, LayerFile] = field(default_factory=dict)
    _before: ImageTree = field(init=False)

    def __post_init__(self) -> None:
        self._before = ImageTree()
        self._before.entries = dict(self.tree.entries)

    def run(self, command: str) -> tuple[int, list[str]]:
        """The exit code and the lines printed: of ``echo``, ``false``, ``exit``, ``cat``, ``cp``, ``touch``, ``mkdir``, ``ln``, ``rm``."""
        if command in self.failures:
            code, text = self.failures[command]
            return code, text.splitlines()
        match _words(command):
            case ["echo", *words, ">", path]:
                self._write(path, " ".join(words).encode() + b"\n")
            case ["echo", *words]:
                return 0, [" ".join(words)]
            case ["false"]:
                return 1, []
            case ["exit", status]:
                return int(status), []
            case ["cat", path]:
                data = self._read(path)
                return (1, []) if data is None else (0, data.decode("utf-8", "replace").splitlines())
            case ["cp", source, target]:
                data = self._read(source)
                if data is None:
                    return 1, []
                self._write(target, data)
            case ["touch", *paths]:
                for path in paths:
                    self._write(path, self._read(path) or b"")
            case ["mkdir", *options, path] if path.startswith("/") and all(option.startswith("-") for option in options):
                self._add(LayerFile(path, "directory", 0o755))
            case ["ln", "-s", target, path]:
                self._add(LayerFile(path, "symlink", 0o777, target=target))
            case ["rm", *words]:
                for path in words:
                    self._remove(path)
        return 0, []

    def layer(self, marks: Mapping[str, bytes]) -> bytes:
        """The layer of what was done, with these files of the fake's own."""
        files = [*self.written.values(), *(_file(path, data) for path, data in marks.items())]
        plan = plan_layer(FileChanges(written=files), self._before, lambda _file: (0, 0), careful=True)
        gone = [path for path in self.removed if self._before.find_kind(path) and path not in self.written]
        planned = [PlannedFile(each.file, each.made, each.uid, each.gid) for each in plan.written]
        return b"".join(LayerPlan(gone, planned).chunks())

    def changes(self) -> Sequence[PathChange]:
        """What the engine says of the container, sorted by path."""
        return sorted(self._changes(), key=lambda change: change.path)

    def _changes(self) -> Iterator[PathChange]:
        before, after = self._before.entries, self.tree.entries
        touched = set(self.written) | {path for path in before if path not in after}
        yield from (PathChange(path, "removed") for path in touched if path not in after)
        yield from (PathChange(path, "changed" if path in before else "added") for path in touched if path in after)
        parents = {posixpath.dirname(path) for path in touched} - touched - {"/"}
        yield from (PathChange(path, "changed" if path in before else "added") for path in parents)

    def _read(self, path: str) -> bytes | None:
        directory, name = posixpath.split(path)
        if directory == "/run/secrets":
            return self.settings.secrets.get(name)
        return self.tree.read(path) if self.tree.find_kind(path) == "file" else None

    def _write(self, path: str, data: bytes) -> None:
        self._add(_file(path, data))

    def _add(self, file: LayerFile) -> None:
        if not file.path.startswith("/") or any(_is_below(file.path, mount.target) for mount in self.settings.mounts):
            return
        self.written[file.path] = file
        self._apply([], [file])

    def _remove(self, path: str) -> None:
        if path.startswith("/"):
            self.removed.append(path)
            self.written = {at: file for at, file in self.written.items() if not _is_below(at, path)}
            self._apply([path], [])

    def _apply(self, removed: Sequence[str], written: Sequence[LayerFile]) -> None:
        self.tree.apply(b"".join(LayerPlan(removed, [PlannedFile(file, (), 0, 0) for file in written]).chunks()))


def _file(path: str, data: bytes) -> LayerFile:
    opened: Callable[[], io.BytesIO] = lambda: io.BytesIO(data)  # noqa: E731
    return LayerFile(path, "file", 0o644, len(data), opened)


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return [command]
