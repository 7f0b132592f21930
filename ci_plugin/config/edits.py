"""Edits of YAML text with templates in it, line by line, where a parsed key says it was written. What does not look as expected is noted.

An edit touches a key, a value or a line; whatever else stands in the line, a comment or a template, stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from ci_plugin.config.yaml_nodes import Node, ScalarNode
from ci_plugin.errors import Location

_TEMPLATE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_TEMPLATE_COMMENT = re.compile(r"\{\{(?:- )?\s*/\*")
_COMMENT = re.compile(r"(?:^|[ \t])#.*$")
_Change: TypeAlias = Callable[[str], "str | None"]
"""A line → the line it becomes, or None where that is not safe."""


class Edits:
    """The texts of some files and what becomes of their lines.

    ``notes`` are (kind, sentence, place); the kind is ``by-hand`` where an edit is not safe.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.texts = dict(texts)
        self.notes: list[tuple[str, str, Location]] = []
        self._lines = {file: text.splitlines(keepends=True) for file, text in texts.items()}
        self._after: dict[tuple[str, int], list[str]] = {}
        self._done: dict[tuple[str, int, str], str] = {}
        self._ends: dict[str, list[str]] = {}
        self._elsewhere: dict[tuple[str, str], list[tuple[str, Location]]] = {}
        """(Word, new word) → notes of keys that stand in a text another line includes."""

    def changed(self) -> dict[str, str]:
        """Path → new text, of files that are not what they were."""
        found = {file: self._text(file) for file in self.texts}
        return {file: text for file, text in found.items() if text != self.texts[file]}

    def has(self, where: Location) -> bool:
        """Whether something was edited or noted in that line."""
        return any((place.file, place.line) == (where.file, where.line) for _, _, place in self.notes)

    def rename(self, key: ScalarNode, to: str, note: str) -> None:
        """Another word for a key; the one place in the line where it stands as a key, else where ``rename_elsewhere`` finds it."""
        line = self._line(key)
        is_here = line is None or f"rename {key.text}" in self._words_done(key) or _renamed(line, key.text, to) is not None
        if is_here or "{{" not in (line or ""):
            self._edit(key, ("rename", to), note, "edited", lambda line: _renamed(line, key.text, to))
        else:
            self._elsewhere.setdefault((key.text, to), []).append((note, key.location))

    def rename_elsewhere(self, is_taken: Callable[[Location], bool]) -> None:
        """The keys whose line includes another text: renamed in lines that gave no rendered line of their own, or left to people."""
        for (word, to), notes in self._elsewhere.items():
            found = [
                (file, number, changed)
                for file, lines in self._lines.items()
                for number, line in enumerate(lines)
                if re.match(rf"\s*(?:- +)*{re.escape(word)}[ \t]*:", line) and not is_taken(Location(file, number + 1))
                if (changed := _renamed(line, word, to)) is not None
            ]
            for file, number, changed in found:
                self._lines[file][number] = changed
                self._note("edited", notes[0][0], Location(file, number + 1))
            for note, where in () if found else notes:
                self._note("by-hand", note, where)

    def value(self, key: ScalarNode, forms: Sequence[str], to: str, note: str, kind: str = "edited", *, is_must: bool = True) -> None:
        """Another value of a key that stands in one line and is exactly one of ``forms``; anything else is for people, if ``is_must``."""
        if not is_must and _with_value(self._line(key) or "", forms, to) is None:
            return
        self._edit(key, ("value", to), note, kind, lambda line: _with_value(line, forms, to))

    def remove(self, key: ScalarNode, value: Node, note: str, kind: str = "edited") -> None:
        """No such line any more, if it holds this key, a plain value and nothing else; a comment in it stays."""
        is_plain = isinstance(value, ScalarNode) and value.location.line == key.location.line
        self._edit(key, ("remove", ""), note, kind, lambda line: _removed(line, key.text) if is_plain else None)

    def insert_after(self, key: ScalarNode, value: Node, lines: Iterable[str]) -> None:
        """Lines below a key whose value is in its own line, as far in as the key."""
        line = self._line(key)
        spot = self._spot(key)
        # Renamed by now: what stands there is the new word.
        found = re.match(r"([ \t]*)[\w\"']+[ \t]*:", line or "")
        if line is None or spot is None or found is None or not _is_all_of(value, line[found.end() :]):
            self.by_hand(key, f"write below it: {', '.join(lines)}")
            return
        end = "\r\n" if line.endswith("\r\n") else "\n"
        self._after[spot] = [f"{found[1]}{text}{end}" for text in lines]

    def in_actions(self, file: str, call: re.Pattern[str], to: str, note: str) -> None:
        """What becomes of a call in the template actions of each line; comments stay."""
        for number, line in enumerate(self._lines[file]):
            changed = _TEMPLATE.sub(lambda found: found[0] if _TEMPLATE_COMMENT.match(found[0]) else call.sub(to, found[0]), line)
            if changed != line:
                self._lines[file][number] = changed
                self._note("edited", note, Location(file, number + 1))

    def by_hand(self, key: ScalarNode, note: str) -> None:
        """Something only people can do."""
        self._note("by-hand", note, key.location)

    def prepend(self, file: str, text: str) -> None:
        """Text before everything."""
        self._lines[file].insert(0, text)
        self._after = {((name, line + 1) if name == file else (name, line)): lines for (name, line), lines in self._after.items()}

    def append(self, file: str, text: str) -> None:
        """Text after everything."""
        self._ends.setdefault(file, []).append(text)

    def _edit(self, key: ScalarNode, what: tuple[str, str], note: str, kind: str, change: _Change) -> None:
        spot, line = self._spot(key), self._line(key)
        if spot is None or line is None:
            self.by_hand(key, note)
            return
        if self._done.get((*spot, f"{what[0]} {key.text}")) == what[1]:
            return  # a line that is rendered several times
        changed = change(line)
        if changed is None:
            self.by_hand(key, note)
            return
        self._done[(*spot, f"{what[0]} {key.text}")] = what[1]
        self._lines[spot[0]][spot[1]] = changed
        self._note(kind, note, key.location)

    def _words_done(self, key: ScalarNode) -> set[str]:
        return {what for file, line, what in self._done if (file, line) == self._spot(key)}

    def _note(self, kind: str, text: str, where: Location) -> None:
        note = (kind, text, Location(where.file, where.line))
        if note not in self.notes:
            self.notes.append(note)

    def _spot(self, key: ScalarNode) -> tuple[str, int] | None:
        where = key.location
        is_known = where.line is not None and 0 < where.line <= len(self._lines.get(where.file, ()))
        return (where.file, where.line - 1) if is_known and where.line else None

    def _line(self, key: ScalarNode) -> str | None:
        spot = self._spot(key)
        return None if spot is None else self._lines[spot[0]][spot[1]]

    def _text(self, file: str) -> str:
        found: list[str] = []
        for number, line in enumerate(self._lines[file]):
            inserted = self._after.get((file, number), ())
            found.append(line if not inserted or line.endswith("\n") else line + "\n")
            found += inserted
        return "".join((*found, *self._ends.get(file, ())))


