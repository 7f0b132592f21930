"""Every error stagepin raises on purpose, with the exit code it ends the process with.

::

    StagepinError
    ├── InputError        2  the caller's input or rights must change
    │   ├── ConfigError   2  a line of a configuration, Dockerfile or settings file
    │   ├── DocumentError 2  a pin file or build record that is absent, broken, foreign or newer
    │   └── AccessDenied  2  401 or 403: credentials or rights are missing
    ├── AnswerIsNo        1  the question was understood and the answer is no
    │   ├── StageFailed   1  a build step of the user's own ended with an error
    │   └── Gone          1  a manifest, blob or tag is confirmed absent
    ├── Unavailable       3  something outside failed; the same call may succeed later
    └── Bug               4  a state that must not happen

Rules: callers catch the class, never the text. ``temporary`` is what retries decide by.
Every message says what was expected and what was found; ``hint`` says what to do next;
``where`` is a file and line, or the address that answered.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_LONGEST_WAY = 4
"""Places; of a longer way the first and the last are told."""


@dataclass(frozen=True, slots=True)
class Location:
    """A file, line and column (from 1), or (line None) a document or an address such as ``https://registry.example.com/v2/app``."""

    file: str
    line: int | None = None
    column: int | None = None
    """None where only the line is known: what a template's action printed, a Dockerfile's instruction."""

    by_way_of: tuple[Location, ...] = field(default=(), compare=False)
    """The places in templates that led here, outermost first; the same place by another way is the same place."""

    def __str__(self) -> str:
        parts = [self.file, self.line, self.column if self.line is not None else None]
        place = ":".join(str(part) for part in parts if part is not None)
        return f"{place} (by way of {self._way()})" if self.by_way_of else place

    def _way(self) -> str:
        places = [str(place) for place in self.by_way_of]
        if len(places) > _LONGEST_WAY:
            places = [places[0], f"… {len(places) - 2} more …", places[-1]]
        return " > ".join(places)


class StagepinError(Exception):
    """Base of the tree; never raised itself."""

    exit_code = 4
    temporary = False

    def __init__(self, message: str, *, hint: str = "", where: Location | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where


class InputError(StagepinError):
    """Usage, configuration or rights that only the caller can mend."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration text is wrong at a place we can name."""

    parts: tuple[ConfigError, ...] = ()
    """Where one error tells of several: each of them alone."""


class DocumentError(InputError):
    """A pin file or build record is absent, broken, of another identity, or of a newer version."""


class AccessDenied(InputError):
    """A registry or forge answered 401 or 403."""


class AnswerIsNo(StagepinError):
    """The question was answered, and the answer is no."""

    exit_code = 1


class StageFailed(AnswerIsNo):
    """A command of the user's ended with an error; ``output`` holds what it printed."""

    def __init__(self, message: str, *, output: str = "", hint: str = "", where: Location | None = None) -> None:
        super().__init__(message, hint=hint, where=where)
        self.output = output


class Gone(AnswerIsNo):
    """Absence confirmed by a second request with the full ``Accept`` header."""


class Unavailable(StagepinError):
    """A time-out, a reset, 429, 5xx, an answer that makes no sense, an engine that died."""

    exit_code = 3
    temporary = True

    def __init__(self, message: str, *, hint: str = "", where: Location | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint=hint, where=where)
        self.retry_after = retry_after
        """Seconds the server asked us to wait, from ``Retry-After``; None where it did not say."""


class Bug(StagepinError):
    """Our own mistake: please report it."""

    exit_code = 4
