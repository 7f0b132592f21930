"""Which of the files that were read differ from the commit (ADR 12). A changed file that nobody reads is nobody's concern."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ci_plugin.ports import SourceTree
from ci_plugin.values.tree import TreeEntry

_LINK = "120000"
_TEMPLATES = (".werf", ".dappfiles")


def find_uncommitted(tree: SourceTree, directory: Path, asked: Collection[str]) -> tuple[str, ...]:
    """Of these paths, and of what links among them name: changed, removed, or there and not committed; sorted.

    Templates count together: one that is not committed is found by nobody who reads the commit. ``.stagepin/`` never counts.
    """
    find = tree.listing().find
    wanted = {*_inside(asked)}
    wanted |= {*_inside(_targets(tree, [entry for path in wanted if (entry := find(path)) and entry.mode == _LINK]))}
    changed = {*tree.uncommitted([path for path in wanted if find(path)])}
    new = {path for path in wanted if not find(path) and (directory / path).is_file()}
    for templates in _TEMPLATES:
        if any(path.startswith(f"{templates}/") for path in wanted):
            new |= {path for path in _templates(directory, templates) if not find(path)}
    return tuple(sorted(path for path in changed | new if not path.startswith(".stagepin/")))


def _inside(paths: Iterable[str]) -> Iterator[str]:
    return (path for path in map(posixpath.normpath, paths) if not path.startswith(("/", "../")) and path != "..")


def _targets(tree: SourceTree, links: Iterable[TreeEntry]) -> Iterator[str]:
    for link in links:
        target = tree.read([link])[link.blob].decode("utf-8", "surrogateescape")
        yield posixpath.normpath(posixpath.join(posixpath.dirname(link.path), target))


def _templates(directory: Path, name: str) -> Iterator[str]:
    return (file.relative_to(directory).as_posix() for file in (directory / name).rglob("*.tmpl") if file.is_file())
