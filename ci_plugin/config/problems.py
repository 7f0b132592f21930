"""Collects the errors of a file, so that one run tells all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ci_plugin.errors import ConfigError

MOST_TOLD = 50
"""Errors listed one by one; a template that goes wrong a thousand times says the same thing a thousand times."""


class Problems:
    """The ConfigErrors found so far, each once, in the order they were found."""

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
        """Keep an error; a document that makes several images has it once."""
        self._errors.setdefault((error.message, error.hint, error.where), error)

    def add_all(self, errors: Iterable[ConfigError]) -> None:
        """Keep several."""
        for error in errors:
            self.add(error)

    def raise_first(self) -> None:
        """Raise the first error found (unknown directives come before what they cause), naming the others; nothing where there is none."""
        if not self._errors:
            return
        first, *others = self._errors.values()
        if not others:
            raise first
        listed = "\n".join(f"  {error.where}: {error.message}" + (f" ({error.hint})" if error.hint else "") for error in others[:MOST_TOLD])
        left = f"\n  and {len(others) - MOST_TOLD} more" if len(others) > MOST_TOLD else ""
        noun = "error" if len(others) == 1 else "errors"
        raise ConfigError(f"{first.message}\nand {len(others)} more {noun}:\n{listed}{left}", hint=first.hint, where=first.where)
