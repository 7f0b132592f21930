"""Where a pinned reference stands in the configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """``kind``: how the reference is used there (``ORIGIN_KINDS``, ``GIT_ORIGIN``); ``line`` counts from 1 or is None."""

    kind: str
    image: str
    file: str
    line: int | None
