r"""Path patterns as Go has them: ``*`` and ``?`` within a name, ``[a-z]``, ``[^a]``, ``\`` before a plain one, ``**`` over directories.

One pattern matches in bounded time, whatever the path: where a text could lead a regular expression through many ways back, sets of
places are used instead. ``is_strict`` is for ``.dockerignore``: what moby's ``patternmatcher`` refuses, and what it reads as something
nobody meant (``\d``, ``*`` in brackets), is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_STAR, _CROSS, _REST = "*", "**/", "**"
_EXPRESSIONS = {_STAR: "[^/]*", _CROSS: "(?:.*/)?", _REST: ".*"}
_HAS_WILDCARD = re.compile(r"[*?\[\]\\]")
_MOST_WIDE = 2
"""Wide tokens a regular expression gets; the ways back grow with the power of their count."""
_DEEP = 30
"""Directories from which on a path is read once for all those above it."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    """A pattern for a POSIX path without a leading slash."""

    tokens: tuple[str, ...]
    _regex: re.Pattern[str] | None = field(compare=False, repr=False)

    @property
    def is_everything(self) -> bool:
        """Whether it is the root itself."""
        return not self.tokens

    def matches(self, path: str) -> bool:
        """Whether it matches the whole path."""
        if self._regex is not None:
            return self._regex.fullmatch(path) is not None
        return len(path) in _ends(self.tokens, path)

    def matches_above(self, path: str) -> bool:
        """Whether it matches the path or a directory above it."""
        if self._regex is not None and path.count("/") < _DEEP:
            parts = path.split("/")
            return any(self._regex.fullmatch("/".join(parts[:count])) for count in range(len(parts), 0, -1))
        return any(place and path[place : place + 1] in ("", "/") for place in _ends(self.tokens, path))


def parse_pattern(text: str, *, is_strict: bool = False) -> PathPattern:
    """A pattern from its text. Raises ValueError with what was expected."""
    tokens = tuple(_merged(_tokens(text, is_strict)))
    if is_strict and not {re.escape("|"), re.escape("^")}.isdisjoint(tokens) and _HAS_WILDCARD.search(text):
        raise ValueError("expected no | and no ^ beside a wildcard, which Docker reads as a regular expression's, found one")
    if is_strict and text.startswith("**") and text[2:3] not in ("", "/") and not _HAS_WILDCARD.search(text[2:]):
        tokens = (_REST, *tokens[1:])  # moby compares the end of the path here
    return PathPattern(tokens, _compiled(tokens))


def _tokens(text: str, is_strict: bool) -> Iterator[str]:
    """``*``, ``**``, ``**/`` or an expression for one character."""
    index = 0
    while index < len(text):
        character = text[index]
        if text.startswith("**", index):
            index += 3 if text.startswith("/", index + 2) else 2
            is_wide = index < len(text) and (is_strict or text[index - 1] == "/")
            yield _CROSS if is_wide else _REST
        elif character == "[":
            token, index = _bracket(text, index + 1, is_strict)
            yield token
        else:
            is_escaped = character == "\\"
            character = _plain(text, index + 1, is_strict) if is_escaped else character
            index += 1 + is_escaped
            yield "[^/]" if character == "?" and not is_escaped else _STAR if character == "*" and not is_escaped else re.escape(character)


def _plain(text: str, index: int, is_strict: bool) -> str:
    if index >= len(text):
        raise ValueError("expected a character after the backslash, found the end")
    if is_strict and text[index].isascii() and text[index].isalnum():
        raise ValueError(f"expected a backslash before a special character, found it before {text[index]!r}")
    return text[index]


def _bracket(text: str, index: int, is_strict: bool) -> tuple[str, int]:
    negated = text.startswith("^", index)
    index += negated
    body = ""
    while index < len(text) and (text[index] != "]" or not body):
        low, index = _member(text, index, is_strict)
        high = low
        if text.startswith("-", index):
            high, index = _member(text, index + 1, is_strict)
        if low > high and is_strict:
            raise ValueError(f"expected a range from the lower to the higher character, found {low}-{high}")
        if low <= high:
            body += f"{re.escape(low)}-{re.escape(high)}"
        elif not body:
            body = r"\0-\0"
    if index >= len(text):
        raise ValueError("expected a ] to close the [, found none")
    return f"[{'^' if negated else ''}{body}]", index + 1


def _member(text: str, index: int, is_strict: bool) -> tuple[str, int]:
    character = text[index : index + 1]
    if character == "\\":
        return _plain(text, index + 1, is_strict), index + 2
    if character in ("", "-", "]") or (is_strict and (character in "*?" or text.startswith("[:", index))):
        raise ValueError(f"expected a character or a range in brackets, found {character!r}")
    return character, index + 1


def _merged(tokens: Iterator[str]) -> Iterator[str]:
    """Without a wide token beside one that takes in all it could."""
    last = ""
    for token in tokens:
        if token != last or token not in _EXPRESSIONS:
            yield token
        last = token


def _compiled(tokens: Sequence[str]) -> re.Pattern[str] | None:
    if sum(token in (_CROSS, _REST) for token in tokens) > _MOST_WIDE:
        return None
    return re.compile("".join(_expressions(tokens)), re.DOTALL)


def _expressions(tokens: Sequence[str]) -> Iterator[str]:
    """Each token's expression. Of two ``*`` in one name the first never needs to take more than the shortest."""
    index = 0
    while index < len(tokens):
        following = next((at for at in range(index + 1, len(tokens)) if _may_be_slash(tokens[at])), None)
        if tokens[index] == _STAR and following is not None and tokens[following] == _STAR:
            yield f"(?>[^/]*?{''.join(tokens[index + 1 : following])})"
            index = following
        else:
            yield _EXPRESSIONS.get(tokens[index], tokens[index])
            index += 1


def _may_be_slash(token: str) -> bool:
    """Whether it ends a run of characters of one name: another wide token, a slash, or brackets that take a slash."""
    return token in _EXPRESSIONS or (token != "[^/]" and re.fullmatch(token, "/") is not None)  # noqa: S105


def _ends(tokens: Sequence[str], path: str) -> set[int]:
    """The places of the path that the tokens can lead to from its beginning."""
    places = {0}
    for token in tokens:
        if not places:
            break
        first = min(places)
        if token == _REST:
            places = set(range(first, len(path) + 1))
        elif token == _CROSS:
            places |= {index + 1 for index in range(first, len(path)) if path[index] == "/"}
        elif token == _STAR:
            places = set(_within_names(places, path))
        else:
            matcher = re.compile(token, re.DOTALL)
            places = {place + 1 for place in places if matcher.match(path, place)}
    return places


def _within_names(places: set[int], path: str) -> Iterator[int]:
    reached = False
    for index in range(len(path) + 1):
        reached = index in places or (reached and path[index - 1] != "/")
        if reached:
            yield index
