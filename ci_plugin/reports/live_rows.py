"""Rows at the foot of a terminal that are written anew while work goes on; other lines come above them.

Control sequences are ECMA-48's "previous line" and "erase below", which every terminal has that is no ``dumb`` one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TextIO

_FALLBACK_SIZE = os.terminal_size((80, 24))


class LiveRows:
    """Draws what ``rows`` gives. Not safe between threads by itself: the console draws under its lock."""

    def __init__(self, stream: TextIO, rows: Callable[[], Sequence[str]], size: Callable[[], os.terminal_size] | None = None) -> None:
        self._stream = stream
        self._rows = rows
        self._size = size or self._terminal_size
        self._drawn = 0

    def erase(self) -> str:
        """What takes the drawn rows away."""
        drawn, self._drawn = self._drawn, 0
        return f"\x1b[{drawn}F\x1b[J" if drawn else ""

    def draw(self) -> str:
        """What draws the rows as they are now: at most all but two lines of the terminal, no row wider than it."""
        size = self._size()
        rows = [row[: max(1, size.columns - 1)] for row in self._rows()][: max(1, size.lines - 2)]
        self._drawn = len(rows)
        return "".join(f"{row}\n" for row in rows)

    def _terminal_size(self) -> os.terminal_size:
        """A terminal that nobody told its size, as ``script`` makes one without a terminal of its own, says 0."""
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _FALLBACK_SIZE
        return os.terminal_size((found.columns or _FALLBACK_SIZE.columns, found.lines or _FALLBACK_SIZE.lines))
