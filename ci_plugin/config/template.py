"""Go templates in a configuration: the one home of gotpl.

Rules. A template sees committed files, the commit, ``--env`` and environment variables by name; no clock, no randomness, no network,
so that the same commit renders the same text everywhere. Names that look like a secret, and addresses with a password, are refused
unless the settings list them. Output is at most 1 MiB and execution is bounded. Every failure is a ConfigError with file and line; no
message holds a variable's value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from itertools import pairwise

import gotpl
from gotpl.funcs.sprig import hermetic_text_func_map, text_func_map

from ci_plugin.config.context import match_any
from ci_plugin.config.source import Source, decode
from ci_plugin.config.yaml_nodes import LineMap
from ci_plugin.errors import ConfigError, Location

MAX_OUTPUT = 1 << 20
_BUDGET = gotpl.ExecutionBudget(max_output_chars=MAX_OUTPUT, max_iterations=100_000, max_template_depth=50, max_function_calls=100_000)
_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|KEY|CREDENTIAL|AUTH(?!OR(?!IZ))", re.IGNORECASE)
_USER_INFO = re.compile(r"://[^/@\s]+:[^/@\s]+@")
"""An address with a password in it: GitLab's CI_REPOSITORY_URL holds the job's token."""
_IMPURE = re.compile(r"now|ago|shuffle|randInt|gen[A-Z].*|bcrypt|htpasswd|encryptAES|buildCustomCert|durationRound")
"""What sprig's own list of impure functions leaves out."""
_MOST_LINES_TO_ALIGN = 20_000


class _Refused(Exception):
    """Carries our message through gotpl; nothing outside this module sees it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def render(text: str, file: str, source: Source) -> str:
    """The rendered text. Raises ConfigError with file and line."""
    environment = _Environment(source)
    sources = {file: text, **_shared_templates(source)}
    data = {"Env": source.env_name, "Files": _Files(source), "Commit": {"Hash": source.commit}}
    try:
        return _engine(environment.functions()).from_sources(sources).template.render(data)
    except gotpl.TemplateSyntaxError as error:
        raise _syntax_error(error, sources, environment) from None
    except gotpl.BudgetExceededError as error:
        hint = "a configuration is at most 1 MiB and 100,000 steps: split it"
        raise ConfigError("expected a template that ends soon, found too much work", hint=hint, where=_where(error, file)) from None
    except gotpl.TemplateError as error:
        raise _execution_error(error, file, environment) from None
    except (RecursionError, MemoryError, OverflowError, ValueError, TypeError) as error:
        message = f"expected a template that renders, found {type(error).__name__}"
        raise ConfigError(message, hint="simplify the template", where=Location(file)) from None


def line_map(text: str, rendered: str) -> LineMap:
    """Rendered line → the line of the template it comes from, as near as equal lines on both sides tell."""
    written, lines = text.splitlines(), rendered.splitlines()
    if len(written) == len(lines) or max(len(written), len(lines)) > _MOST_LINES_TO_ALIGN:
        return lambda line: min(line, len(written) or 1)
    blocks = SequenceMatcher(None, lines, written, autojunk=False).get_matching_blocks()
    origins: dict[int, int] = {}
    for block in blocks:
        origins.update({block.a + index: block.b + index for index in range(block.size)})
    for before, after in pairwise((-1, *sorted(origins), len(lines))):
        for line in range(before + 1, after):
            origins[line] = min(origins.get(before, -1) + (line - before), origins.get(after, len(written)) - 1)
    last = max(len(written), 1)
    return lambda line: min(max(origins.get(line - 1, line - 1), 0) + 1, last)


def _engine(functions: Mapping[str, Callable[..., object]]) -> gotpl.Environment:
    sandbox = gotpl.SandboxPolicy.strict(
        allow_methods=("Get", "Exists", "Glob"),
        allow_functions=functions,
        allow_context_capabilities=("render-associated",),
        default_budget=_BUDGET,
    )
    return gotpl.Environment(functions=functions, missing_key="error", sandbox=sandbox, budget=_BUDGET)


def _shared_templates(source: Source) -> dict[str, str]:
    """``.werf/**/*.tmpl``, each named by its path below ``.werf``."""
    found = {}
    for path in sorted(source.paths()):
        if path.startswith(".werf/") and path.endswith(".tmpl") and (data := source.find_file(path)) is not None:
            found[path.removeprefix(".werf/")] = decode(data, path)
    return found


class _Files:
    """``.Files``: committed files only."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def Get(self, path: str) -> str:  # noqa: N802 the template's name for it
        """The text of a committed file."""
        data = self._source.find_file(str(path))
        if data is None:
            raise _Refused(f"expected the committed file {str(path)[:200]!r}, found none", f"git add {str(path)[:200]}")
        return data.decode("utf-8", "replace")

    def Exists(self, path: str) -> bool:  # noqa: N802 the template's name for it
        """Whether a committed file has this path."""
        return self._source.find_file(str(path)) is not None

    def Glob(self, pattern: str) -> dict[str, str]:  # noqa: N802 the template's name for it
        """Path → text of the committed files that match."""
        paths = [path for path in sorted(self._source.paths()) if match_any(str(pattern), path)]
        return {path: self.Get(path) for path in paths}


