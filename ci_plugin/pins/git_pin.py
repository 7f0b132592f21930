"""A git pin: which commit a branch or tag of another repository means for all jobs of a scope; a commit that is named means itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ci_plugin.errors import Location
from ci_plugin.pins.origin import Origin

GIT_ORIGIN = "git"


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
    def place(self) -> Location | None:
        """Where it is named first."""
        return Location(self.origin[0].file, self.origin[0].line) if self.origin else None
