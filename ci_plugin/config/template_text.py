"""Text that knows where each piece of it was written, through ``include``, ``tpl``, ``.Files.Get`` and what is done to it afterwards.

A *part* is a piece of text with the place of what printed it: letter by letter where it stands in a file, else the action that made it.
A function that changes text (``nindent``, ``trim``, ``print``) knows nothing of parts: its result is laid beside what it was given, and
lines that are still there keep their place.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, takewhile
from typing import TypeAlias

from ci_plugin.errors import Location

_TPL = "tpl"
"""What places in a text given to ``tpl`` are called, where nothing tells a file."""
_MOST_DEPTH = 10
_SHORTEST_INSIDE = 3
"""Letters of a line that is looked for inside another one: one letter is everywhere."""


@dataclass(frozen=True)
class Text:
    """One text that was parsed; ``file`` is None for what ``tpl`` was given, ``parts`` where that came from."""

    name: str
    file: str | None
    text: str = field(repr=False)
    parts: Sequence[Part] = field(default=(), repr=False, compare=False)
    depth: int = field(default=0, repr=False, compare=False)
    """How often what it is made of was such a text already."""

    @classmethod
    def given(cls, name: str, text: str) -> Text:
        """What ``tpl`` was given; where that came from is followed back a few times."""
        if not isinstance(text, Made):
            return cls(name, None, text)
        depth = 1 + max((part[1].depth for part in text.parts), default=0)
        return cls(name, None, text.plain, text.parts if depth <= _MOST_DEPTH else (), depth if depth <= _MOST_DEPTH else 0)

    @cached_property
    def line_starts(self) -> list[int]:
        """The offset behind each line break."""
        return [found.end() for found in re.finditer("\n", self.text)]

    @cached_property
    def _part_starts(self) -> list[int]:
        return _starts(self.parts)

    def line_and_column(self, at: int) -> tuple[int, int]:
        """Of an offset; both from 1, in characters."""
        line = bisect_right(self.line_starts, at)
        return line + 1, at - (self.line_starts[line - 1] if line else 0) + 1

    def place(self, at: int, *, has_column: bool) -> Location | None:
        """Where that was written; None where it stands in no file."""
        if self.file is not None:
            line, column = self.line_and_column(at)
            return Location(self.file, line, column if has_column else None)
        if not self.parts:
            return None
        index = bisect_right(self._part_starts, at) - 1
        return place_of_part(self.parts[index], at - self._part_starts[index])


Via: TypeAlias = "tuple[Via | None, Text, int]"
"""Who included whom: the one before, a text, and the offset in it of the call."""
Part: TypeAlias = tuple[str, Text, int, bool, "Via | None"]
"""A piece of printed text, the text and offset that printed it, whether it stands there letter by letter, and by way of what."""

Origin: TypeAlias = tuple[Text, int, bool, "Via | None"]
"""A part without its text."""


class Made(str):
    """Text that knows its parts."""

    parts: Sequence[Part]
    plain: str
    """The same without them: what functions are given."""

    @classmethod
    def of(cls, text: str, parts: Sequence[Part]) -> Made:
        """The text those parts are together."""
        made = cls(text)
        made.parts, made.plain = parts, text
        return made


def without_parts(value: object) -> object:
    """The value with plain text in it: what compares values by their types needs it."""
    if isinstance(value, Made):
        return value.plain
    if isinstance(value, list):
        return [without_parts(item) for item in value]
    if type(value) is dict:
        return {key: without_parts(item) for key, item in value.items()}
    return value


def place_of_part(part: Part, offset: int) -> Location:
    """Where the character at that offset of a part was written, and by way of what."""
    _, text, at, is_literal, via = part
    return _by_way_of(text.place(at + offset if is_literal else at, has_column=is_literal), via, has_column=False)


def place_of_action(text: Text, at: int, via: Via | None) -> Location:
    """Where an action stands, with its column, and by way of what."""
    return _by_way_of(text.place(at, has_column=True), via, has_column=True)


def _by_way_of(found: Location | None, via: Via | None, *, has_column: bool) -> Location:
    if found is not None and (via is None or via[0] is None):
        return found  # nothing called what was written there
    calls = list(_chain(via))
    while found is None and calls:
        text, at = calls.pop()
        found = text.place(at, has_column=has_column)
    if found is None:
        return Location(_TPL)
    outer = [place for text, at in calls if (place := text.place(at, has_column=False)) is not None]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(outer, found.by_way_of, strict=False)))
    return replace(found, by_way_of=(*outer, *found.by_way_of[shared:])) if outer else found


def _chain(via: Via | None) -> Iterator[tuple[Text, int]]:
    """Outermost first; what began the run is nobody's call."""
    found = []
    while via is not None:
        found.append(via[1:])
        via = via[0]
    return iter(found[-2::-1])


