"""``ADD`` of what lies elsewhere: an input of the build that no pin can hold, unless the instruction itself says what has to come.

Rules (BuildKit's ``dispatchCopy`` and ``ParseGitRef``). ``https://`` and ``http://`` are downloads, ``git://``, ``ssh://``,
``user@host:path`` and web addresses whose path ends with ``.git`` are repositories. Held are:
``--checksum=``, and a repository at a whole commit
(``#<40 hex>``, ``?checksum=``, ``?commit=``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from ci_plugin.errors import Location

_ADDRESS = re.compile(r"(https?|git|ssh)://", re.IGNORECASE | re.ASCII)
_SCP = re.compile(r"[a-zA-Z0-9_-]+@[a-zA-Z0-9.-]+:", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?", re.ASCII)
_NOWHERE = Location("Dockerfile")


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A source of ADD: ``url`` or ``git``, as it is after expansion, without user name and password; whether its content is held."""

    kind: str
    spelling: str
    is_held: bool
    location: Location

    @property
    def reason(self) -> str:
        """Why its content may change under one stage signature; "" where it cannot."""
        if self.is_held:
            return ""
        return "a download may change at any time" if self.kind == "url" else "a branch or tag of a repository may move"

    @property
    def hint(self) -> str:
        """What holds it."""
        return "write ADD --checksum=sha256:<64 hex>" if self.kind == "url" else "write the commit: …#<40 hex>"

    def __str__(self) -> str:
        held = "its content is held" if self.is_held else f"{self.reason}, and no pin holds it: {self.hint}"
        return f"ADD {self.spelling} ({self.location}): {held}"


def find_remote(source: str, checksum: str = "", location: Location = _NOWHERE) -> RemoteSource | None:
    """The remote source a text names, or None for a path of the context."""
    scheme = _ADDRESS.match(source)
    if not scheme and not _SCP.match(source):
        return None
    address, _, fragment = source.partition("#")
    path, _, query = address.partition("?")
    is_git = not scheme or not scheme[1].lower().startswith("http") or path.endswith(".git")
    asked = parse_qs(query) if is_git else {}
    names = [fragment.partition(":")[0], *asked.get("checksum", ()), *asked.get("commit", ()), *asked.get("ref", ())]
    is_held = bool(checksum) or (is_git and any(_COMMIT.fullmatch(name) for name in names))
    return RemoteSource("git" if is_git else "url", _without_login(source), is_held, location)


def _without_login(source: str) -> str:
    try:
        user = urlsplit(source).netloc.rpartition("@")[0]
    except ValueError:
        user = re.split(r"[/?#]", source.partition("://")[2], maxsplit=1)[0].rpartition("@")[0]
    return source.replace(f"{user}@", "", 1) if user else source