def _is_all_of(value: Node, rest: str) -> bool:
    """Whether a value ends in the line it begins in, as far as the rest of that line tells; what a template printed is taken to."""
    if not isinstance(value, ScalarNode):
        return False
    written = _COMMENT.sub("", rest).strip()
    return "{{" in written or written.strip("\"'") == value.text


def _renamed(line: str, word: str, to: str) -> str | None:
    """Every ``word:`` outside templates, comments and quotes is a candidate; there has to be one."""
    hidden = _COMMENT.sub(lambda found: " " * len(found[0]), _TEMPLATE.sub(lambda found: " " * len(found[0]), line))
    found = list(re.finditer(rf"(?<![\w./-])([\"']?){re.escape(word)}\1(?=[ \t]*:(?:\s|$))", hidden))
    if len(found) != 1:
        return None
    start, end = found[0].span()
    return line[:start] + found[0][1] + to + found[0][1] + line[end:]


def _with_value(line: str, forms: Sequence[str], to: str) -> str | None:
    found = re.match(r"(\s*(?:- +)*[\"']?[\w]+[\"']?[ \t]*:)([ \t]*)(.*?)([ \t]*(?:[ \t]#.*)?)(\r?\n|$)", line)
    if found is None or found[3] not in forms:
        return None
    quote = found[3][:1] if found[3][:1] in ("'", '"') else ""
    return f"{found[1]}{found[2] or ' '}{quote}{to}{quote}{found[4]}{found[5]}"


def _removed(line: str, word: str) -> str | None:
    found = re.fullmatch(rf"([ \t]*){re.escape(word)}[ \t]*:[ \t]*[^\s#{{]+[ \t]*(#.*)?(\r?\n)?", line)
    if found is None:
        return None
    return f"{found[1]}{found[2]}{found[3] or ''}" if found[2] else ""
