"""Finds the configuration of a project and reads it: Dockerfiles given, else a file named, else what the project directory holds."""

from __future__ import annotations

import gc
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ci_plugin.config.dialects import DAPP, WERF
from ci_plugin.config.model import Configuration, DockerfileImage
from ci_plugin.config.parse import Check, nothing_else, parse_configuration
from ci_plugin.config.problems import Problems
from ci_plugin.config.source import Source, decode, is_dappfile
from ci_plugin.config.yaml_nodes import LineMap, parse_documents
from ci_plugin.errors import ConfigError, InputError, Location

CONFIG_FILES = ("werf.yaml", "werf.yml", "dappfile.yml", "dappfile.yaml")
COMMAND_LINE = Location("--dockerfile")


def load_configuration(
    source: Source,
    project: str,
    *,
    config_file: str | None = None,
    dockerfiles: Sequence[DockerfileImage] = (),
    check: Check = nothing_else,
) -> Configuration:
    """The configuration of a project; ``project`` names it where the file does not.

    Order: ``dockerfiles``, ``config_file``, the first of ``CONFIG_FILES``, a lone ``Dockerfile``. Raises one ConfigError that names every
    error of the file, and those that ``check`` finds in its images.
    """
    if dockerfiles:
        return _checked(Configuration.of(project, "dockerfile", None, dockerfiles), check)
    if config_file is not None:
        data = source.find_file(config_file)
        if data is None:
            raise ConfigError(f"expected the configuration {config_file} in the commit, found none", hint=f"git add {config_file}")
        return _read(data, config_file, source, project, check)
    for name in CONFIG_FILES:
        if (data := source.find_file(name)) is not None:
            return _read(data, name, source, project, check)
    if source.find_file("Dockerfile") is not None:
        image = DockerfileImage(project, "Dockerfile", Location("Dockerfile"), from_latest=True)
        return _checked(Configuration.of(project, "dockerfile", "Dockerfile", (image,)), check)
    looked_for = ", ".join((*CONFIG_FILES, "Dockerfile"))
    raise ConfigError(
        f"expected one of {looked_for} in the commit, found none",
        hint="git add one of them, or say --dockerfile NAME=PATH",
    )


def _checked(configuration: Configuration, check: Check) -> Configuration:
    problems = Problems()
    problems.add_all(check(configuration))
    problems.raise_first()
    return configuration


def parse_dockerfile_option(text: str) -> DockerfileImage:
    """The image in ``NAME=PATH[,context=DIR][,target=T]``. Raises InputError."""
    name, equals, rest = text.partition("=")
    path, *options = rest.split(",")
    values = dict(option.partition("=")[::2] for option in options)
    if not equals or not name or not path or set(values) - {"context", "target"} or "" in values.values():
        raise InputError(
            f"expected --dockerfile NAME=PATH[,context=DIR][,target=T], found {text[:200]!r}",
            hint="for example --dockerfile api=services/api/Dockerfile,context=services/api",
        )
    context = posixpath.normpath(values.get("context", "."))
    for inside in (posixpath.normpath(path), context):
        if inside.startswith(("/", "../")) or inside == "..":
            raise InputError(
                f"expected a path inside the project, found {inside[:200]!r}", hint="write it relative to the project directory"
            )
    return DockerfileImage(name, posixpath.normpath(path), COMMAND_LINE, context, values.get("target"), from_latest=True)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Reading makes tens of thousands of values that all stay; the collector going through them again and again is half of its time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(data: bytes, file: str, source: Source, project: str, check: Check) -> Configuration:
    text = decode(data, file)
    place_of: LineMap | None = None
    without_values: Callable[[str], str] = str
    if "{{" in text:
        from ci_plugin.config.template import render  # here: the engine is imported only for a template

        rendered = render(text, file, source)
        text, place_of, without_values = rendered.text, rendered.place_of, rendered.without_values
    problems = Problems()
    dialect = DAPP if is_dappfile(file) else WERF
    try:
        with _without_collector():
            return parse_configuration(parse_documents(text, file, place_of, problems), dialect, file, project, problems, check)
    except ConfigError as error:
        told = problems.error_with(error)  # text that is no YAML ends the reading; what was found before it is told too
        # What is wrong may be what a variable said: its name stands in the file, its value in no message.
        for part in (told, *told.parts):
            part.message, part.hint = without_values(part.message), without_values(part.hint)
        raise told from None
