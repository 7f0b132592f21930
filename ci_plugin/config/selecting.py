"""Which files of a tree a ``git`` or ``import`` mapping takes, and where they go: ``add``, ``to``, ``includePaths``, ``excludePaths``.

A glob matches a file, or a directory and with it all below. ``add`` that names a file becomes the file ``to``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from ci_plugin.config.parts import Selection
from ci_plugin.config.path_pattern import PathPattern, parse_pattern
from ci_plugin.errors import ConfigError, Location

_WILD = frozenset("*?[\\")


def literal_directory(glob: str) -> str:
    """The directories a glob begins with before anything is wild, or the whole of a glob without wildcards: all it matches lies there."""
    parts = posixpath.normpath(glob).split("/")
    first = next((index for index, part in enumerate(parts) if _WILD.intersection(part)), len(parts))
    found = "/".join(parts[:first])
    return "" if found == "." else found


class Globs:
    """Several globs at once. Raises ConfigError for one that is malformed."""

    def __init__(self, globs: Sequence[str], where: Location) -> None:
        self.directories = tuple(dict.fromkeys(literal_directory(glob) for glob in globs))
        self._patterns = tuple(_pattern(glob, where) for glob in globs)
        self._taken_whole = {"": any(pattern.is_everything for pattern in self._patterns)}
        """Directory → whether all below it is taken: many files lie in one."""

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def match(self, path: str) -> bool:
        """Whether one of them takes this path, relative to ``add``."""
        directory = path.rpartition("/")[0]
        is_whole = self._taken_whole.get(directory)
        if is_whole is None:
            is_whole = self._taken_whole[""] or any(pattern.matches_above(directory) for pattern in self._patterns)
            self._taken_whole[directory] = is_whole
        return is_whole or any(pattern.matches(path) for pattern in self._patterns)


class Selector:
    """One mapping's choice. Raises ConfigError for a malformed glob."""

    def __init__(self, files: Selection, where: Location) -> None:
        self.add = files.add.strip("/")
        self._to = files.to
        self._include, self._exclude = Globs(files.include, where), Globs(files.exclude, where)
        self.is_filtered = bool(self._include or self._exclude)

    def takes(self, path: str) -> bool:
        """Whether a file is taken; ``path`` is relative to ``add``, empty where ``add`` is the file itself."""
        if not path:
            return True
        return (not self._include or self._include.match(path)) and not self._exclude.match(path)

    def target(self, path: str) -> str:
        """Where a taken file goes: an absolute, clean path."""
        return posixpath.join(self._to, path) if path else self._to


def relative_to(add: str, path: str) -> str:
    """The path below ``add`` (no leading slash), empty where it is ``add`` itself."""
    return path[len(add) + 1 :] if add and path != add else "" if path == add else path


def _pattern(glob: str, where: Location) -> PathPattern:
    clean = posixpath.normpath(glob)
    try:
        return parse_pattern("" if clean == "." else clean)
    except ValueError as error:
        raise ConfigError(f"expected a glob, found {glob[:200]!r}: {error}", hint="correct the pattern", where=where) from None
