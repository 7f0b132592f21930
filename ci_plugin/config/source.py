"""How config reads what is committed: functions and values handed in, no I/O of its own."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ci_plugin.errors import ConfigError, Location


class CommittedFiles(Protocol):
    """Anything that can give a committed file."""

    def find_file(self, path: str, /) -> bytes | None:
        """The bytes of a committed file by its POSIX path relative to the project directory, or None."""
        ...


@dataclass(frozen=True)
class Source:
    """The committed files of one project directory and what a template may know of the outside."""

    find_file: Callable[[str], bytes | None]
    """A committed file's bytes by its POSIX path relative to the project directory, or None."""

    paths: Callable[[], Sequence[str]]
    """Every committed path below the project directory."""

    environment: Mapping[str, str] = field(repr=False)
    env_name: str = ""
    """``--env``: what ``.Env`` is in a template."""

    readable_env: Container[str] | None = None
    """Environment names a template may read; None: all that do not look like a secret."""

    commit: str = ""
    commit_date: Callable[[], int] = lambda: 0
    """When the commit was made, seconds since 1970; asked for by templates only."""

    env_list: str = "`env:` in .stagepin.yaml"
    """Where the list of ``readable_env`` stands, for hints."""

    warn: Callable[[str], object] = str
    """Takes one sentence about something that is no error, such as a glob without a match; str: nobody listens."""


def is_dappfile(file: str) -> bool:
    """Whether a configuration is dapp's, whose templates stand in ``.dappfiles/`` and to which an unset variable is the empty text."""
    return posixpath.basename(file).startswith("dappfile")


def decode(data: bytes, file: str) -> str:
    """The text of a configuration file, without a byte order mark. Raises ConfigError where it is not UTF-8 or holds a NUL."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError("expected UTF-8, found UTF-16", hint="save the file as UTF-8", where=Location(file, 1))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"expected UTF-8, found the byte 0x{data[error.start]:02x}"
        where = _end_of(data[: error.start].decode("utf-8"), file)
        raise ConfigError(message, hint="save the file as UTF-8", where=where) from None
    before, nul, _ = text.partition("\0")
    if nul:
        raise ConfigError("expected text, found a NUL byte", hint="is this a binary file?", where=_end_of(before, file))
    return text.removeprefix("\ufeff")


def _end_of(before: str, file: str) -> Location:
    """The place behind a text that a file begins with."""
    text = before.removeprefix("\ufeff")
    return Location(file, text.count("\n") + 1, len(text) - text.rfind("\n"))
