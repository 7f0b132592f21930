"""Where a clone comes from: the host and path in the address of its remote, in any of the forms git takes (git-clone(1), "GIT URLS")."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

_SCP = re.compile(r"(?:[^@/:]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>(?!//|\\).+)", re.ASCII)
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """``host[:port]`` without user and password; ``path`` such as ``group/app``.

    The port is that of HTTP alone, where it is not the scheme's own: SSH has another, which says nothing of where the forge's API is.
    """

    host: str
    path: str
    is_plain: bool = False
    """Whether the clone came over HTTP without TLS."""


def parse_remote(url: str) -> RemoteAddress | None:
    """The forge's host and the project's path; None for a directory and for what is no address."""
    if "://" in url:
        try:
            parts = urlsplit(url)
            host, path = _host(parts), parts.path if parts.scheme in ("https", "http", "ssh", "git") else ""
        except ValueError:
            return None
    else:
        scp = _SCP.fullmatch(url)
        host, path = (scp["host"], scp["path"]) if scp else ("", "")
    path = path.strip("/").removesuffix(".git")
    return RemoteAddress(host.lower(), path, url.lower().startswith("http://")) if host and path else None


def _host(parts: SplitResult) -> str:
    """Raises ValueError for a port that is none."""
    name = parts.hostname or ""
    host = f"[{name}]" if ":" in name else name
    has_port = parts.scheme in _PORTS and parts.port not in (None, _PORTS[parts.scheme])
    return f"{host}:{parts.port}" if host and has_port else host
