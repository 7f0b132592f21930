"""Dockerfile text → instructions that know where every character of theirs stands in the file.

Follows BuildKit's parser (documentation "Dockerfile reference": parser directives, escape, comments in continuations, here-documents,
builder flags). It keeps to the text: nothing is expanded, no meaning is given to arguments; see ``dockerfile.py`` for that.
"""

from __future__ import annotations

import difflib
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ci_plugin.config.dockerfile_words import ASCII_SPACES, SPACES, Opening, Word, find_json_list, heredoc_openings, split_flags
from ci_plugin.config.problems import Problems
from ci_plugin.errors import ConfigError, Location

_EARLY = ("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL")
INSTRUCTIONS = frozenset((*_EARLY, "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"))
_DIRECTIVE = re.compile(rf"[{SPACES}]*([a-zA-Z][a-zA-Z0-9]*)[\t\f\r ]*=[\t\f\r ]*(?=[^\n])")
_MOST_INSTRUCTIONS, _MOST_FLAGS = 10_000, 1000
_NO_TRIGGER = frozenset(("FROM", "MAINTAINER", "ONBUILD"))
_TAKES_HEREDOC = frozenset(("ADD", "COPY", "RUN"))


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: its name and its lines."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; ``trigger`` is the instruction inside an ONBUILD."""

    name: str
    flags: tuple[Word, ...]
    arguments: Word
    location: Location
    start: int
    heredocs: tuple[Heredoc, ...] = ()
    trigger: Instruction | None = None

    def find_flag(self, name: str) -> Word | None:
        """The value of ``--name=value``, or None where it is absent or empty. Raises ConfigError for two of them, as BuildKit does."""
        prefix = f"--{name}="
        flags = [flag for flag in self.flags if flag.text.startswith(prefix)]
        if len(flags) > 1:
            message = f"expected one --{name} in {self.name}, found {len(flags)}"
            raise ConfigError(message, hint="keep one of them", where=self.location)
        return flags[0].part(len(prefix)) if flags and flags[0].text != prefix else None


@dataclass(frozen=True, slots=True)
class Scan:
    """A whole file: its text, the parser directives at its top and its instructions."""

    text: str
    file: str
    escape: str
    directives: dict[str, Word]
    instructions: tuple[Instruction, ...]
    line_starts: tuple[int, ...]

    def locate(self, offset: int) -> Location:
        """File, line and column of a character."""
        line = bisect_right(self.line_starts, offset)
        return _location(self.file, self.text, line, self.line_starts[line - 1], offset)


def _location(file: str, text: str, line: int, start: int, offset: int) -> Location:
    """``start`` is where the line begins; a byte order mark is no column of its own."""
    return Location(file, line, max(offset - start - (line == 1 and text.startswith("\ufeff")), 0) + 1)


def scan(text: str, file: str, problems: Problems | None = None) -> Scan:
    """The instructions of a Dockerfile. Raises ConfigError with the place.

    With ``problems``, lines that are no instruction are collected there and left out.
    """
    collected = Problems() if problems is None else problems
    found = _Scanner(text, file, collected).scan()
    if problems is None:
        collected.raise_first()
    return found