def _starts(parts: Sequence[Part]) -> list[int]:
    return list(accumulate((len(part[0]) for part in parts[:-1]), initial=0))


class Places:
    """Offsets of a printed text → where they were written."""

    def __init__(self, text: str, file: str, parts: Sequence[Part]) -> None:
        self._text = text
        self._file = file
        self._parts = parts
        self._part_starts = _starts(parts)
        self._line_starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def place_of(self, line: int, column: int | None = None) -> Location:
        """Of a line and column, from 1; without a column of the first letter of the line, or of the one before it if there is none."""
        index = min(line, len(self._line_starts)) - 1
        if index < 0 or not self._parts:
            return Location(self._file, 1)
        start = self._line_starts[index]
        if column is None:
            return self._place(self._first_letter(index))
        return self._place(min(start + column - 1, len(self._text) - 1))

    def _first_letter(self, index: int) -> int:
        end = self._line_starts[index + 1] if index + 1 < len(self._line_starts) else len(self._text)
        line = self._text[self._line_starts[index] : end]
        if line.strip():
            return end - len(line.lstrip())
        return max(len(self._text[:end].rstrip()) - 1, 0)

    def _place(self, at: int) -> Location:
        index = bisect_right(self._part_starts, at) - 1
        return place_of_part(self._parts[index], at - self._part_starts[index])


def traced(result: str, given: Sequence[Made], here: Origin) -> list[Part]:
    """The parts of what a function made ``here`` of such texts: lines that are still there keep their place; none where there is none."""
    return _found_again(result, [part for made in given for part in (*made.parts, _BREAK)], here)


_BREAK: Part = ("\n", Text("", None, ""), 0, False, None)
"""Two texts that a function is given share no line."""


def _found_again(result: str, parts: Sequence[Part], here: Origin) -> list[Part]:
    """The parts of a result: lines of it that hold a line of ``parts``, in their order, keep its place; empty where none is found."""
    sources = list(_lines(parts))
    where: dict[str, list[int]] = {}
    for number, (core, _) in enumerate(sources):
        where.setdefault(core, []).append(number)
    found: list[Part] = []
    following, is_any = 0, False
    for line in re.findall(r"[^\n]*\n|[^\n]+", result):
        same = where.get(line.strip(), ())
        index = bisect_left(same, following)
        number = same[index] if index < len(same) else following
        source = sources[number][0] if number < len(sources) else ""
        start = line.find(source) if index < len(same) or len(source) >= _SHORTEST_INSIDE else -1
        if start < 0:
            found.append((line, *here))
            continue
        is_any, following = True, number + 1
        end = start + len(source)
        found += [part for part in ((line[:start], *here), *sources[number][1], (line[end:], *here)) if part[0]]
    return found if is_any else []


def _lines(parts: Sequence[Part]) -> Iterator[tuple[str, list[Part]]]:
    """The lines that are not blank, without the blanks around them, and the parts they are made of."""
    pieces: list[Part] = []
    for text, *origin in parts:
        start = 0
        for piece in text.split("\n"):
            if start:
                yield from _line(pieces)
                pieces = []
            if piece:
                pieces.append(_cut((text, *origin), start, start + len(piece)))  # type: ignore[arg-type]
            start += len(piece) + 1
    yield from _line(pieces)


def _line(pieces: list[Part]) -> Iterator[tuple[str, list[Part]]]:
    while pieces and not pieces[0][0].strip():
        del pieces[0]
    while pieces and not pieces[-1][0].strip():
        pieces.pop()
    if pieces:
        first, last = pieces[0][0], pieces[-1][0]
        pieces[-1] = _cut(pieces[-1], 0, len(last.rstrip()))
        pieces[0] = _cut(pieces[0], len(first) - len(first.lstrip()), len(pieces[0][0]))
        yield "".join([piece[0] for piece in pieces]), pieces


def _cut(part: Part, start: int, end: int) -> Part:
    text, origin, at, is_literal, via = part
    return text[start:end], origin, at + start if is_literal else at, is_literal, via
