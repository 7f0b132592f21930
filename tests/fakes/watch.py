"""Sees what this process does to the world: the hosts it connects to and the files it writes, by Python's own audit events.

::

    with watch() as seen:
        job.run("pin")
    assert seen.hosts <= {registry.address}
    assert seen.written_outside(tmp_path) == []

Child processes (git) are not seen.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.mkdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1, "os.chmod": 1}
"""Audit event → how many of its first arguments are paths (docs.python.org, "Audit events table")."""


@dataclass
class Seen:
    """What a process did."""

    hosts: set[str] = field(default_factory=set)
    """``host:port`` of every connection, ``?name`` of every look-up of a name."""
    written: set[str] = field(default_factory=set)

    def written_outside(self, *directories: Path) -> list[str]:
        """Paths that were written, removed or made anywhere else; what Python itself keeps of modules does not count."""
        inside = tuple(f"{directory.resolve()}/" for directory in directories)
        return sorted(
            path for path in self.written if not path.startswith(inside) and "__pycache__" not in path and not path.startswith("/dev/")
        )


_watchers: list[Seen] = []
_is_hooked = False


@contextmanager
def watch() -> Iterator[Seen]:
    """Everything this process does until the block ends, in any thread."""
    global _is_hooked  # an audit hook cannot be taken back, so it is set once
    if not _is_hooked:
        sys.addaudithook(_note)
        _is_hooked = True
    seen = Seen()
    _watchers.append(seen)
    try:
        yield seen
    finally:
        _watchers.remove(seen)


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watchers:
        return
    hosts, paths = _hosts(event, arguments), _paths(event, arguments)
    for seen in _watchers:
        seen.hosts.update(hosts)
        seen.written.update(paths)


def _hosts(event: str, arguments: tuple[Any, ...]) -> list[str]:
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        return [f"{arguments[1][0]}:{arguments[1][1]}"]
    if event == "socket.getaddrinfo":
        name = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0])
        return [f"?{name}"]
    return []


def _paths(event: str, arguments: tuple[Any, ...]) -> list[str]:
    if event == "open" and isinstance(arguments[0], str | bytes) and (arguments[2] or 0) & _WRITES:
        found: list[str | bytes | os.PathLike[Any]] = [arguments[0]]
    else:
        found = [one for one in arguments[: _CHANGES.get(event, 0)] if isinstance(one, str | bytes | os.PathLike)]
    return [str(Path(os.fsdecode(one)).absolute()) for one in found]
