"""The one place that prints: results to stdout; events, warnings and errors to stderr, one line each.

Rules: every line is redacted, then made neutral; ``-q`` silences events and foreign output, never results, warnings and errors; with
the log format ``json`` every line on stderr is one object. Markers of GitLab and GitHub are ours alone. Safe to use from several threads.
"""

from __future__ import annotations

import json
import posixpath
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TextIO

from ci_plugin.errors import Location, StageFailed, StagepinError
from ci_plugin.reports.live_rows import LiveRows
from ci_plugin.reports.neutral import neutral, neutral_lines
from ci_plugin.reports.redaction import Redactor

if TYPE_CHECKING:
    from ci_plugin.ports import Clock

Style = Literal["plain", "gitlab", "github"]
LogFormat = Literal["text", "json"]

_COLORS = {"error": "31", "warning": "33", "section": "1"}
_COLOR_SEQUENCE = re.compile(r"\x1b\[[0-9;:]*m")
_SECTION_NAME = re.compile(r"[^A-Za-z0-9_.-]+", re.ASCII)
_LAST_OUTPUT_LINES = 50
_TICK_SECONDS = 0.5


def wants_color(choice: str, environ: Mapping[str, str], stream: TextIO) -> bool:
    """Whether to colour: ``always`` and ``never`` say so; ``auto`` means a terminal, no ``NO_COLOR`` (no-color.org), no dumb ``TERM``."""
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


