"""Go template text → tokens, in one pass whose time is proportional to the text's length whatever stands in it.

Rules: https://pkg.go.dev/text/template/parse of Go 1.19. Every pattern here is possessive or decides by one character, so that none can
go back over what it has read; numbers have a longest length before anybody looks at their form.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

MAX_TOKENS = 150_000
_BLANKS = " \t\r\n"
_LONGEST_NUMBER = 100
"""Characters; the largest whole number of 64 bits has 66 in base 2."""
_KEYWORDS = frozenset(("block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"))
_TOKEN = re.compile(
    r"""
      (?P<open>\()
    | (?P<close>\))
    | (?P<pipe>\|)
    | (?P<declare>:=)
    | (?P<assign>=)
    | (?P<number>(?:[+-]|\.(?=[0-9])|[0-9])(?:(?<=[eEpP])[+-]|[\w.])*+(?:[+-][\w.]++)?+)
    | (?P<field>\.\w*+)
    | (?P<variable>\$\w*+)
    | (?P<word>\w++)
    | (?P<string>"(?:[^"\\\n]++|\\[^\n])*+")
    | (?P<raw>`[^`]*+`)
    | (?P<character>'(?:[^'\\\n]++|\\[^\n])*+')
    | (?P<other>[!#-&(-_a-~])
    """,
    re.VERBOSE,
)
_BLANK = re.compile(r"[ \t\r\n]*+")
_TERMINATOR = re.compile(r"[ \t\r\n.,|:()]|\}\}|\Z")
"""What ends a name, a field and a variable."""
_QUOTES = {'"': "quoted text", "`": "text in backquotes", "'": "a character"}
_INTEGER = re.compile(r"[+-]?(?:0[bB](?:_?[01])++|0[oO](?:_?[0-7])++|0[xX](?:_?[0-9a-fA-F])++|0(?:_?[0-7])*+|[1-9](?:_?[0-9])*+)")
_DIGITS = "[0-9](?:_?[0-9])*+"
_FLOAT = re.compile(rf"[+-]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?{_DIGITS})?")
_HEX_FLOAT = re.compile(rf"[+-]?0[xX](?=\.?[0-9a-fA-F_])[0-9a-fA-F_]*+(?:\.[0-9a-fA-F_]*+)?[pP][+-]?{_DIGITS}")
_COMPLEX = re.compile(r"([+-]?[^+-]*+(?:(?<=[eEpP])[+-][^+-]*+)?)([+-].*)i", re.DOTALL)
_ESCAPE = re.compile(r"""\\(?:([abfnrtv\\'"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))""", re.DOTALL)
_SIMPLE = dict(zip("abfnrtv\\", "\a\b\f\n\r\t\v\\", strict=True))


class Token(NamedTuple):
    """``kind`` is ``text``, ``{{``, ``}}``, ``end of text``, a keyword, or the name of a group of the pattern."""

    kind: str
    text: str
    at: int
    """Where it begins, in characters."""
    is_spaced: bool = False
    """Whether blanks stand before it."""


