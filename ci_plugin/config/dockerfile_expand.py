"""Variable expansion in Dockerfiles: ``$X``, ``${X}``, ``${X:-word}`` and the other forms, quotes and escapes.

The forms: ``-`` ``+`` ``?``, each with and without a colon; ``#`` ``##`` ``%`` ``%%`` and ``/`` ``//`` with a pattern. Follows the
Dockerfile reference, "Environment replacement", and BuildKit's ``shell`` package, with two differences: an unset variable is an error here,
not the empty text, because a FROM that silently lost a part names another image; and a word that is not taken is not looked into. A result
is at most 64 Ki characters: variables that hold each other twice would otherwise double with every line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from ci_plugin.config.dockerfile_pattern import replaced, without_prefix, without_suffix

Lookup: TypeAlias = Callable[[str], "str | None"]
"""Name → value, None where it is unset; raises NotKnown where the file alone cannot tell."""

_NAME = re.compile(r"(?:[^\W\d]|_)\w*|[0-9]+|[@*#?$!-]")
_MAX_NESTING = 50
_MAX_RESULT = 1 << 16


class NotKnown(Exception):
    """A text cannot be expanded; ``name`` is the variable that stands in the way ("" for a malformed text).

    ``is_open``: something in the text itself does not close, which no value of a variable mends.
    """

    def __init__(self, name: str, reason: str, *, is_open: bool = False) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason
        self.is_open = is_open


def expand(text: str, lookup: Lookup, escape: str = "\\") -> str:
    """The expanded text without its quotes. Raises NotKnown."""
    return _Expansion(text, lookup, escape).run()


class _Expansion:
    def __init__(self, text: str, lookup: Lookup, escape: str) -> None:
        self._text = text
        self._lookup = lookup
        self._escape = escape
        self._at = 0
        self._depth = 0
        self._size = 0
        self._keeps_escapes = False
        """Whether the escape character stays in the result: in a pattern, which has escapes of its own."""

    def run(self) -> str:
        return self._until("")

    def _until(self, stop: str, *, wanted: bool = True, keeps_escapes: bool = False) -> str:
        """Expands up to ``stop`` (consumed) or the end; where not ``wanted`` variables are skipped over, never looked up."""
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise NotKnown("", "it nests too deep")
        before, self._keeps_escapes = self._keeps_escapes, keeps_escapes
        parts: list[str] = []
        while self._at < len(self._text):
            character = self._take()
            if character == stop:
                break
            parts.append(self._one(character, wanted))
        else:
            if stop:
                raise NotKnown("", f"a closing {stop} is missing", is_open=True)
        self._depth -= 1
        self._keeps_escapes = before
        return "".join(parts)

    def _take(self) -> str:
        self._at += 1
        return self._text[self._at - 1 : self._at]

    def _one(self, character: str, wanted: bool) -> str:
        if character == "'":
            end = self._text.find("'", self._at)
            if end < 0:
                raise NotKnown("", "a closing ' is missing", is_open=True)
            quoted, self._at = self._text[self._at : end], end + 1
            return quoted
        if character == '"':
            return self._double_quoted(wanted)
        if character == "$":
            return self._dollar(wanted)
        if character == self._escape:
            return (character if self._keeps_escapes else "") + self._take()
        return character

    def _double_quoted(self, wanted: bool) -> str:
        parts: list[str] = []
        while self._at < len(self._text):
            character = self._take()
            if character == '"':
                return "".join(parts)
            if character == "$":
                parts.append(self._dollar(wanted))
            elif character == self._escape and self._at < len(self._text):
                following = self._text[self._at]
                if following in ('"', "$", self._escape):
                    character = self._take()
                parts.append(self._escape + character if self._keeps_escapes else character)
            else:
                parts.append(character)
        raise NotKnown("", 'a closing " is missing', is_open=True)

    def _dollar(self, wanted: bool) -> str:
        if self._text.startswith("{", self._at):
            self._at += 1
            return self._braced(wanted)
        name = self._name()
        if not name:
            return "$"
        return self._value(name, wanted)

    def _name(self) -> str:
        match = _NAME.match(self._text, self._at)
        if not match:
            return ""
        self._at = match.end()
        return match[0]

    def _value(self, name: str, wanted: bool) -> str:
        if not wanted:
            return ""
        value = self._lookup(name)
        if value is None:
            raise NotKnown(name, f"{name} is not set")
        return self._bounded(value)

    def _bounded(self, value: str) -> str:
        self._size += len(value)
        if self._size > _MAX_RESULT:
            raise NotKnown("", f"it grows beyond {_MAX_RESULT} characters")
        return value

    def _braced(self, wanted: bool) -> str:
        name = self._name()
        if not name:
            raise NotKnown("", "expected a name after ${")
        operator = self._take()
        if operator == "}":
            return self._value(name, wanted)
        if operator in ("#", "%"):
            return self._trimmed(name, operator, wanted)
        if operator == "/":
            return self._replaced(name, wanted)
        has_colon = operator == ":"
        if has_colon:
            operator = self._take()
        if operator not in ("-", "+", "?"):
            raise NotKnown("", f"stagepin does not compute ${{{name}{':' if has_colon else ''}{operator}…}}")
        return self._chosen(name, operator, has_colon, wanted)

    def _chosen(self, name: str, operator: str, has_colon: bool, wanted: bool) -> str:
        """``-``, ``+`` and ``?``: the value or the word; only the one that is taken is looked up."""
        value = self._lookup(name) if wanted else None
        is_there = bool(value) if has_colon else value is not None
        word = self._until("}", wanted=wanted and (is_there if operator == "+" else not is_there))
        if operator == "+":
            return word if is_there else ""
        if is_there:
            return self._bounded(value or "")
        if operator == "?" and wanted:
            raise NotKnown(name, f"{name} is not set" + (f": {word[:100]}" if word else ""))
        return word

    def _trimmed(self, name: str, operator: str, wanted: bool) -> str:
        pattern = self._until("}", wanted=wanted, keeps_escapes=True)
        longest = pattern.startswith(operator)
        trim = without_prefix if operator == "#" else without_suffix
        return self._matched(name, wanted, lambda value: trim(value, pattern.removeprefix(operator), longest=longest))

    def _replaced(self, name: str, wanted: bool) -> str:
        everywhere = self._text.startswith("/", self._at)
        self._at += everywhere
        pattern = self._until("/", wanted=wanted, keeps_escapes=True)
        new = self._until("}", wanted=wanted, keeps_escapes=True)
        if everywhere and "$" in new:
            raise NotKnown("", f"stagepin does not compute ${{{name}//…/…}} with a $ in what is put there")
        return self._matched(name, wanted, lambda value: replaced(value, pattern, new, everywhere=everywhere))

    def _matched(self, name: str, wanted: bool, change: Callable[[str], str]) -> str:
        value = self._value(name, wanted)
        try:
            return self._bounded(change(value)) if wanted else ""
        except ValueError as error:
            raise NotKnown("", f"stagepin does not compute {error}") from None
