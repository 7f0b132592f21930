"""Go templates in a configuration, as werf renders them: text in, text out.

Rules. A template sees committed files, the commit, ``--env`` and environment variables by name; no clock, no randomness, no network,
so that the same commit renders the same text everywhere. Names that look like a secret, and addresses with a password, are refused
unless the settings list them. A run has a budget of steps, 1 MiB of output and 50 templates inside each other. Every failure is a
ConfigError with file, line, column and what included what; no message holds a variable's value.
"""

from __future__ import annotations

import posixpath
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from ci_plugin.config.context import match_any
from ci_plugin.config.source import Source, decode, is_dappfile
from ci_plugin.config.template_functions import Functions, checked
from ci_plugin.config.template_parse import add_template
from ci_plugin.config.template_run import Function, Run, SyntaxRefused
from ci_plugin.config.template_text import Made, Places, Text, place_of_action
from ci_plugin.config.template_values import Refused, StringMap, at_most, formatted
from ci_plugin.config.template_yaml import from_yaml, to_yaml
from ci_plugin.errors import ConfigError, Location

TEMPLATES = ".werf/"
DAPP_TEMPLATES = ".dappfiles/"
_MAIN = "werfConfig"
"""What werf calls the configuration's own template."""
_NO_DATA: Mapping[str, object] = MappingProxyType({})
_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|KEY|CREDENTIAL|AUTH(?!OR(?!IZ))", re.IGNORECASE)
_LONGEST_TOLD = 300
_HALF = re.compile("[\ud800-\udfff]")
_SHORTEST_HIDDEN = 3
"""Characters: hiding every `x` of a message would hide the message, and tell what was hidden."""
_LONGEST_UNCUT = 40
"""Characters of a value that no message cuts off."""
_MOST_IN_PIECES = 4096
_BETWEEN_PIECES = re.compile(r"[\s:@,{}\[\]'\"&*#`]+")
_HIDDEN_TWICE = re.compile(r"(?:\*\*\*){2,}")
_USER_INFO = re.compile(r"://[^/@\s]+:[^/@\s]+@")
"""An address with a password in it: GitLab's CI_REPOSITORY_URL holds the job's token."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a template gave."""

    text: str = field(repr=False)
    names_read: frozenset[str]
    """The environment variables it asked for, set or not; their values are nowhere."""
    file: str
    places: Places = field(repr=False, compare=False)
    without_values: Callable[[str], str] = field(repr=False, compare=False, default=str)
    """A message with every value that the template read of the environment taken out."""

    def place_of(self, line: int, column: int | None = None) -> Location:
        """Where a line of the text, from 1, was written, and by way of what; for a blank one, where the one before it was.

        With a column, where what stands there was written: a line can be made of several texts.
        """
        return self.places.place_of(line, column)


def render(text: str, file: str, source: Source, data: Mapping[str, object] = _NO_DATA) -> Rendered:
    """The rendered text, what it read of the environment, and where its lines come from. Raises ConfigError with the place.

    ``data`` is what dot holds beside what werf puts there.
    """
    environment = _Environment(source, is_unset_empty=is_dappfile(file))
    run = Run(Functions(_own_functions(environment)))
    try:
        directory = DAPP_TEMPLATES if is_dappfile(file) else TEMPLATES
        for path, shared in _shared_templates(source, directory).items():
            add_template(run, Text(path.removeprefix(directory), path, shared))
        add_template(run, Text(_MAIN, file, text))
        files = _Files(source, run)
        run.call(_MAIN, {**data, **_data(source, files)})
    except Refused as refused:
        raise _told(refused, run, environment) from None
    except (RecursionError, MemoryError):
        too_deep = Refused("expected templates and values of fewer levels, found more than there is room for", "nest less deeply")
        raise _told(too_deep, run, environment) from None
    for pattern in files.unmatched:
        source.warn(environment.without_values(f"{file}: .Files.Glob {pattern[:200]!r} matches no committed file"))
    rendered = _encodable("".join([part[0] for part in run.out]))
    return Rendered(rendered, frozenset(environment.names_read), file, Places(rendered, file, run.out), environment.without_values)


def _encodable(text: str) -> str:
    """The text with a replacement, of the same length, for halves of characters: JSON, and a variable that is no UTF-8, can hold one."""
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def _shared_templates(source: Source, directory: str) -> dict[str, str]:
    """Path → text of ``.werf/**/*.tmpl``."""
    paths = [path for path in sorted(source.paths()) if path.startswith(directory) and path.endswith(".tmpl")]
    return {path: decode(data, path) for path in paths if (data := source.find_file(path)) is not None}


