r"""The patterns of ``${X#…}``, ``${X%…}`` and ``${X/…/…}``: ``*`` and ``?`` as BuildKit matches them, in bounded time.

``*`` and ``?`` never match a line break; a backslash makes ``*``, ``?``, ``\``, ``/`` and ``}`` plain; there are no brackets. The work is
the product of pattern and value, never a search with a way back, so no text can make it long.
"""

from __future__ import annotations

from collections.abc import Sequence

_STAR, _ANY = "**", "??"
"""Tokens longer than any character."""
_MOST_STEPS = 1 << 20


def without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its shortest or longest beginning that matches. Raises ValueError for a pattern that is none, or too much work."""
    return value[_ends(_tokens(pattern), value, longest)[0] or 0 :]


def without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    """The value without its shortest or longest ending that matches. Raises ValueError as ``without_prefix``."""
    turned = value[::-1]
    return turned[_ends(_tokens(pattern)[::-1], turned, longest)[0] or 0 :][::-1]


def replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    """The value with the first match, the longest there, replaced; or with all. Raises ValueError as ``without_prefix``."""
    ends = _ends(_tokens(pattern), value, longest=True)
    parts: list[str] = []
    kept = start = 0
    while start <= len(value):
        end = ends[start]
        if end is None or (end == start == kept and start):
            start += 1
            continue
        parts += [value[kept:start], replacement]
        kept, start = end, max(end, start + 1)
        if not everywhere:
            break
    return "".join(parts) + value[kept:]


def _tokens(pattern: str) -> list[str]:
    tokens, index = [], 0
    while index < len(pattern):
        character = pattern[index]
        index += 1
        if character == "\\":
            character = pattern[index : index + 1]
            index += 1
            if character not in ("*", "?", "\\", "/", "}"):
                raise ValueError(f"a backslash before {character!r} in a pattern")
            tokens.append(character)
        else:
            tokens.append({"*": _STAR, "?": _ANY}.get(character, character))
    return tokens


def _ends(tokens: Sequence[str], value: str, longest: bool) -> list[int | None]:
    """For every place of the value where a match that begins there ends, or None where none begins."""
    count = len(value)
    if len(tokens) * count > _MOST_STEPS:
        raise ValueError(f"a pattern of {len(tokens)} characters over a value of {count}")
    row: list[int | None] = list(range(count + 1))
    for token in reversed(tokens):
        below, row = row, [None] * (count + 1)
        if token == _STAR:
            row[count] = below[count]
        for index in range(count - 1, -1, -1):
            if token == _STAR:
                row[index] = _chosen(below[index], row[index + 1] if value[index] != "\n" else None, longest)
            elif token == value[index] or (token == _ANY and value[index] != "\n"):
                row[index] = below[index + 1]
    return row


def _chosen(one: int | None, other: int | None, longest: bool) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return max(one, other) if longest else min(one, other)
