"""Collects the errors of a configuration and its Dockerfiles, so that one run tells all of them, each once, in the order of the text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ci_plugin.errors import ConfigError, Location

MOST_TOLD = 50
"""Errors listed one by one; a template that goes wrong a thousand times says the same thing a thousand times."""


class Problems:
    """The ConfigErrors found so far, each once; files in the order they were first found wrong, in a file by line and column."""

    def __init__(self) -> None:
        self._errors: dict[tuple[object, ...], ConfigError] = {}

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Keep a ConfigError raised inside and go on."""
        try:
            yield
        except ConfigError as error:
            self.add(error)

    def add(self, error: ConfigError) -> None:
        """Keep an error, or each of those it tells of; a document that makes several images has it once."""
        for part in error.parts or (error,):
            self._errors.setdefault((part.message, part.hint, part.where), part)

    def add_all(self, errors: Iterable[ConfigError]) -> None:
        """Keep several."""
        for error in errors:
            self.add(error)

    def __iter__(self) -> Iterator[ConfigError]:
        return iter(self._sorted())

    def raise_first(self) -> None:
        """Raise the first error, naming the others; nothing where there is none."""
        if (told := self.find_error()) is not None:
            raise told

    def error_with(self, last: ConfigError) -> ConfigError:
        """One error that tells of all of them and of the one that ended the reading."""
        self.add(last)
        return self.find_error() or last

    def find_error(self) -> ConfigError | None:
        """One error that tells of all of them; None where there is none."""
        errors = self._sorted()
        if len(errors) < 2:
            return errors[0] if errors else None
        first, *others = errors
        listed = "\n".join(f"  {error.where}: {error.message}" + (f" ({error.hint})" if error.hint else "") for error in others[:MOST_TOLD])
        left = f"\n  and {len(others) - MOST_TOLD} more" if len(others) > MOST_TOLD else ""
        noun = "error" if len(others) == 1 else "errors"
        told = ConfigError(f"{first.message}\nand {len(others)} more {noun}:\n{listed}{left}", hint=first.hint, where=first.where)
        told.parts = (first, *others)
        return told

    def _sorted(self) -> list[ConfigError]:
        nowhere = Location("")
        places = [error.where or nowhere for error in self._errors.values()]
        ranks = {file: rank for rank, file in enumerate(dict.fromkeys(["", *(place.file for place in places)]))}

        def rank(error: ConfigError) -> tuple[int, int, int]:
            place = error.where or nowhere
            return ranks[place.file], place.line or 0, place.column or 0

        return sorted(self._errors.values(), key=rank)