class NotATemplate(Exception):
    """What is wrong with a text, and where in it, in characters."""

    def __init__(self, message: str, at: int, hint: str = "check the braces and the function's name") -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.hint = hint


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a template, an ``end of text`` last. Raises NotATemplate."""
    for count, token in enumerate(_tokens(text), 1):
        if count > MAX_TOKENS:
            raise NotATemplate(f"expected a template of at most {MAX_TOKENS:,} tokens, found more", token.at, "split the configuration")
        yield token


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    while (start := text.find("{{", at)) >= 0:
        inside = start + 2
        is_trimming = text.startswith("-", inside) and text[inside + 1 : inside + 2] in _BLANKS and inside + 1 < len(text)
        before = text[at:start].rstrip(_BLANKS) if is_trimming else text[at:start]
        if before:
            yield Token("text", before, at)
        inside += 2 * is_trimming
        if text.startswith("/*", inside):
            at = _behind_comment(text, inside)
            continue
        yield Token("{{", "{{", start)
        at = yield from _action(text, inside)
    if at < len(text):
        yield Token("text", text[at:], at)
    yield Token("end of text", "", len(text))


def _behind_comment(text: str, start: int) -> int:
    end = text.find("*/", start + 2) + 2
    if end < start + 4:
        raise NotATemplate("expected `*/`, found a comment that does not end", start)
    if text.startswith("}}", end):
        return end + 2
    if text[end : end + 1] in _BLANKS and text.startswith("-}}", end + 1):
        return _behind_blanks(text, end + 4)
    raise NotATemplate("expected `}}` behind a comment, found something else", end, "a comment is an action of its own: {{/* … */}}")


def _behind_blanks(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


def _action(text: str, start: int) -> Generator[Token, None, int]:
    at, depth = start, 0
    while True:
        blank = _behind_blanks(text, at)
        is_spaced, is_trimming = blank > at, blank > at and text.startswith("-}}", blank)
        if is_trimming or text.startswith("}}", blank):
            if depth:
                raise NotATemplate("expected `)`, found `}}`", blank, "close every parenthesis in its own action")
            yield Token("}}", "}}", blank, is_spaced)
            return _behind_blanks(text, blank + 3) if is_trimming else blank + 2
        found = _TOKEN.match(text, blank)
        if found is None:
            raise _no_token(text, start, blank)
        at, kind, word = found.end(), str(found.lastgroup), found[0]
        if kind in ("field", "variable", "word"):
            kind = _named(text, kind, word, at)
        elif kind == "number" and (len(word) > _LONGEST_NUMBER or not _is_number(word)):
            raise NotATemplate(f"expected a number, found {word[:40]!r}", blank, "check this number; text needs quotes")
        depth += (kind == "open") - (kind == "close")
        if depth < 0:
            raise NotATemplate("expected no `)` without a `(`, found one", blank, "remove it, or open the parenthesis")
        yield Token(kind, word, blank, is_spaced)


def _named(text: str, kind: str, word: str, end: int) -> str:
    if not _TERMINATOR.match(text, end):
        raise NotATemplate(f"expected a blank after {word[:40]!r}, found {text[end : end + 1]!r}", end)
    if kind == "field":
        return kind if word != "." else "dot"
    return "bool" if word in ("true", "false") else word if word in _KEYWORDS else kind


def _no_token(text: str, start: int, at: int) -> NotATemplate:
    if at >= len(text):
        return NotATemplate("expected `}}`, found the end of the text", text.rfind("{{", 0, start), "close this action")
    found = text[at]
    if found in _QUOTES:
        return NotATemplate(f"expected the end of {_QUOTES[found]}, found none", at, f"close it with {found}")
    return NotATemplate(f"expected an action, found the character {found!r}", at)


def _is_number(word: str) -> bool:
    plain = word.removesuffix("i")
    if any(pattern.fullmatch(plain) for pattern in (_INTEGER, _FLOAT, _HEX_FLOAT)):
        return plain != word or _INTEGER.fullmatch(word) is not None or any(mark in word for mark in ".eEpP")
    both = _COMPLEX.fullmatch(word)
    return both is not None and _is_number(both[1]) and _is_number(both[2])


def number_of(token: Token) -> complex:
    """An int, a float or a complex number. Raises NotATemplate for one of more than 64 bits."""
    word = token.text.replace("_", "")
    both = _COMPLEX.fullmatch(word)
    if both and not _FLOAT.fullmatch(word[:-1]) and not _HEX_FLOAT.fullmatch(word[:-1]):
        return complex(_float(both[1], token), _float(both[2], token))
    if word.endswith("i"):
        return complex(0, _float(word[:-1], token))
    if not _INTEGER.fullmatch(word):
        return _float(word, token)
    sign, digits = -1 if word.startswith("-") else 1, word.lstrip("+-")
    number = sign * int(digits, 8 if digits.isdigit() and digits.startswith("0") else 0)
    if not -(1 << 63) <= number < 1 << 63:
        raise NotATemplate("expected a number of 64 bits, found a larger one", token.at, "write it as text")
    return number


def _float(word: str, token: Token) -> float:
    try:
        number = float.fromhex(word) if "x" in word.lower() else float(word)
    except (OverflowError, ValueError):
        number = math.inf
    if not math.isfinite(number):
        raise NotATemplate(f"expected a number, found {token.text[:40]!r}", token.at, "check this number; text needs quotes")
    return number


def text_of(token: Token) -> str:
    """What a quoted text or character means. Raises NotATemplate for an escape that Go does not know."""
    if token.kind == "raw":
        return token.text[1:-1].replace("\r", "")
    return _ESCAPE.sub(lambda found: _unescaped(found, token), token.text[1:-1]) if "\\" in token.text else token.text[1:-1]


def _unescaped(found: re.Match[str], token: Token) -> str:
    if found[1]:
        if found[1] in _SIMPLE:
            return _SIMPLE[found[1]]
        if found[1] == token.text[0]:
            return found[1]
    else:
        code = int(found[2], 8) if found[2] else int(found[3] or found[4] or found[5] or "-1", 16)
        if 0 <= code <= (0xFF if found[2] else 0x10FFFF) and not 0xD800 <= code <= 0xDFFF:
            return chr(code)
    raise NotATemplate(
        f"expected an escape that Go knows, found {found[0][:12]!r}", token.at, r"write \\ for a backslash, or use backquotes"
    )
