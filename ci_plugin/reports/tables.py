"""Plain-text tables: columns aligned by spaces.

Without a width nothing is wrapped or cut, so that digests can be copied and searched for. With one, that of a terminal, a table that is
wider gives up as little as it must, in this order: hashes show their first twelve digits; the words of the last column go on in further
lines; each row is a block with one line for each column, where a hash is whole again if it fits.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from ci_plugin.reports.neutral import neutral

_GAP = "  "
_HASH = re.compile(r"(?<![0-9a-f])([0-9a-f]{12})[0-9a-f]{52}(?![0-9a-f])")
"""A SHA-256 in hexadecimal, as digests, image IDs and stage signatures have it."""
_LEAST_LAST_COLUMN = 24
"""Columns of text below which wrapped words are worse to read than blocks."""
_Table = list[list[str]]


def format_table(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """One line for the headers and one for each row, without a newline at the end; every cell neutral, an empty one a dash.

    ``width`` is the number of columns a line may have, None where nobody counts. Only a cell that cannot be wrapped is wider than that.
    """
    table = [[neutral(cell) or "-" for cell in row] for row in (headers, *rows)]
    if _fits(whole := _aligned(table), width):
        return "\n".join(whole)
    short = [[shorten_hashes(cell) for cell in row] for row in table]
    for lines in (_aligned(short), _wrapped(short, width or 0)):
        if _fits(lines, width):
            return "\n".join(lines)
    return "\n".join(_blocks(table, width or 0)) if rows else "\n".join(whole)


def shorten_hashes(text: str) -> str:
    """The text with the first twelve digits of every SHA-256 in it."""
    return _HASH.sub(r"\1…", text)


def terminal_width(environ: Mapping[str, str], stream: TextIO) -> int | None:
    """How many columns the terminal behind ``stream`` has, by ``COLUMNS`` if that is set; None for a file or a pipe, whatever is set."""
    if not stream.isatty():
        return None
    told = environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told) > 0:
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except OSError:
        return None


def _fits(lines: Sequence[str], width: int | None) -> bool:
    return width is None or max(map(len, lines)) <= width


def _aligned(table: _Table) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def _wrapped(table: _Table, width: int) -> list[str]:
    """The lines with the words of the last column in as many lines as they need; as they were where too little room is left."""
    room = width - sum(max(map(len, column)) + len(_GAP) for column in list(zip(*table, strict=True))[:-1])
    if room < _LEAST_LAST_COLUMN:
        return _aligned(table)
    return _aligned([part for row in table for part in _parts(row, room)])


def _parts(row: list[str], room: int) -> Iterator[list[str]]:
    first, *others = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) or [row[-1]]
    yield [*row[:-1], first]
    yield from ([*(" " * len(cell) for cell in row[:-1]), part] for part in others)


def _blocks(table: _Table, width: int) -> Iterator[str]:
    """A block for each row, an empty line between two: every header with its cell."""
    headers, *rows = table
    indent = max(map(len, headers)) + len(_GAP)
    for number, row in enumerate(rows):
        yield from [""] if number else []
        for header, cell in zip(headers, row, strict=True):
            fitting = cell if indent + len(cell) <= width else shorten_hashes(cell)
            yield from _aligned(list(_parts([header.ljust(indent - len(_GAP)), fitting], max(width - indent, _LEAST_LAST_COLUMN))))
