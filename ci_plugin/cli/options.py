"""Options that several commands share, and the values they make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, TypeVar

import click

from ci_plugin.values.platform import Platform, parse_platform

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ScopeOptions:
    """Which pins, kept where: ``--repo``, ``--scope``, ``--pipeline``."""

    repo: str | None = None
    scope: str | None = None
    is_scope_from_command_line: bool = False


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """Which images, built how: ``--dockerfile``, ``--build-arg``, ``--context-add``, ``--platform``."""

    dockerfiles: tuple[str, ...] = ()
    build_args: tuple[str, ...] = ()
    context_add: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()


class _PlatformType(click.ParamType[Platform]):
    name = "platform"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Platform:
        try:
            return parse_platform(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def scope_options(function: _F) -> _F:
    """Adds ``--repo``, ``--scope`` and ``--pipeline``; the command takes them through ``read_scope_options``."""
    return _decorate(
        function,
        click.option("--repo", metavar="REPO", envvar="STAGEPIN_REPO", help="Stages storage: a registry repository, or :local."),
        click.option("--scope", metavar="SCOPE", envvar="STAGEPIN_SCOPE", help="pipeline (default), commit, or a text of your own."),
        click.option("--pipeline", metavar="ID", help="Short for --scope pipeline:ID."),
    )


def project_options(function: _F) -> _F:
    """Adds ``--dockerfile``, ``--build-arg``, ``--context-add`` and ``--platform``; read through ``read_project_options``."""
    return _decorate(
        function,
        click.option(
            "--dockerfile", "dockerfiles", metavar="NAME=PATH[,context=DIR][,target=T]", multiple=True, help="An image; repeatable."
        ),
        click.option(
            "--build-arg", "build_args", metavar="NAME[=VALUE]", multiple=True, help="A Dockerfile ARG; without VALUE, the environment's."
        ),
        click.option("--context-add", metavar="PATH", multiple=True, help="Add files that are not committed to the build context."),
        click.option(
            "--platform",
            "platforms",
            type=_PlatformType(),
            metavar="OS/ARCH",
            envvar="STAGEPIN_PLATFORM",
            multiple=True,
            help="Build for it.",
        ),
    )


def read_scope_options(values: dict[str, Any]) -> ScopeOptions:
    """Takes the shared options out of a command's arguments."""
    repo, scope, pipeline = values.pop("repo"), values.pop("scope"), values.pop("pipeline")
    source = click.get_current_context().get_parameter_source("scope")
    if pipeline and scope and source is click.core.ParameterSource.COMMANDLINE:
        raise click.UsageError("expected --scope or --pipeline, found both")
    is_from_command_line = bool(pipeline) or source is click.core.ParameterSource.COMMANDLINE
    return ScopeOptions(repo or None, f"pipeline:{pipeline}" if pipeline else scope or None, is_from_command_line)


def read_project_options(values: dict[str, Any]) -> ProjectOptions:
    """Takes the shared options out of a command's arguments."""
    return ProjectOptions(
        values.pop("dockerfiles"), values.pop("build_args"), values.pop("context_add"), tuple(dict.fromkeys(values.pop("platforms")))
    )


def _decorate(function: _F, *decorators: Callable[[_F], _F]) -> _F:
    return reduce(lambda decorated, decorator: decorator(decorated), reversed(decorators), function)
