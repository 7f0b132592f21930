"""How the story looks: headings, numbered steps, what each side's job came to; lines of at most 100 columns.

Text from jobs is made neutral here. Where the output's encoding lacks a character, the whole story keeps to ASCII.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from ci_plugin.reports.neutral import neutral

WIDTH = 100
_ASCII: dict[str, str | int | None] = {"✓": "+", "✗": "x", "…": ".."}
_SIDE_WIDTH, _JOB_WIDTH = 8, 13
_INDENT = " " * 6
_NAME_OF_A_BASE = re.compile(r"\bbase (?=\d)")
_COLUMN = " " * (len(_INDENT) + _SIDE_WIDTH + 2 + _JOB_WIDTH)


class Teller:
    """Prints the story line by line through ``say``; ``encoding`` is what the reader's stream can show."""

    def __init__(self, say: Callable[[str], None], encoding: str = "utf-8") -> None:
        self._say = say
        self._ascii = not _can_show("".join(_ASCII), encoding)
        self._step = 0

    def text(self, *paragraphs: str, indent: str = "") -> None:
        """Paragraphs, wrapped."""
        for paragraph in paragraphs:
            self._wrapped(paragraph, indent, indent)

    def verbatim(self, *lines: str) -> None:
        """Lines as they are: paths and commands are not broken."""
        for line in lines:
            self._line(line)

    def heading(self, title: str) -> None:
        """A blank line, a title, and a rule under it."""
        self.verbatim("", title, "-" * len(title))

    def step(self, text: str) -> None:
        """The next thing that happens, numbered through the whole story."""
        self._step += 1
        self._wrapped(text, f"{self._step:4}. ", _INDENT)

    def outcome(self, side: str, job: str, text: str, *, good: bool) -> None:
        """What became of a job on one side, the one without or the one with stagepin."""
        self._wrapped(text, f"{_INDENT}{side:{_SIDE_WIDTH}}{'✓' if good else '✗'} {job:{_JOB_WIDTH}}", _COLUMN)

    def quote(self, line: str) -> None:
        """One line that the job above printed, shortened where it is too wide."""
        room = WIDTH - len(_COLUMN) - 2
        line = neutral(line)
        self._line(f"{_COLUMN}| {line if len(line) <= room else line[: room - 1] + '…'}")

    def _wrapped(self, text: str, first: str, others: str) -> None:
        whole = _NAME_OF_A_BASE.sub("base\N{NO-BREAK SPACE}", text)
        lines = textwrap.wrap(whole, WIDTH, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False)
        for line in lines:
            self._line(line.replace("\N{NO-BREAK SPACE}", " "))

    def _line(self, line: str) -> None:
        if self._ascii:
            line = line.translate(str.maketrans(_ASCII))
        self._say(line)


def short(digest: str) -> str:
    """``sha256:ab12cd34…`` for people; what is no digest stays as it is."""
    algorithm, colon, value = digest.partition(":")
    return f"{algorithm}:{value[:8]}…" if colon and len(value) > 8 else digest


def short_image(reference: str) -> str:
    """``app@sha256:ab12cd34…`` or ``app:tag``: the last part of the name is enough where all are in one registry."""
    last = reference.rpartition("/")[2]
    name, at, digest = last.partition("@")
    return f"{name}@{short(digest)}" if at else last


def _can_show(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