def _data(source: Source, files: _Files) -> dict[str, object]:
    """What dot is: https://werf.io/docs/v2/reference/werf_yaml_template_engine.html."""
    seconds = source.commit_date()
    date = datetime.fromtimestamp(seconds, UTC)
    dates = StringMap(Human=f"{date:%Y-%m-%d %H:%M:%S} +0000 UTC", Unix=str(seconds))
    return {"Env": source.env_name, "Files": files, "Commit": {"Hash": source.commit, "Date": dates}}


class _Files:
    """``.Files``: committed files only."""

    def __init__(self, source: Source, run: Run) -> None:
        self._source = source
        self._run = run
        self._paths: tuple[str, ...] | None = None
        self._directories: frozenset[str] = frozenset()
        self.unmatched: dict[str, None] = {}
        """Globs that matched nothing."""

    def methods(self) -> Mapping[str, Callable[..., object]]:
        """The functions by the template's names for them."""
        return {"Get": self.get, "Glob": self.glob, "Exists": self.exists, "IsDir": self.is_dir}

    def get(self, *arguments: object) -> str:
        """The text of a committed file."""
        path = _one_text("Get", arguments)
        data = self._source.find_file(path)
        if data is None:
            raise Refused(f"expected the committed file {path[:200]!r}, found none", f"git add {path[:200]}")
        at_most(len(data), ".Files.Get")
        self._run.budget.charge(10 + (len(data) >> 3))
        text = data.decode("utf-8", "replace")
        run = self._run
        return run.made([(text, Text(path, path, text), 0, True, (run.via, run.text, run.at))]) if text else text

    def exists(self, *arguments: object) -> bool:
        """Whether something committed has this path, a file or a directory."""
        path = posixpath.normpath(_one_text("Exists", arguments)).removeprefix("/")
        return self._source.find_file(path) is not None or self.is_dir(path)

    def is_dir(self, *arguments: object) -> bool:
        """Whether committed files lie below this path."""
        path = posixpath.normpath(_one_text("IsDir", arguments)).removeprefix("/")
        return bool(self._known()) and path in self._directories

    def glob(self, *arguments: object) -> dict[str, str]:
        """Path → text of the committed files that match; none is no error."""
        pattern = _one_text("Glob", arguments)
        self._run.budget.charge((3 + len(pattern)) * len(self._known()))
        found = {path: self.get(path) for path in self._known() if match_any(pattern, path)}
        if not found:
            self.unmatched[pattern] = None
        return found

    def _known(self) -> tuple[str, ...]:
        if self._paths is None:
            self._paths = tuple(sorted(self._source.paths()))
            self._directories = frozenset(("", ".", *(path[:end] for path in self._paths for end in _slashes(path))))
        return self._paths


def _slashes(path: str) -> Iterator[int]:
    return (index for index, character in enumerate(path) if character == "/")


def _one_text(name: str, arguments: Sequence[object]) -> str:
    if len(arguments) != 1 or not isinstance(arguments[0], str):
        raise Refused(f"expected .Files.{name} with one text, found something else", f'for example {{{{ .Files.{name} "dir/file" }}}}')
    return arguments[0]


class _Environment:
    """The variables a template may read, which it read, and which values it was given."""

    def __init__(self, source: Source, *, is_unset_empty: bool) -> None:
        self._source = source
        self._is_unset_empty = is_unset_empty
        self._handed_out: set[str] = set()
        self.names_read: set[str] = set()

    def env(self, name: object, *default: str) -> str:
        """``env NAME [DEFAULT]``: empty counts as unset where there is a default."""
        text = name if isinstance(name, str) else formatted("%v", name)
        if len(default) > 1:
            raise Refused(f"expected `env` with a name and at most one default, found {len(default)} defaults")
        readable = self._source.readable_env
        if readable is not None and text not in readable:
            raise Refused(f"expected a readable variable, found {text[:100]!r}", f"add {text[:100]} to {self._source.env_list}")
        value = self._source.environment.get(text)
        if readable is None and (_SECRET.search(text) or _USER_INFO.search(value or "")):
            message = f"expected no secret in a configuration, found the variable {text[:100]!r}, which looks like one"
            raise Refused(message, f"remove it; if it is no secret, list it under `env:` in .stagepin.yaml: env: [{text[:100]}]")
        self.names_read.add(text)
        if not value and default:
            return default[0]
        if value is None and self._is_unset_empty:
            return ""
        if value is None:
            message = f"expected the environment variable {text[:100]!r}, found it unset"
            raise Refused(message, f'set {text[:100]} in the job, or give a default: {{{{ env "{text[:100]}" "DEFAULT" }}}}')
        if value:
            self._handed_out.add(value)
        return value

    def without_values(self, message: str) -> str:
        """The message with every value a template read taken out: whole, in the pieces YAML and references have, and cut by us."""
        values = [value for value in sorted(self._handed_out, key=len, reverse=True) if len(value) >= _SHORTEST_HIDDEN]
        forms = [form for value in values for form in (value, repr(value)[1:-1], formatted("%q", value)[1:-1])]
        for form in forms:
            message = message.replace(form, "***")
            if len(form) > _LONGEST_UNCUT and (start := form[:_LONGEST_UNCUT]) in message:
                before, *parts = message.split(start)
                message = "***".join((before, *(_without_start(part, form[_LONGEST_UNCUT:]) for part in parts)))
        for piece in sorted({piece for value in values for piece in _pieces(value)}, key=len, reverse=True):
            if piece in message:
                message = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", "***", message)
        return _HIDDEN_TWICE.sub("***", message)


