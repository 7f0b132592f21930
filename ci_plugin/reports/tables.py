"""Plain-text tables: columns aligned by spaces, nothing wrapped or cut, so that digests can be copied and searched for."""

from __future__ import annotations

from collections.abc import Sequence

from ci_plugin.reports.neutral import neutral

_GAP = "  "


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One line for the headers and one for each row, without a newline at the end; every cell neutral, an empty one a dash."""
    table = [[neutral(cell) or "-" for cell in row] for row in (headers, *rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(headers))]
    return "\n".join(_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
