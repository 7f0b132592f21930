"""Which committed files a build context holds (``.dockerignore``) and which of them a COPY reads.

Rules of matching: Docker's documentation of ``.dockerignore`` (later lines win, ``!`` takes back, ``**`` crosses directories, a match of a
directory takes everything below) and Go's ``filepath.Match`` for COPY sources.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Dockerignore:
    """The rules of one file, in order; ``True`` for a line that takes back (``!``)."""

    rules: tuple[tuple[bool, str], ...] = ()

    def excludes(self, path: str) -> bool:
        """Whether this POSIX path, relative to the context, stays out of the context."""
        is_out = False
        for takes_back, pattern in self.rules:
            if is_out is takes_back and _ignored_by(pattern, path):
                is_out = not takes_back
        return is_out


def parse_dockerignore(text: str) -> Dockerignore:
    """The rules of a ``.dockerignore``; blank lines and lines that begin with ``#`` are none."""
    rules = []
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        takes_back = pattern.startswith("!")
        pattern = pattern.removeprefix("!").strip() if takes_back else pattern
        if pattern:
            pattern = posixpath.normpath(pattern).lstrip("/")
            rules.append((takes_back, pattern))
    return Dockerignore(tuple(rules))


def find_dockerignore(dockerfile: str, context: str) -> tuple[str, ...]:
    """Where the rules may stand, best first: beside the Dockerfile with its name, then in the context's root."""
    return f"{dockerfile}.dockerignore", posixpath.normpath(posixpath.join(context, ".dockerignore"))


def select(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that COPY sources read, in their order; a pattern that matches a directory takes everything below it."""
    return tuple(path for path in paths if any(match_any(pattern, path, below=True) for pattern in patterns))


def match_any(pattern: str, path: str, *, below: bool = False) -> bool:
    """Whether a ``filepath.Match`` pattern (with ``**`` across directories) matches the path or, with ``below``, a directory above it."""
    clean = posixpath.normpath("/" + pattern).lstrip("/")
    if not clean:
        return below
    regex = _compile(clean)
    return regex is not None and any(regex.fullmatch(part) for part in (_ancestors(path) if below else (path,)))


def _ignored_by(pattern: str, path: str) -> bool:
    regex = _compile(pattern)
    return regex is not None and any(regex.fullmatch(part) for part in _ancestors(path))


def _ancestors(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(len(parts), 0, -1))


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str] | None:
    """The pattern as a regular expression, or None where it is malformed and so matches nothing."""
    regex, index = "", 0
    while index < len(pattern):
        part, index = _translate(pattern, index)
        regex += part
    try:
        return re.compile(regex, re.DOTALL)
    except re.error:
        return None


def _translate(pattern: str, index: int) -> tuple[str, int]:
    character = pattern[index]
    if pattern.startswith("**", index):
        end = index + 2
        if end == len(pattern):
            return ".*", end
        return "(?:.*/)?", end + 1 if pattern[end] == "/" else end
    if character == "*":
        return "[^/]*", index + 1
    if character == "?":
        return "[^/]", index + 1
    if character == "\\" and index + 1 < len(pattern):
        return re.escape(pattern[index + 1]), index + 2
    if character == "[":
        return _translate_class(pattern, index)
    return re.escape(character), index + 1


def _translate_class(pattern: str, start: int) -> tuple[str, int]:
    """``[abc]``, ``[a-z]``, ``[^a]`` with the backslash as the escape; unclosed or a range without an end: a text no path holds."""
    index = start + 1
    negated = pattern.startswith("^", index)
    index += negated
    body = ""
    while index < len(pattern) and (pattern[index] != "]" or not body):
        low, index = _class_character(pattern, index)
        body += low
        if pattern.startswith("-", index):
            high, index = _class_character(pattern, index + 1)
            body += "-" + high
    if index >= len(pattern):
        return "(?!)", len(pattern)
    return f"[^/{body}]" if negated else f"[{body}]", index + 1


def _class_character(pattern: str, index: int) -> tuple[str, int]:
    index += pattern.startswith("\\", index) and index + 1 < len(pattern)
    return re.escape(pattern[index : index + 1]), index + 1
