"""Durations people write: ``30m``, ``12h``, ``7d``."""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
_NONE = re.compile(r"0+[mhd]", re.ASCII)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def parse_duration(text: str) -> timedelta:
    """A whole number from 1 and one unit: m (minutes), h (hours) or d (days). Raises ValueError with what was expected."""
    match = _DURATION.fullmatch(text)
    if not match and _NONE.fullmatch(text):
        raise ValueError(f"expected a duration of more than 0, such as 30m, 12h or 7d, found {text[:50]!r}")
    if not match:
        raise ValueError(f"expected a duration such as 30m, 12h or 7d, found {text[:50]!r}")
    return int(match[1]) * _UNITS[match[2]]


def format_duration(duration: timedelta) -> str:
    """For people, in the largest two units that say something: ``3d 4h``, ``12h``, ``59m``, ``40s``; rounded down."""
    seconds = int(duration.total_seconds())
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts.append(f"{count}{name}" if count else "")
    first = next((index for index, part in enumerate(parts) if part), len(parts) - 1)
    return " ".join(part for part in parts[first : first + 2] if part) or "0s"