class _Environment:
    """The functions of a template, and which variables they handed out."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._handed_out: set[str] = set()

    def functions(self) -> dict[str, Callable[..., object]]:
        pure = hermetic_text_func_map()
        impure = [name for name in text_func_map() if name not in pure or _IMPURE.fullmatch(name)]
        return {
            **{name: _bounded(name, function) for name, function in pure.items()},
            **{name: _refusing(name) for name in impure},
            "env": self.env,
            "required": _required,
            "include": gotpl.ContextFunction(sync=_include, capabilities=frozenset({"render-associated"})),
        }

    def env(self, name: object, *default: object) -> str:
        """``env NAME [DEFAULT]``: empty counts as unset where there is a default."""
        text = str(name)
        readable = self._source.readable_env
        if readable is not None and text not in readable:
            raise _Refused(f"expected a readable variable, found {text[:100]!r}", f"add {text[:100]} to `env:` in .stagepin.yaml")
        value = self._source.environment.get(text)
        if readable is None and (_SECRET.search(text) or _USER_INFO.search(value or "")):
            message = f"expected no secret in a configuration, found the variable {text[:100]!r}, which looks like one"
            raise _Refused(message, f"remove it; if it is no secret, list it under `env:` in .stagepin.yaml: env: [{text[:100]}]")
        if not value and default:
            return str(default[0])
        if value is None:
            message = f"expected the environment variable {text[:100]!r}, found it unset"
            raise _Refused(message, f'set {text[:100]} in the job, or give a default: {{{{ env "{text[:100]}" "DEFAULT" }}}}')
        if value:
            self._handed_out.add(value)
        return value

    def without_values(self, message: str) -> str:
        """The message with every value a template read taken out."""
        for value in sorted(self._handed_out, key=len, reverse=True):
            message = message.replace(value, "***")
        return message[:300]


def _required(message: object, value: object) -> object:
    if value is None or value == "":
        raise _Refused(str(message)[:300], "`required` in the template asks for this value")
    return value


def _include(context: gotpl.RenderContext, name: str, data: object = None) -> str:
    return str(context.render_template(name, data))


def _refusing(name: str) -> Callable[..., object]:
    def refuse(*_: object) -> object:
        message = f"expected a template that gives one text for one commit, found `{name}`"
        raise _Refused(message, 'hand the value in through a variable: {{ env "NAME" }}')

    return refuse


def _bounded(name: str, function: Callable[..., object]) -> Callable[..., object]:
    """Functions whose result grows with a number get a limit on it; the budgets see only what is printed."""
    if name not in ("repeat", "until", "untilStep", "seq", "indent", "nindent", "wrap", "wrapWith"):
        return function

    def call(*arguments: object) -> object:
        numbers = [abs(int(str(item))) for item in arguments if re.fullmatch(r"-?[0-9]{1,18}", str(item))]
        longest = max((len(item) for item in arguments if isinstance(item, str)), default=1)
        if max(numbers, default=0) * max(longest, 1) > MAX_OUTPUT:
            raise _Refused(f"expected `{name}` to make at most 1 MiB, found more", "use a smaller number")
        return function(*arguments)

    return call


def _where(error: gotpl.TemplateError, file: str) -> Location:
    name = getattr(error, "source_name", None) or file
    return Location(name if name == file else f".werf/{name}", getattr(error, "line", None))


def _syntax_error(error: gotpl.TemplateSyntaxError, sources: Mapping[str, str], environment: _Environment) -> ConfigError:
    engine = _engine(environment.functions())
    for name, text in sources.items():
        try:
            engine.from_string(text, name=name)
        except gotpl.TemplateSyntaxError as found:
            found_in, error = name, found
            break
    else:
        found_in = next(iter(sources))
    first = next(iter(sources))
    where = Location(found_in if found_in == first else f".werf/{found_in}", error.line)
    problem = str(error).split(": ", 1)[-1][:200]
    return ConfigError(f"expected a Go template, found: {problem}", hint="check the braces and the function's name", where=where)


def _execution_error(error: gotpl.TemplateError, file: str, environment: _Environment) -> ConfigError:
    where, cause = _where(error, file), error.__cause__
    seen = 0
    while cause is not None and not isinstance(cause, _Refused) and seen < 100:
        cause, seen = cause.__cause__, seen + 1
    if isinstance(cause, _Refused):
        return ConfigError(environment.without_values(cause.message), hint=environment.without_values(cause.hint), where=where)
    problem = environment.without_values(getattr(error, "message", "it does not execute"))
    return ConfigError(f"expected a template that renders, found: {problem}", hint="check this line of the template", where=where)
