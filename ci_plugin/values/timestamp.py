"""Times in documents: UTC, whole seconds, ``2026-01-02T03:04:05Z`` (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def format_time(time: datetime) -> str:
    """An aware time as text."""
    return time.astimezone(UTC).strftime(_FORMAT)


def parse_time(text: str) -> datetime:
    """The inverse. Raises ValueError with what was expected."""
    try:
        return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"expected a time such as 2026-01-02T03:04:05Z, found {text[:60]!r}") from None
