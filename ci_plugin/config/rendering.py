"""The text of a configuration as it is parsed, after its templates, and what was read for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ci_plugin.config.load import CONFIG_FILES
from ci_plugin.config.source import Source, decode
from ci_plugin.config.yaml_nodes import LineMap
from ci_plugin.errors import ConfigError, InputError, Location


@dataclass(frozen=True, slots=True)
class RenderedConfiguration:
    """``file`` is the configuration, ``text`` what its templates gave; ``environment`` and ``files`` are the names of what was read."""

    file: str
    written: str = field(repr=False)
    """The text as it is committed."""
    text: str = field(repr=False)
    place_of: LineMap = field(repr=False, compare=False)
    environment: tuple[str, ...]
    """Names of environment variables, set or not; never a value."""
    files: tuple[str, ...]
    """Every committed file that was read, the configuration's own first."""


def render_configuration(source: Source, config_file: str | None = None) -> RenderedConfiguration:
    """The rendered configuration. Raises InputError where there is none to render (a Dockerfile alone), ConfigError with the place."""
    files: dict[str, None] = {}
    file, written = _find(source, config_file)

    def find_file(path: str) -> bytes | None:
        data = source.find_file(path)
        if data is not None:
            files[path] = None
        return data

    find_file(file)
    if "{{" not in written:
        return RenderedConfiguration(file, written, written, lambda line, column=None: Location(file, line, column), (), tuple(files))
    from ci_plugin.config.template import render  # here: the engine is imported only for a template

    rendered = render(written, file, replace(source, find_file=find_file))
    return RenderedConfiguration(file, written, rendered.text, rendered.place_of, tuple(sorted(rendered.names_read)), tuple(files))


def _find(source: Source, config_file: str | None) -> tuple[str, str]:
    for name in (config_file,) if config_file is not None else CONFIG_FILES:
        if (data := source.find_file(name)) is not None:
            return name, decode(data, name)
    if config_file is not None:
        raise ConfigError(f"expected the configuration {config_file} in the commit, found none", hint=f"git add {config_file}")
    is_dockerfile = source.find_file("Dockerfile") is not None
    raise InputError(
        f"expected one of {', '.join(CONFIG_FILES)} in the commit, found " + ("a Dockerfile alone" if is_dockerfile else "none"),
        hint="a Dockerfile has no templates and one dialect; `stagepin config list` shows its references"
        if is_dockerfile
        else "git add one",
    )
