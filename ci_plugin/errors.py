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

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Location:
    """A file, line and column (from 1), or (line None) a document or an address such as ``https://registry.example.com/v2/app``."""

    file: str
    line: int | None = None
    column: int | None = None
    """None where only the line is known: a place in a template's text, a Dockerfile's instruction."""

    def __str__(self) -> str:
        parts = [self.file, self.line, self.column if self.line is not None else None]
        return ":".join(str(part) for part in parts if part is not None)


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
