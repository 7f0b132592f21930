"""Which committed files a build context holds (``.dockerignore``) and which of them a COPY reads.

Rules of matching: Docker's documentation of ``.dockerignore`` and moby's ``patternmatcher`` (later lines win, ``!`` takes back, ``**``
crosses directories, a match of a directory takes everything below), and Go's ``filepath.Match`` for COPY sources.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ci_plugin.config.path_pattern import PathPattern, parse_pattern
from ci_plugin.errors import ConfigError, Location


@dataclass(frozen=True, slots=True)
class Dockerignore:
    """The rules of one file, in order; ``True`` for a line that takes back (``!``)."""

    rules: tuple[tuple[bool, PathPattern], ...] = ()

    def excludes(self, path: str) -> bool:
        """Whether this POSIX path, relative to the context, stays out of the context."""
        is_out = False
        directory = posixpath.dirname(path)
        for takes_back, pattern in self.rules:
            if is_out is takes_back and (pattern.matches(path) or _matches_above(pattern, directory)):
                is_out = not takes_back
        return is_out


def parse_dockerignore(text: str, file: str = ".dockerignore") -> Dockerignore:
    """The rules of a ``.dockerignore``; blank lines and lines that begin with ``#`` are none.

    Raises ConfigError with the line for a pattern that is none, where Docker refuses the whole file, too.
    """
    rules = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        written = line.strip()
        if line.startswith("#") or not written:
            continue
        try:
            rules.append(_parse_rule(written))
        except ValueError as error:
            hint = "write a backslash before *, ?, [ or \\ that is meant as it is, and / between directories"
            raise ConfigError(f"{error} in {written[:100]!r}", hint=hint, where=Location(file, number)) from None
    return Dockerignore(tuple(rules))


def _parse_rule(written: str) -> tuple[bool, PathPattern]:
    """Whether it takes back, and the pattern, which stands for the same below the context whether or not it begins with a slash."""
    mark = written[: written.startswith("!")]
    rest = written[len(mark) :].strip()
    text = (mark + posixpath.normpath(rest).lstrip("/")).strip() if rest else mark
    takes_back = text.startswith("!")
    pattern = text[takes_back:]
    if not pattern and not takes_back:
        pattern = "/"  # the context itself: no path
    if not pattern or "\0" in pattern:
        raise ValueError(f"expected a pattern, found {'a NUL byte' if pattern else 'none'}")
    return takes_back, parse_pattern(pattern, is_strict=True)


def find_dockerignore(dockerfile: str, context: str) -> tuple[str, ...]:
    """Where the rules may stand, best first: beside the Dockerfile with its name, then in the context's root."""
    return f"{dockerfile}.dockerignore", posixpath.normpath(posixpath.join(context, ".dockerignore"))


def select(paths: Iterable[str], patterns: Sequence[str]) -> tuple[str, ...]:
    """The paths that COPY sources may read, in their order; a pattern that matches a directory takes everything below it.

    To COPY, ``**`` is ``*``; to COPY --parents it crosses directories. Both are taken.
    """
    sources = [source for pattern in patterns if (source := _source(pattern)) is not None]
    return tuple(path for path in paths if any(_takes(source, path) for source in sources))


def find_followed_link(links: Iterable[str], patterns: Sequence[str]) -> str | None:
    """The first of these links that a COPY source names or leads through, so that it reads what the link points to; or None.

    A link further down in a directory that is copied is copied as a link.
    """
    heads = [head for pattern in patterns for head in _ancestors(_clean(pattern))]
    sources = [source for head in heads if (source := _source(head)) is not None]
    return next((link for link in links if any(source.matches(link) for source in sources)), None)


def match_any(pattern: str, path: str, *, below: bool = False) -> bool:
    """Whether a ``filepath.Match`` pattern (with ``**`` across directories) matches the path or, with ``below``, a directory above it."""
    clean = _clean(pattern)
    if not clean:
        return below
    found = _source(clean)
    return found is not None and (found.matches(path) or (below and _matches_above(found, posixpath.dirname(path))))


def _clean(pattern: str) -> str:
    return posixpath.normpath("/" + pattern).lstrip("/")


@lru_cache(maxsize=4096)
def _source(pattern: str) -> PathPattern | None:
    """A COPY source as a pattern; None for one that is malformed and so matches nothing."""
    try:
        return parse_pattern(_clean(pattern))
    except ValueError:
        return None


def _takes(source: PathPattern, path: str) -> bool:
    return source.is_everything or source.matches(path) or _matches_above(source, posixpath.dirname(path))


@lru_cache(maxsize=1 << 16)
def _matches_above(pattern: PathPattern, directory: str) -> bool:
    """Whether the pattern matches a directory or one above it; kept, because many files lie in one directory."""
    return bool(directory) and pattern.matches_above(directory)


def _ancestors(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
