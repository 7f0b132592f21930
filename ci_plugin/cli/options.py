"""Options that several commands share, and the values they make."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce, wraps
from itertools import chain
from typing import Any, TypeVar, cast

import click
from click.core import ParameterSource

from ci_plugin.errors import InputError, Location
from ci_plugin.values.duration import parse_duration
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.store_name import STORES

_F = TypeVar("_F", bound=Callable[..., Any])
PIN_CHECKSUM = "STAGEPIN_PIN_CHECKSUM"
"""The variable that carries the pin file's checksum to later jobs: a second way, beside the pin file's own."""
_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_PLATFORM = "The platform to pin and build for (default: linux/amd64); repeatable, or several with commas."


@dataclass(frozen=True, slots=True)
class ScopeOptions:
    """Which pins, kept where: ``--repo``, ``--store``, ``--scope``, ``--pipeline``, ``--pin-checksum``.

    ``pin_checksum``: ``sha256:…`` of the pin file the pin job spoke of, None where nobody said, or said it of another scope.
    ``is_repo_from_command_line``: the command names the repository itself, and no variable that a whole workflow shares.
    """

    repo: str | None = None
    store: str | None = None
    scope: str | None = None
    is_scope_from_command_line: bool = False
    pin_checksum: str | None = None
    is_repo_from_command_line: bool = False


@dataclass(frozen=True, slots=True)
class ProjectOptions:
    """Which images, built how: ``--dockerfile``, ``--build-arg``, ``--context-add``, ``--secret``, ``--ssh``, ``--platform``."""

    dockerfiles: tuple[str, ...] = ()
    build_args: tuple[str, ...] = ()
    context_add: tuple[str, ...] = ()
    platforms: tuple[Platform, ...] = ()
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()


class Setting(click.Option):
    """An option that an environment variable may set too: one of the run's environment (``Outside.environ``); empty means unset."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The variable's value, or None."""
        environ: Mapping[str, str] = getattr(ctx.obj, "environ", os.environ)
        return (environ.get(self.envvar) or None) if isinstance(self.envvar, str) else None


class _PlatformsType(click.ParamType[tuple[Platform, ...]]):
    """``linux/amd64,linux/arm64``; a variable may have spaces between them too."""

    name = "platform"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Platform, ...]:
        try:
            return tuple(parse_platform(text.strip()) for text in str(value).split(","))
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def split_envvar_value(self, rv: str) -> list[str]:
        return rv.replace(",", " ").split()


class DurationType(click.ParamType[timedelta]):
    """``30m``, ``12h``, ``7d``."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """The duration; a usage error for anything else."""
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def scope_options(function: _F) -> _F:
    """Adds the options of ``ScopeOptions``; the command gets them as ``scope``."""

    @wraps(function)
    def command(
        *args: object,
        repo: str | None,
        store: str | None,
        scope: str | None,
        pipeline: str | None,
        pin_checksum: str | None,
        **others: object,
    ) -> object:
        return function(*args, scope=_read_scope(repo, store, scope, pipeline, pin_checksum), **others)

    return _decorate(
        cast(_F, command),
        click.option(
            "--repo", cls=Setting, metavar="REPO", envvar="STAGEPIN_REPO", help="Stages storage: a registry repository, or :local."
        ),
        click.option(
            "--store",
            cls=Setting,
            type=click.Choice(STORES),
            envvar="STAGEPIN_STORE",
            help="Where pins and record are kept for later jobs (default: stages-storage).",
        ),
        click.option(
            "--scope", cls=Setting, metavar="SCOPE", envvar="STAGEPIN_SCOPE", help="pipeline (default), commit, or a text of your own."
        ),
        click.option("--pipeline", metavar="ID", help="Short for --scope pipeline:ID."),
        click.option(
            "--pin-checksum",
            cls=Setting,
            metavar="SHA",
            envvar=PIN_CHECKSUM,
            help="The pins must have this checksum, as the pin job handed it on.",
        ),
    )


def project_options(function: _F) -> _F:
    """Adds the options of ``ProjectOptions``; the command gets them as ``project``."""

    @wraps(function)
    def command(
        *args: object,
        dockerfiles: tuple[str, ...],
        build_args: tuple[str, ...],
        context_add: tuple[str, ...],
        platforms: tuple[tuple[Platform, ...], ...],
        secrets: tuple[str, ...],
        ssh: tuple[str, ...],
        **others: object,
    ) -> object:
        wanted = tuple(dict.fromkeys(chain.from_iterable(platforms)))
        project = ProjectOptions(dockerfiles, build_args, context_add, wanted, secrets, ssh)
        return function(*args, project=project, **others)

    return _decorate(
        cast(_F, command),
        click.option(
            "--dockerfile", "dockerfiles", metavar="NAME=PATH[,context=DIR][,target=T]", multiple=True, help="An image; repeatable."
        ),
        click.option("--build-arg", "build_args", metavar="NAME[=VALUE]", multiple=True, help="A Dockerfile's ARG; repeatable."),
        click.option("--context-add", metavar="PATH", multiple=True, help="Add files that are not committed to the build context."),
        click.option(
            "--secret", "secrets", metavar="id=NAME[,env=VAR|,src=FILE]", multiple=True, help="For RUN --mount=type=secret; repeatable."
        ),
        click.option("--ssh", metavar="default[=SOCKET]", multiple=True, help="An SSH agent for RUN --mount=type=ssh; repeatable."),
        click.option(
            "--platform",
            "platforms",
            cls=Setting,
            type=_PlatformsType(),
            metavar="OS/ARCH[,…]",
            envvar="STAGEPIN_PLATFORM",
            multiple=True,
            help=_PLATFORM,
        ),
    )


def _read_scope(repo: str | None, store: str | None, scope: str | None, pipeline: str | None, checksum: str | None) -> ScopeOptions:
    is_given = _is_on_command_line("scope")
    if pipeline and is_given:
        raise click.UsageError("expected --scope or --pipeline, found both")
    is_named = is_given or bool(pipeline)
    return ScopeOptions(
        repo or None,
        store,
        f"pipeline:{pipeline}" if pipeline else scope or None,
        is_named,
        _read_checksum(checksum, is_named),
        is_repo_from_command_line=bool(repo) and _is_on_command_line("repo"),
    )


def _read_checksum(text: str | None, is_scope_named: bool) -> str | None:
    """What the variable says is about this job's own scope: a scope named on the command line, as a rollback does, has other pins.

    Empty on the command line is an error: somebody asked for the comparison, and the value got lost on its way.
    """
    is_option = _is_on_command_line("pin_checksum")
    if text is None or (is_scope_named and not is_option):
        return None
    if not _CHECKSUM.fullmatch(text):
        place = "--pin-checksum" if is_option else f"${PIN_CHECKSUM}"
        raise InputError(
            f"expected sha256:<64 hex> in {place}, found {repr(text[:100]) if text else 'nothing'}",
            hint="hand on what the pin job gave: its output pin-checksum on GitHub, the dotenv of `stagepin pin --env-file` on GitLab",
            where=Location(place),
        )
    return text


def _is_on_command_line(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def _decorate(function: _F, *decorators: Callable[[_F], _F]) -> _F:
    return reduce(lambda decorated, decorator: decorator(decorated), reversed(decorators), function)