class Console:
    """Prints for one run; ``verbosity`` is -1 (quiet), 0 or 1 (details too); ``directory`` is the project's, as ``-C`` gave it.

    ``width`` is for who lays out a result: the columns of the terminal it goes to, None for a pipe or a file, where nothing is shortened.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        style: Style = "plain",
        log_format: LogFormat = "text",
        verbosity: int = 0,
        color: bool = False,
        redactor: Redactor,
        clock: Clock,
        directory: str = ".",
        width: int | None = None,
        is_dumb: bool = False,
    ) -> None:
        self.width = width
        self._is_dumb = is_dumb
        self._directory = directory
        self._out, self._err = out, err
        self._style: Style = "plain" if log_format == "json" else style
        self._is_json = log_format == "json"
        self._verbosity = verbosity
        self._color = color
        self._redactor = redactor
        self._clock = clock
        self._lock = threading.RLock()
        self._depth = 0
        self._live: LiveRows | None = None

    @property
    def has_sections(self) -> bool:
        """Whether the log can fold lines: GitLab's and GitHub's can."""
        return self._style != "plain"

    def result(self, text: str) -> None:
        """What the command was asked for, to stdout, untouched but for secrets; a newline is added where it has none."""
        text = text.removesuffix("\n")
        redacted = self._redactor.redact(text)
        self._write(self._out, [redacted])
        if redacted != text:
            # A short value of IMAGE_PULL_SECRET may stand in a result by right: then its reader has to know that it is gone.
            self.warning("the result held the value of a variable whose name looks secret: *** stands in its place")

    def event(self, message: str, **fields: object) -> None:
        """One line about what just happened; the fields stand in JSON, and with ``-v`` in the text too."""
        if self._verbosity >= 0:
            self._log("info", message, fields)

    def detail(self, message: str, **fields: object) -> None:
        """An event for ``-v`` alone."""
        if self._verbosity > 0:
            self._log("debug", message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Something to know that stops nothing."""
        self._log("warning", message, fields)
        self._annotate("warning", message, None)

    def error(self, error: StagepinError) -> None:
        """What was expected and found, where, and what to do; after a quiet run also the last lines of the failed step."""
        fields: dict[str, object] = {"exitCode": error.exit_code, "where": str(error.where) if error.where else None, "hint": error.hint}
        if isinstance(error, StageFailed) and self._verbosity < 0:
            self._foreign(error.output.splitlines()[-_LAST_OUTPUT_LINES:])
        if self._is_json:
            self._log("error", error.message, fields)
            return
        lines = [self._paint("error", "error:") + " " + line for line in self._clean(error.message)[:1]]
        lines += [f"  {line}" for line in self._clean(error.message)[1:]]
        if error.where is not None:
            lines += [f"  at: {neutral(self._redactor.redact(str(self._place(error.where))))}"]
        if error.hint:
            first, *others = self._clean(error.hint)
            lines += [f"  next: {first}", *(f"    {line}" for line in others)]
        self._write(self._err, lines)
        self._annotate("error", f"{error.message}\n{error.hint}".rstrip(), error.where)

    def build_output(self, line: str) -> None:
        """One line that a build step printed, indented; colours are dropped, of a progress line the last state stays."""
        if self._verbosity >= 0:
            self._foreign([line])

    @contextmanager
    def section(self, name: str, title: str) -> Iterator[None]:
        """Everything printed within belongs together: a collapsible section on GitLab, a group on GitHub (which knows no nested ones)."""
        if self._verbosity < 0:
            yield
            return
        name = _SECTION_NAME.sub("-", name) or "section"
        with self._lock:
            self._depth += 1
            self._open_section(name, title)
        try:
            yield
        finally:
            with self._lock:
                self._close_section(name)
                self._depth -= 1

    @contextmanager
    def live(self, rows: Callable[[], Sequence[str]]) -> Iterator[None]:
        """On a terminal these rows stand below all that is printed within, and are written anew twice a second; elsewhere nothing."""
        if not self._err.isatty() or self._is_json or self._style != "plain" or self._verbosity < 0 or self._is_dumb:
            yield
            return
        self._live = LiveRows(self._err, lambda: [neutral(self._redactor.redact(row)) for row in rows()])
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(ended,), name="stagepin-live", daemon=True)
        ticker.start()
        try:
            yield
        finally:
            ended.set()
            ticker.join()
            with self._lock:
                self._err.write(self._live.erase())
                self._err.flush()
                self._live = None

    def _tick(self, ended: threading.Event) -> None:
        while True:
            self._write(self._err, [])
            if ended.wait(_TICK_SECONDS):
                return

    def _open_section(self, name: str, title: str) -> None:
        clean = " ".join(self._clean(title))
        if self._is_json:
            self._log("info", title, {"section": name})
        elif self._style == "gitlab":
            self._write(self._err, [f"\x1b[0Ksection_start:{self._now()}:{name}[collapsed=true]\r\x1b[0K{clean}"])
        elif self._style == "github" and self._depth == 1:
            self._write(self._err, [f"::group::{_escape_data(clean)}"])
        else:
            self._write(self._err, [self._paint("section", clean)])

    def _close_section(self, name: str) -> None:
        if self._style == "gitlab":
            self._write(self._err, [f"\x1b[0Ksection_end:{self._now()}:{name}\r\x1b[0K"])
        elif self._style == "github" and self._depth == 1:
            self._write(self._err, ["::endgroup::"])

    def _log(self, level: str, message: str, fields: Mapping[str, object]) -> None:
        if self._is_json:
            document = {"time": self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"), "level": level, "event": message, **fields}
            self._write(self._err, [_dump(self._redact_all(document))])
            return
        first, *others = self._clean(message)
        if self._verbosity > 0 and fields:
            first += "".join(f" {key}={neutral(self._redactor.redact(str(value)))}" for key, value in fields.items())
        if level == "warning":
            first = self._paint("warning", "warning:") + " " + first
        self._write(self._err, [first, *(f"  {line}" for line in others)])

    def _foreign(self, lines: list[str]) -> None:
        shown = [_last_state(line) for line in lines]
        if self._is_json:
            for line in shown:
                self._log("info", line, {"output": True})
            return
        self._write(self._err, [f"  | {neutral(self._redactor.redact(line))}".rstrip() for line in shown])

    def _annotate(self, command: str, message: str, where: Location | None) -> None:
        """``::error file=…,line=…::…`` of GitHub's workflow commands; a place that is no file (an address, a variable) is left out."""
        if self._style != "github":
            return
        properties = ""
        if where is not None and _is_path(where.file):
            properties = f" file={_escape_property(neutral(self._redactor.redact(self._place(where).file)))}"
            properties += f",line={where.line}" if where.line is not None else ""
        self._write(self._err, [f"::{command}{properties}::{_escape_data(chr(10).join(self._clean(message)))}"])

    def _place(self, where: Location) -> Location:
        """A line of a project's file as seen from where the command was started: with ``-C DIR`` it is below DIR.

        Places without a line (addresses, stores, the workspace) are not of the project directory. Below an absolute DIR the name says
        enough as it is, and it is what forges know.
        """
        if where.line is None or self._directory == "." or posixpath.isabs(self._directory):
            return where
        file = posixpath.normpath(posixpath.join(self._directory, where.file))
        return replace(where, file=file, by_way_of=tuple(map(self._place, where.by_way_of)))

    def _clean(self, text: str) -> list[str]:
        return neutral_lines(self._redactor.redact(text))

    def _redact_all(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {str(key): self._redact_all(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self._redact_all(item) for item in value]
        return value if isinstance(value, (int, float)) or value is None else self._redactor.redact(str(value))

    def _paint(self, what: str, text: str) -> str:
        return f"\x1b[{_COLORS[what]}m{text}\x1b[0m" if self._color else text

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _write(self, stream: TextIO, lines: list[str]) -> None:
        """All lines in one piece; what the stream's encoding lacks is written as an escape."""
        encoding = stream.encoding or "utf-8"
        text = "".join(f"{line}\n" for line in lines).encode(encoding, "backslashreplace").decode(encoding)
        with self._lock:
            if self._live:
                self._err.write(self._live.erase())
                self._err.flush()
            stream.write(text)
            stream.flush()
            if self._live:
                self._err.write(self._live.draw())
                self._err.flush()


def _last_state(line: str) -> str:
    """What a terminal would show at the end of a line that a progress display wrote over and over with carriage returns."""
    states = [state for state in _COLOR_SEQUENCE.sub("", line).rstrip("\r\n").split("\r") if state]
    return states[-1] if states else ""


def _dump(document: object) -> str:
    """One line of ASCII that no terminal and no runner reads as anything but JSON."""
    return json.dumps(document, ensure_ascii=True).replace("\x7f", "\\u007f").replace("##[", "##\\u005b")


def _is_path(file: str) -> bool:
    """Not an address, a variable or an option, which errors may point at too."""
    return "://" not in file and not file.startswith(("$", "--"))


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