def _without_start(text: str, beginning: str) -> str:
    """The text without what it begins with of the other one."""
    same = next(
        (index for index, pair in enumerate(zip(text, beginning, strict=False)) if pair[0] != pair[1]), min(len(text), len(beginning))
    )
    return text[same:]


def _pieces(value: str) -> Iterator[str]:
    """What a message may name of a value that has several: a key, a line, a tag."""
    pieces = _BETWEEN_PIECES.split(value[:_MOST_IN_PIECES])
    return (piece for piece in pieces if len(piece) >= _SHORTEST_HIDDEN and piece not in ("http", "https"))


def _own_functions(environment: _Environment) -> dict[str, Function]:
    """What werf adds to sprig."""
    plain: dict[str, Callable[..., object]] = {
        "env": environment.env,
        "required": _required,
        "toYaml": to_yaml,
        "fail": _fail,
        "printf_debug": _nothing,
        "dump_debug": _nothing,
    }
    return {
        **{name: checked(name, function) for name, function in plain.items()},
        "include": _include,
        "include_debug": _include,
        "tpl": _tpl,
        "tpl_debug": _tpl,
        "fromYaml": _from_yaml,
    }


def _required(message: str, value: object) -> object:
    if value is None or value == "":
        raise Refused(message[:300], "`required` in the template asks for this value")
    return value


def _fail(message: str) -> object:
    raise Refused(message[:300], "`fail` in the template stops here")


def _nothing(*_: object) -> str:
    """What werf's debug functions print where nobody asked to debug."""
    return ""


def _include(run: Run, arguments: list[object]) -> object:
    name, dot = _text_and_data("include", arguments)
    run.budget.charge(15)
    return run.render(name, dot)


def _tpl(run: Run, arguments: list[object]) -> object:
    text, dot = _text_and_data("tpl", arguments)
    name = f"tpl-{zlib.adler32(text.encode('utf-8', 'replace'))}"
    run.budget.charge(25)
    known = run.templates.get(name)
    if known is None or known.text.text != text:
        run.budget.charge(100 + 4 * len(text))
        run.budget.charge(len(text.parts) if isinstance(text, Made) else 0)
        add_template(run, Text.given(name, text))
    return run.render(name, dot)


def _text_and_data(name: str, arguments: list[object]) -> tuple[str, object]:
    if len(arguments) != 2 or not isinstance(arguments[0], str):
        raise Refused(f"expected `{name}` with a text and data, found something else", f'for example {{{{ {name} "TEXT" . }}}}')
    return arguments[0], arguments[1]


def _from_yaml(run: Run, arguments: list[object]) -> object:
    if len(arguments) != 1 or not isinstance(arguments[0], str):
        raise Refused("expected `fromYaml` with one text, found something else")
    return from_yaml(arguments[0], run.budget.charge)


def _told(refused: Refused, run: Run, environment: _Environment) -> ConfigError:
    """The error with the innermost place in a file, and the way there."""
    text, at, via = run.text, run.at, run.via
    if isinstance(refused, SyntaxRefused):
        text, at, via = refused.text, refused.at, (via, text, at)
    message, hint = (_encodable(environment.without_values(said)[:_LONGEST_TOLD]) for said in (refused.message, refused.hint))
    if text.place(at, has_column=True) is None:
        line, column = text.line_and_column(at)
        message += f" (line {line}, column {column} of the text given to `tpl`)"
    return ConfigError(message, hint=hint, where=place_of_action(text, at, via))
