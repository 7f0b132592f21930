r"""imageSpec: write the section into the image's config, and take out of it what the section says; nothing runs.

What is taken away is looked up in the parent's config: a pattern ``/regex/`` matches a whole name. Our own labels always stay, because
verification reads them. Values of ``env`` may name variables of the parent: ``$NAME``, ``${NAME}``, ``${NAME:-default}`` and
``${NAME:+other}``; ``\$`` is a dollar sign. An ``entrypoint`` without a ``cmd`` empties the parent's, as in a Dockerfile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from ci_plugin.config.parts import Healthcheck, ImageSpec
from ci_plugin.conveyor.stage import WriteSpec
from ci_plugin.errors import ConfigError, Gone
from ci_plugin.ports import Engine, EngineImage, ImageChange
from ci_plugin.values.digest import ImageId

_VARIABLE = re.compile(r"\\(?P<plain>.)|\$(?:(?P<name>\w+)|\{(?P<braced>\w+)(?::(?P<sign>[-+])(?P<word>[^}]*))?\})", re.ASCII | re.DOTALL)
_WERF_LABEL = re.compile(r"werf(?:[.-].*)?", re.DOTALL)
_ESSENTIAL = frozenset({"werf", "werf-stage-content-digest", "werf.io/parent-stage-id", "werf-project-repo-commit"})
"""What werf's own clean-up reads, so that ``keepEssentialWerfLabels`` keeps it."""
_FIELDS: Mapping[str, Literal["Cmd", "Entrypoint", "User", "WorkingDir"]] = {
    "clearCmd": "Cmd",
    "clearEntrypoint": "Entrypoint",
    "clearUser": "User",
    "clearWorkingDir": "WorkingDir",
}


def write_spec(work: WriteSpec, parent: ImageId, labels: Mapping[str, str], engine: Engine) -> EngineImage:
    """The child image. Our own labels win over the user's: verification reads them."""
    found = engine.find_image(str(parent))
    if found is None:
        raise Gone(f"expected the engine to have the image {parent}, found none", hint="was it pruned meanwhile? run again")
    return engine.derive(parent, spec_change(work.spec, found.config, labels))


def spec_change(spec: ImageSpec, config: Mapping[str, object], labels: Mapping[str, str]) -> ImageChange:
    """What the section does to an image of that config. Raises ConfigError for a pattern that is none."""
    env = dict(item.partition("=")[::2] for item in _texts(config.get("Env")))
    removed = _matching(spec.remove_labels, _texts(config.get("Labels")), spec)
    kept = {*labels, *(_ESSENTIAL if "keepEssentialWerfLabels" in spec.flags else ())}
    if "clearWerfLabels" in spec.flags:
        removed |= {name for name in _texts(config.get("Labels")) if _WERF_LABEL.fullmatch(name)}
    return ImageChange(
        labels={**spec.labels, **labels},
        env={name: expand(value, env) for name, value in spec.env.items()},
        volumes=spec.volumes,
        expose=spec.expose,
        cmd=spec.cmd,
        entrypoint=spec.entrypoint,
        workdir=spec.working_dir,
        user=spec.user,
        healthcheck=spec.healthcheck.test if spec.healthcheck else None,
        healthcheck_times=healthcheck_times(spec.healthcheck),
        stop_signal=spec.stop_signal,
        author=spec.author,
        removed_env=tuple(sorted(_matching(spec.remove_env, env, spec))),
        removed_labels=tuple(sorted(removed - kept)),
        removed_volumes=tuple(sorted(_matching(spec.remove_volumes, _texts(config.get("Volumes")), spec))),
        cleared=frozenset(_cleared(spec)),
        clear_history=spec.clear_history,
    )


def healthcheck_times(check: Healthcheck | None) -> dict[str, int]:
    """The times of a health check under the names of Docker's API, those that were given."""
    if check is None:
        return {}
    times = {
        "Interval": check.interval,
        "Timeout": check.timeout,
        "StartPeriod": check.start_period,
        "StartInterval": check.start_interval,
        "Retries": check.retries,
    }
    return {name: value for name, value in times.items() if value is not None}


def expand(text: str, env: Mapping[str, str]) -> str:
    """The text with its variables replaced by their values in ``env``; one that is not there is empty."""

    def value(found: re.Match[str]) -> str:
        if found["plain"] is not None:
            return found["plain"] if found["plain"] in "$\\" else found[0]
        known = env.get(found["name"] or found["braced"], "")
        if found["sign"] == "-":
            return known or found["word"]
        return found["word"] if found["sign"] == "+" and known else "" if found["sign"] else known

    return _VARIABLE.sub(value, text)


def _cleared(spec: ImageSpec) -> Iterator[Literal["Cmd", "Entrypoint", "User", "WorkingDir"]]:
    yield from (field for flag, field in _FIELDS.items() if flag in spec.flags)
    if spec.entrypoint is not None and spec.cmd is None:
        yield "Cmd"


def _matching(patterns: Iterable[str], names: Iterable[str], spec: ImageSpec) -> set[str]:
    """The names that one of the patterns is, or, as ``/regex/``, matches from end to end."""
    known, found = set(names), set()
    for pattern in patterns:
        if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/") and pattern not in known:
            expression = _compiled(pattern, spec)
            found |= {name for name in known if expression.fullmatch(name)}
        else:
            found |= known & {pattern}
    return found


def _compiled(pattern: str, spec: ImageSpec) -> re.Pattern[str]:
    try:
        return re.compile(pattern[1:-1])
    except re.error as error:
        message = f"expected a regular expression between slashes, found {pattern[:100]!r}: {error}"
        raise ConfigError(message, hint="correct it, or write the name without slashes", where=spec.location) from None


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, (list, tuple, Mapping)) else []
