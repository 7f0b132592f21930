"""Times in documents: UTC, whole seconds, ``2026-01-02T03:04:05Z`` (RFC 3339)."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime


def format_time(time: datetime) -> str:
    """An aware time as text."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def parse_time(text: str) -> datetime:
    """The inverse, for exactly what ``format_time`` writes. Raises ValueError with what was expected."""
    with suppress(ValueError):
        time = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if format_time(time) == text:
            return time
    raise ValueError(f"expected a time such as 2026-01-02T03:04:05Z, found {text[:60]!r}")
