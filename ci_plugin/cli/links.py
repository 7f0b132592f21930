"""Committed links that lead out of the project: no file of the commit, and told as what they are, not as a file that is missing."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from ci_plugin.errors import ConfigError, Location
from ci_plugin.ports import SourceTree
from ci_plugin.values.tree import TreeEntry

_LINK = "120000"
_MOST_LINKS = 8


def committed_links(tree: SourceTree) -> Mapping[str, TreeEntry]:
    """Every committed link of the project by its path."""
    return {entry.path: entry for entry in tree.listing() if entry.mode == _LINK}


def refuse_link_out(tree: SourceTree, links: Mapping[str, TreeEntry], path: str) -> None:
    """Raise ConfigError where this path is, or leads through, a committed link that leaves the project directory."""
    path = posixpath.normpath(path)
    for _ in range(_MOST_LINKS):
        link = next((links[head] for head in _heads(path) if head in links), None)
        if link is None:
            return
        target = tree.read([link])[link.blob].decode("utf-8", "replace")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(link.path), target) + path.removeprefix(link.path))
        if path.startswith(("/", "../")) or path == "..":
            raise ConfigError(
                f"expected a file of the commit at {link.path}, found a link that leads out of the project, to {target[:200]!r}",
                hint="commit the file itself, or let the link name a file below the project directory",
                where=Location(link.path),
            )


def _heads(path: str) -> tuple[str, ...]:
    """A path's directories from the top, and itself."""
    parts = path.split("/")
    return tuple("/".join(parts[:count]) for count in range(1, len(parts) + 1))