class _Scanner:
    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self._text = text
        self._file = file
        self._problems = problems
        self._escape = "\\"
        self._lines = [(match.start(), match[0]) for match in re.finditer(r"[^\n]*\n|[^\n]+", text)]
        self._next = 0
        self._by_text: dict[bool, dict[str, list[int]]] = {}

    def scan(self) -> Scan:
        directives = self._directives("#")
        if "syntax" not in directives:
            self._refuse_foreign()
        # BuildKit looks below a first line `#!` for the syntax and for nothing else.
        if "escape" in directives and not self._has_shebang():
            self._escape = self._read_escape(directives["escape"])
        instructions = tuple(islice(self._instructions(), _MOST_INSTRUCTIONS + 1))
        if len(instructions) > _MOST_INSTRUCTIONS:
            message = f"expected at most {_MOST_INSTRUCTIONS} instructions, found more"
            raise ConfigError(message, hint="is this the right file?", where=instructions[-1].location)
        starts = tuple(start for start, _ in self._lines) or (0,)
        return Scan(self._text, self._file, self._escape, directives, instructions, starts)

    def _where(self, line: int, offset: int = 0) -> Location:
        return _location(self._file, self._text, line, self._lines[line - 1][0] if self._lines else 0, offset)

    def _has_shebang(self) -> bool:
        return self._text.removeprefix("\ufeff").startswith("#!")

    def _directives(self, comment: str) -> dict[str, Word]:
        """The parser directives; the first line that is none ends them, a directive nobody knows included."""
        found: dict[str, Word] = {}
        for index, (start, line) in enumerate(self._lines):
            if index == 0 and self._has_shebang():
                continue
            skipped = len(comment) + (index == 0 and line.startswith("\ufeff"))
            match = _DIRECTIVE.match(line, skipped) if line.startswith(comment, skipped - len(comment)) else None
            if not match or match[1].lower() not in ("syntax", "escape", "check"):
                break
            name = match[1].lower()
            if name in found:
                message = f"expected one `{comment} {name}=` line, found another"
                raise ConfigError(message, hint="remove one of the two", where=self._where(index + 1))
            value = line[match.end() :].rstrip("\t\n\f\r ")
            if not value:
                message = f"expected a value after `{comment} {name}=`, found none"
                raise ConfigError(message, hint="remove the line, or say what is meant", where=self._where(index + 1))
            found[name] = Word(value, tuple(range(start + match.end(), start + match.end() + len(value))))
        return found

    def _refuse_foreign(self) -> None:
        """Texts that name the image that builds them in the two ways that are no Dockerfile's: what they refer to, it alone knows."""
        word = self._directives("//").get("syntax")
        name = word.text if word else _find_json_syntax(self._text)
        if name is not None:
            message = f"expected a Dockerfile, found a text for the build frontend {name[:100]!r}, whose references nobody else can tell"
            raise ConfigError(message, hint="write `# syntax=` and Dockerfile instructions", where=self._where(1))

    def _read_escape(self, word: Word) -> str:
        if word.text not in ("\\", "`"):
            message = f"expected `# escape=` with a backslash or a backtick, found {word.text[:50]!r}"
            line = self._text.count("\n", 0, word.start) + 1
            raise ConfigError(message, hint="use one of the two", where=self._where(line, word.start))
        return word.text

    def _instructions(self) -> Iterator[Instruction]:
        is_known = True
        while self._next < len(self._lines):
            number = self._next + 1
            line = self._logical_line()
            if not line.text:
                continue
            try:
                instruction = self._instruction(line, self._where(number, line.start))
            except ConfigError as error:
                # What follows a line that is no instruction, and resembles none, is most likely more of the same.
                if is_known or "did you mean" in error.hint:
                    self._problems.add(error)
                is_known = False
                continue
            is_known = True
            yield self._with_heredocs(instruction, line.text)

    def _logical_line(self) -> Word:
        """The next line with its continuations; comments and empty lines inside one are left out."""
        text = ""
        offsets: list[int] = []
        is_first = True
        while self._next < len(self._lines):
            start, raw = self._lines[self._next]
            self._next += 1
            if self._next == 1 and raw.startswith("\ufeff"):
                start, raw = start + 1, raw[1:]
            line = raw.rstrip("\r\n")
            bare = line.lstrip(SPACES)
            if bare.startswith("#"):
                if is_first:
                    break
                continue
            if not is_first and not bare:
                continue
            if is_first:
                start, line = start + len(line) - len(bare), bare
            line, continues = self._without_continuation(line)
            text += line
            offsets += range(start, start + len(line))
            is_first = False
            if not continues:
                break
        return Word(text, tuple(offsets)).stripped()

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        stripped = line.rstrip("\t ")
        if not stripped.endswith(self._escape) or stripped.endswith(self._escape * 2):
            return line, False
        return stripped[:-1], True

    def _instruction(self, line: Word, where: Location) -> Instruction:
        match = re.match(r"[^\t\v\f\r ]+", line.text)
        name = match[0].upper() if match else ""
        if name not in INSTRUCTIONS:
            near = difflib.get_close_matches(name, INSTRUCTIONS, 1)
            hint = f"did you mean {near[0]}?" if near else "does the line before it need a continuation?"
            raise ConfigError(f"expected a Dockerfile instruction, found {line.text[:50]!r}", hint=hint, where=where)
        rest = line.part(len(name))
        flags, arguments = split_flags(rest.part(len(rest.text) - len(rest.text.lstrip(ASCII_SPACES))), self._escape)
        if len(flags) > _MOST_FLAGS:
            raise ConfigError(f"expected at most {_MOST_FLAGS} flags, found {len(flags)}", hint="is this the right file?", where=where)
        trigger = self._trigger(arguments, where) if name == "ONBUILD" and arguments.text else None
        return Instruction(name, flags, arguments, where, line.start, trigger=trigger)

    def _trigger(self, line: Word, where: Location) -> Instruction:
        name = line.text[:20].split(maxsplit=1)[0].upper()
        if name in _NO_TRIGGER:
            message = f"expected an instruction after ONBUILD that may be a trigger, found {name}"
            raise ConfigError(message, hint=f"{', '.join(sorted(_NO_TRIGGER))} may not", where=where)
        return self._instruction(line, where)

    def _with_heredocs(self, instruction: Instruction, line: str) -> Instruction:
        inner = instruction.trigger or instruction
        if inner.name not in _TAKES_HEREDOC or "<<" not in line or find_json_list(inner.arguments.text) is not None:
            return instruction
        found = (self._heredoc(opening, instruction.location) for opening in heredoc_openings(line))
        heredocs = tuple(heredoc for heredoc in found if heredoc is not None)
        if not heredocs:
            return instruction
        outer = Instruction(inner.name, inner.flags, inner.arguments, inner.location, inner.start, heredocs)
        if instruction.trigger is None:
            return outer
        return Instruction(instruction.name, instruction.flags, instruction.arguments, instruction.location, instruction.start, (), outer)

    def _heredoc(self, opening: Opening, where: Location) -> Heredoc | None:
        name, chomp, is_spaced = opening
        found = self._lines_of(chomp).get(name, [])
        position = bisect_left(found, self._next)
        if position < len(found):
            content = "".join(line for _, line in self._lines[self._next : found[position]])
            self._next = found[position] + 1
            return Heredoc(name, content)
        if is_spaced:  # `$((1 << 2))` is no here-document to most builders, and the newest refuse it
            return None
        message = f"expected the here-document to end with a line {name[:50]!r}, found the end of the file"
        raise ConfigError(message, hint="add it", where=where)

    def _lines_of(self, chomp: bool) -> dict[str, list[int]]:
        """The numbers of the lines of each text, without its leading tabs where they go: no file is read once for each of its lines."""
        if chomp not in self._by_text:
            by_text = self._by_text.setdefault(chomp, {})
            for number, (_, line) in enumerate(self._lines):
                ending = line.rstrip("\r\n")
                by_text.setdefault(ending.lstrip("\t") if chomp else ending, []).append(number)
        return self._by_text[chomp]


def _find_json_syntax(text: str) -> str | None:
    if not text.lstrip("\ufeff").lstrip().startswith("{"):
        return None
    try:
        document = json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        return None
    syntax = document.get("syntax")
    return syntax if isinstance(syntax, str) else None
