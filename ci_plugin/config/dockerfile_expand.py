"""Variable expansion in Dockerfiles: ``$X``, ``${X}``, ``${X:-word}``, ``${X:+word}``, ``${X:?word}``, quotes and escapes.

Follows the Dockerfile reference, "Environment replacement", with one difference: an unset variable is an error here, not the empty text,
because a FROM that silently lost a part names another image.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

Lookup: TypeAlias = Callable[[str], "str | None"]
"""Name → value, None where it is unset; raises NotKnown where the file alone cannot tell."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")
_MAX_NESTING = 50


class NotKnown(Exception):
    """A text cannot be expanded; ``name`` is the variable that stands in the way ("" for a malformed text)."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


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

    def run(self) -> str:
        return self._until("")

    def _until(self, stop: str, *, wanted: bool = True) -> str:
        """Expands up to ``stop`` (consumed) or the end; where not ``wanted`` variables are skipped over, never looked up."""
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise NotKnown("", "it nests too deep")
        result = ""
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == stop:
                self._depth -= 1
                return result
            result += self._one(character, wanted)
        if stop:
            raise NotKnown("", f"a closing {stop} is missing")
        self._depth -= 1
        return result

    def _one(self, character: str, wanted: bool) -> str:
        if character == "'":
            end = self._text.find("'", self._at)
            if end < 0:
                raise NotKnown("", "a closing ' is missing")
            quoted, self._at = self._text[self._at : end], end + 1
            return quoted
        if character == '"':
            return self._double_quoted(wanted)
        if character == "$":
            return self._dollar(wanted)
        if character == self._escape:
            escaped = self._text[self._at : self._at + 1]
            self._at += 1
            return escaped
        return character

    def _double_quoted(self, wanted: bool) -> str:
        result = ""
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == '"':
                return result
            if character == "$":
                result += self._dollar(wanted)
            elif character == self._escape and self._at < len(self._text):
                following = self._text[self._at]
                self._at += 1
                result += following if following in ('"', "$", self._escape) else character + following
            else:
                result += character
        raise NotKnown("", 'a closing " is missing')

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
        return value

    def _braced(self, wanted: bool) -> str:
        name = self._name()
        if not name:
            raise NotKnown("", "expected a name after ${")
        if self._text.startswith("}", self._at):
            self._at += 1
            return self._value(name, wanted)
        has_colon = self._text.startswith(":", self._at)
        self._at += has_colon
        operator = self._text[self._at : self._at + 1]
        self._at += 1
        if operator not in ("-", "+", "?"):
            raise NotKnown("", f"stagepin does not compute ${{{name}{':' if has_colon else ''}{operator}…}}")
        value = self._lookup(name) if wanted else None
        is_there = bool(value) if has_colon else value is not None
        word = self._until("}", wanted=wanted and (is_there if operator == "+" else not is_there))
        if operator == "+":
            return word if is_there else ""
        if is_there:
            return value or ""
        if operator == "?" and wanted:
            raise NotKnown(name, f"{name} is not set" + (f": {word[:100]}" if word else ""))
        return word
