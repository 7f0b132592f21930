"""Where a clone comes from: the host and path in the address of its remote, in any of the forms git takes (git-clone(1), "GIT URLS")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>(?!//|\\).+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """``host`` without user, password and port; ``path`` such as ``group/app``."""

    host: str
    path: str


def parse_remote(url: str) -> RemoteAddress | None:
    """The forge's host and the project's path; None for a directory and for what is no address."""
    if "://" in url:
        try:
            parts = urlsplit(url)
            host, path = parts.hostname or "", parts.path if parts.scheme in ("https", "http", "ssh", "git") else ""
        except ValueError:
            return None
    else:
        scp = _SCP.fullmatch(url)
        host, path = (scp["host"], scp["path"]) if scp else ("", "")
    path = path.strip("/").removesuffix(".git")
    return RemoteAddress(host.lower(), path) if host and path else None
