"""Readers of values that more than one directive has: paths, globs, platforms, references, commands, healthchecks."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping

from ci_plugin.config.parts import Healthcheck
from ci_plugin.config.sections import SCALAR, SCALARS, takes
from ci_plugin.config.yaml_nodes import ListNode, Node, read_text, read_texts
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.reference import Reference, parse_reference

_SECOND = 1_000_000_000
_UNITS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": _SECOND, "m": 60 * _SECOND, "h": 3600 * _SECOND}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
_PART = re.compile(r"([0-9.]+)(ns|us|µs|ms|s|m|h)")
_OPTION = re.compile(r"--([a-z-]+)=(\S*)\s*")
_TIMES = ("interval", "timeout", "start-period", "start-interval")


@takes({"type": ["string", "null"]})
def read_path(node: Node) -> str:
    """A path inside the project, POSIX, cleaned. Raises ConfigError for an absolute path or one that leaves the project."""
    text = read_text(node)
    path = posixpath.normpath(text) if text else ""
    if not path or path.startswith(("/", "../")) or path == ".." or "\\" in path:
        raise ConfigError(
            f"expected a path inside the project, found {text[:200]!r}",
            hint="write it relative to the project directory, without `..`",
            where=node.location,
        )
    return path


@takes({"type": ["string", "null"], "pattern": "^/"})
def read_absolute(node: Node) -> str:
    """An absolute path, cleaned. Raises ConfigError."""
    text = read_text(node)
    if not text.startswith("/"):
        raise ConfigError(f"expected an absolute path, found {text[:200]!r}", hint=f"write /{text[:200]}", where=node.location)
    return posixpath.normpath("/" + text.lstrip("/"))


@takes(SCALARS)
def read_globs(node: Node) -> tuple[str, ...]:
    """Relative globs, one or a list. Raises ConfigError for an absolute one or one that leaves its directory."""
    globs = read_texts(node)
    for index, text in enumerate(globs):
        if not text or text.startswith("/") or ".." in text.split("/"):
            where = node.items[index].location if isinstance(node, ListNode) else node.location
            hint = "write it relative to `add`, without a leading / and without `..`"
            raise ConfigError(f"expected a relative path, found {text[:200]!r}", hint=hint, where=where)
    return globs


@takes(SCALARS)
def read_paths(node: Node) -> tuple[str, ...]:
    """Paths inside the context of a Dockerfile, one or a list. Raises ConfigError."""
    return tuple(read_path(item) for item in (node.items if isinstance(node, ListNode) else (node,)))


@takes({"type": ["string", "array", "null"], "items": {"type": "string"}})
def read_platforms(node: Node) -> tuple[Platform, ...]:
    """One platform or a list of them, each once. Raises ConfigError."""
    try:
        return tuple(dict.fromkeys(parse_platform(text) for text in read_texts(node)))
    except ValueError as error:
        raise ConfigError(str(error), hint="write os/architecture", where=node.location) from None


def read_reference(text: str, where: Location) -> Reference:
    """The reference in this text. Raises ConfigError for what is none, and for ``scratch`` with a tag."""
    try:
        reference = parse_reference(text)
    except ValueError as error:
        raise ConfigError(str(error), hint="write name:tag, or name@sha256:<64 hex>", where=where) from None
    if str(reference.repository) == "docker.io/library/scratch":
        message = f"expected `scratch` alone, found {text!r}: it is a word, not an image of a registry"
        raise ConfigError(message, hint="write `scratch` without tag or digest", where=where)
    return reference


@takes(SCALARS)
def read_command(node: Node) -> tuple[str, ...]:
    """``CMD`` and ``ENTRYPOINT``: a list, a list in brackets as a Dockerfile has it, or a line for the shell. Raises ConfigError."""
    if isinstance(node, ListNode):
        return read_texts(node)
    text = read_text(node)
    if text.lstrip().startswith("["):
        return _exec_form(text, node.location)
    return ("/bin/sh", "-c", text)


def _exec_form(text: str, where: Location) -> tuple[str, ...]:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return ("/bin/sh", "-c", text)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ConfigError(f"expected a list of texts, found {text[:100]!r}", hint='write ["program", "argument"]', where=where)
    return tuple(items)


@takes(SCALARS)
def read_healthcheck(node: Node) -> Healthcheck:
    """``HEALTHCHECK`` as a Dockerfile has it, options first; a list is the command. Raises ConfigError."""
    if isinstance(node, ListNode):
        return Healthcheck(("CMD", *read_texts(node)))
    text, options = _options(read_text(node).strip(), node.location)
    if text == "NONE" and not options:
        return Healthcheck(("NONE",))
    if not text.startswith("CMD"):
        message = f"expected `CMD command` or `NONE`, found {text[:100]!r}"
        raise ConfigError(message, hint="write [--interval=30s] CMD and the command", where=node.location)
    command = text.removeprefix("CMD").strip()
    test = ("CMD", *_exec_form(command, node.location)) if command.startswith("[") else ("CMD-SHELL", command)
    return _healthcheck(test, options, node.location)


def _healthcheck(test: tuple[str, ...], options: Mapping[str, str], where: Location) -> Healthcheck:
    times = {name.replace("-", "_"): read_duration(options[name], where) for name in _TIMES if name in options}
    retries = options.get("retries")
    if retries is not None and not re.fullmatch("[0-9]{1,9}", retries, re.ASCII):
        raise ConfigError(f"expected a number of retries, found {retries[:50]!r}", hint="write --retries=3", where=where)
    return Healthcheck(test, **times, retries=None if retries is None else int(retries))


def _options(text: str, where: Location) -> tuple[str, dict[str, str]]:
    found: dict[str, str] = {}
    while match := _OPTION.match(text):
        if match[1] not in (*_TIMES, "retries"):
            known = ", ".join(f"--{name}" for name in (*_TIMES, "retries"))
            raise ConfigError(f"expected an option of HEALTHCHECK, found --{match[1][:50]}", hint=f"known: {known}", where=where)
        found[match[1]] = match[2]
        text = text[match.end() :]
    return text, found


def read_duration(text: str, where: Location) -> int:
    """Nanoseconds of ``30s``, ``1m30s``, ``500ms``. Raises ConfigError."""
    if not _DURATION.fullmatch(text):
        raise ConfigError(
            f"expected a duration such as 30s or 1m30s, found {text[:50]!r}", hint="write a number and s, m or h", where=where
        )
    return sum(round(float(number) * _UNITS[unit]) for number, unit in _PART.findall(text))


@takes(SCALAR)
def read_name(node: Node) -> str:
    """A name that is not empty. Raises ConfigError."""
    text = read_text(node)
    if not text:
        raise ConfigError("expected a name, found an empty text", hint="write a name, or remove the line", where=node.location)
    return text
