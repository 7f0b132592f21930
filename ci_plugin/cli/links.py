"""Committed links that lead out of the project: no file of the commit, and told as what they are, not as a file that is missing."""

from __future__ import annotations

import posixpath

from ci_plugin.errors import ConfigError, Location
from ci_plugin.ports import SourceTree

_LINK = "120000"
_MOST_LINKS = 8


def refuse_link_out(tree: SourceTree, path: str) -> None:
    """Raise ConfigError where this path is, or leads through, a committed link that leaves the project directory."""
    listing = tree.listing()
    path = posixpath.normpath(path)
    for _ in range(_MOST_LINKS):
        link = next((entry for head in _heads(path) if (entry := listing.find(head)) and entry.mode == _LINK), None)
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
