"""A git pin: which commit a branch or tag of another repository means for all jobs of a scope; a commit that is named means itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from ci_plugin.errors import Location
from ci_plugin.pins.origin import Origin
from ci_plugin.values.git_address import parse_git_address

GIT_ORIGIN = "git"
_REF = re.compile(r"refs/(?:heads|tags)/[^\x00-\x20\x7f]+|[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GitPin:
    """``url`` without credentials; ``ref`` is a full one (``refs/heads/main``, ``refs/tags/v1``), or the commit where that was named."""

    url: str
    ref: str
    commit: str
    resolved_at: datetime
    origin: tuple[Origin, ...]

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.url} {self.ref}"

    @property
    def is_commit(self) -> bool:
        """Whether a commit was named, which means itself for ever."""
        return self.ref == self.commit

    @property
    def place(self) -> Location | None:
        """Where it is named first."""
        return Location(self.origin[0].file, self.origin[0].line) if self.origin else None


def parse_pinned_url(text: str) -> str:
    """The address in a pin file. Raises ValueError where it is none, or is not written as we write it: it may hold no credentials."""
    if parse_git_address(text).url != text:
        raise ValueError("expected the address of a git repository without credentials, found another")
    return text


def parse_ref(text: str) -> str:
    """The ref in a pin file. Raises ValueError."""
    if not _REF.fullmatch(text):
        raise ValueError("expected refs/heads/NAME, refs/tags/NAME or a full commit id, found another")
    return text
