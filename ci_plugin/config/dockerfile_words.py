"""Words of a Dockerfile's line: where each character of theirs stands, quotes, flags, exec form, the opening of a here-document."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TypeAlias

SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space as Go's ``unicode.IsSpace`` has it; Python's ``isspace`` takes more."""
ASCII_SPACES = "\t\v\f\r "
"""White space between an instruction's name, its flags and its words."""
_HEREDOC = re.compile(r"\d*<<(-?)( ?)([^<]+)")

Opening: TypeAlias = tuple[str, bool, bool]
"""A here-document's name, whether leading tabs go, and whether a blank stands before the name."""


@dataclass(frozen=True, slots=True)
class Word:
    """Text of a logical line; ``offsets[i]`` is where its i-th character stands in the file's text."""

    text: str
    offsets: tuple[int, ...]

    @property
    def start(self) -> int:
        """Offset of the first character; -1 for an empty word."""
        return self.offsets[0] if self.offsets else -1

    @property
    def end(self) -> int:
        """Offset after the last character."""
        return self.offsets[-1] + 1 if self.offsets else -1

    def part(self, start: int, end: int | None = None) -> Word:
        """The characters from ``start`` to ``end``."""
        return Word(self.text[start:end], self.offsets[start:end])

    def stripped(self) -> Word:
        """Without white space at both ends."""
        start = len(self.text) - len(self.text.lstrip(SPACES))
        return self.part(start, max(len(self.text.rstrip(SPACES)), start))

    def split(self) -> tuple[Word, ...]:
        """The words between ASCII white space; quotes mean nothing here."""
        return tuple(self.part(*match.span()) for match in re.finditer(rf"[^{ASCII_SPACES}]+", self.text))


def split_quoted(text: str, escape: str) -> list[str]:
    """Words between white space where quotes and the escape character bind; quotes are kept. An open quote ends with the text."""
    words: list[str] = []
    word, quote, index = "", "", 0
    while index < len(text):
        character = text[index]
        if not quote and character in SPACES:
            words += [word] if word else []
            word = ""
        elif character == escape and quote != "'" and index + 1 < len(text):
            word += text[index : index + 2]
            index += 1
        else:
            if quote == character:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            word += character
        index += 1
    return [*words, word] if word else words


def unquote(text: str, escape: str) -> str:
    """The text without its quotes and escapes."""
    plain, quote, index = "", "", 0
    while index < len(text):
        character = text[index]
        if character == escape and quote != "'" and index + 1 < len(text):
            index += 1
            plain += text[index]
        elif quote == character:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        else:
            plain += character
        index += 1
    return plain


def heredoc_openings(line: str) -> list[Opening]:
    """The here-documents a logical line opens: words of their own such as ``<<EOF``, ``3<<-"EOF"``, since Dockerfile 1.16 ``<< EOF``."""
    if not _quotes_close(line):
        return []
    found = []
    words = iter(split_quoted(line, "\\"))
    for word in words:
        match = _HEREDOC.fullmatch(f"{word} {next(words, '')}" if re.fullmatch(r"\d*<<", word) else word)
        if match and (name := unquote(match[3], "\\")):
            found.append((name, bool(match[1]), bool(match[2])))
    return found


def find_json_list(text: str) -> list[str] | None:
    """The texts of arguments in exec form (a JSON list), or None. What follows the list is ignored, as BuildKit does."""
    if not text.startswith("["):
        return None
    try:
        items, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        return None
    return [re.sub(r"[\ud800-\udfff]", "\ufffd", item) for item in items]  # as Go reads half of a pair


def _quotes_close(text: str) -> bool:
    quote, index = "", 0
    while index < len(text):
        character = text[index]
        if character == "\\" and quote != "'":
            index += 1
        elif quote == character:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        index += 1
    return not quote


def split_flags(line: Word, escape: str) -> tuple[tuple[Word, ...], Word]:
    """The builder flags (``--name=value``, unquoted) at the front, and the rest."""
    flags: list[Word] = []
    index = 0
    while line.text.startswith("--", index):
        kept, index = _flag_characters(line.text, index, escape)
        if len(kept) > 2 or not kept:
            flags.append(Word("".join(line.text[i] for i in kept), tuple(line.offsets[i] for i in kept)))
        while index < len(line.text) and line.text[index] in SPACES:
            index += 1
        if len(kept) == 2:
            break
    return tuple(flags), line.part(index).stripped()


def _flag_characters(text: str, index: int, escape: str) -> tuple[list[int], int]:
    """Indexes of the characters of one flag without quotes and escapes, and where it ends."""
    kept: list[int] = []
    quote = ""
    while index < len(text) and (quote or text[index] not in SPACES):
        character = text[index]
        if character == escape and index + 1 < len(text):
            index += 1
            kept.append(index)
        elif quote == character:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        else:
            kept.append(index)
        index += 1
    return kept, index
