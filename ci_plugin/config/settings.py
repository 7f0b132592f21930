"""``.stagepin.yaml``: our own settings, all optional. Order of strength: command line, environment, this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TypeVar

from ci_plugin.config.dialects import ARGS, CONTEXT, DOCKERFILE, FROM_LATEST, TARGET
from ci_plugin.config.model import DockerfileImage
from ci_plugin.config.readers import read_path, read_platforms
from ci_plugin.config.registries import RegistryPrefix, parse_registry_prefix
from ci_plugin.config.sections import Key, Problems, Section, Table
from ci_plugin.config.source import decode
from ci_plugin.config.yaml_nodes import ListNode, MapNode, Node, ScalarNode, parse_documents, read_map, read_text, read_texts
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.duration import parse_duration
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Repository, parse_repository
from ci_plugin.values.store_name import STORES

SETTINGS_FILE = ".stagepin.yaml"
_LONGEST_SETTLE = 60.0
_LONGEST_WAIT = 600.0
_T = TypeVar("_T")


def _seconds(longest: float) -> Callable[[Node], float]:
    def read(node: Node) -> float:
        text = read_text(node)
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= longest:
            message = f"expected seconds from 0 to {longest:g}, found {text[:50]!r}"
            raise ConfigError(message, hint="write a number such as 2", where=node.location)
        return seconds

    return read


def _parsed(parse: Callable[[str], _T], hint: str) -> Callable[[Node], _T]:
    def read(node: Node) -> _T:
        try:
            return parse(read_text(node))
        except ValueError as error:
            raise ConfigError(str(error), hint=hint, where=node.location) from None

    return read


_read_host = _parsed(parse_registry_prefix, "write host or host:port, such as registry.internal:5000, without http://")
_read_prefix = _parsed(parse_registry_prefix, "write a host, or a host and the path its images are below; there are no wildcards")


def _read_prefixes(node: Node) -> tuple[RegistryPrefix, ...]:
    return tuple(_read_prefix(item) for item in (node.items if isinstance(node, ListNode) else (node,)))


def _read_mirrors(node: Node) -> Mapping[str, tuple[str, ...]]:
    """Registry host → its mirrors, each ``host[:port][/path]``, in the order they are asked."""
    mirrors = {}
    for key, value in read_map(node).entries:
        registry = _read_prefix(key)
        if registry.path:
            message = f"expected a registry's host before its mirrors, found {key.text[:150]!r}"
            raise ConfigError(message, hint=f"write `{registry.registry}: [...]`", where=key.location)
        mirrors[registry.registry] = tuple(dict.fromkeys(str(prefix) for prefix in _read_prefixes(value)))
    return MappingProxyType(mirrors)


def _read_insecure(node: Node) -> tuple[str, ...]:
    """Hosts, with or without a port: what they are asked over is the point of the list."""
    hosts = []
    for item in node.items if isinstance(node, ListNode) else (node,):
        prefix = _read_host(item)
        if prefix.path:
            message = f"expected a registry's host, found {read_text(item)[:150]!r}"
            raise ConfigError(message, hint=f"write `{prefix.registry}`", where=item.location)
        hosts.append(prefix.registry)
    return tuple(hosts)


def parse_keep(text: str) -> Repository:
    """The repository for copies. Raises ValueError, which repeats no password."""
    return _parse_other_repository(text, "for the copies", "keeps none")


def parse_cache_repo(text: str) -> Repository:
    """A repository whose stages are taken. Raises ValueError, which repeats no password."""
    return _parse_other_repository(text, "to take stages from", "is none")


def _parse_other_repository(text: str, what_for: str, why_not_local: str) -> Repository:
    if text.startswith(":"):
        raise ValueError(f"expected a registry's repository {what_for}, found {text[:50]!r}: an engine's own store {why_not_local}")
    if "@" in text.partition("/")[0]:
        raise ValueError("expected a repository without user and password, found one with them; docker's configuration holds credentials")
    return parse_repository(text)


def _read_cache_repos(node: Node) -> tuple[Repository, ...]:
    read = _parsed(parse_cache_repo, "write a repository such as registry.example.com/group/app")
    return tuple(dict.fromkeys(read(item) for item in (node.items if isinstance(node, ListNode) else (node,))))


def _read_store(node: Node) -> str:
    text = read_text(node)
    if text not in STORES:
        raise ConfigError(
            f"expected one of {', '.join(STORES)}, found {text[:50]!r}", hint="docs/stores.md compares them", where=node.location
        )
    return text


REPO = Key("repo", read_text)
STORE = Key("store", _read_store)
SCOPE = Key("scope", read_text)
PLATFORMS = Key("platforms", read_platforms)
REGISTRIES = Key("registries", read_map)
ALLOW = Key("allow", _read_prefixes)
MIRRORS = Key("mirrors", _read_mirrors)
WAIT_FOR_PLATFORMS = Key("waitForPlatforms", _seconds(_LONGEST_WAIT))
INSECURE = Key("insecure", _read_insecure)
CA = Key("ca", read_path)
READABLE_ENV = Key("env", read_texts)
DOCKERFILES = Key("dockerfiles", read_map)
SETTLE = Key("settle", _seconds(_LONGEST_SETTLE))
MAX_AGE = Key("maxAge", _parsed(parse_duration, "write a number and m, h or d"))
CACHE_REPOS = Key("cacheRepos", _read_cache_repos)
KEEP = Key("keep", _parsed(parse_keep, "write a repository such as registry.example.com/group/bases"))

_SETTINGS = Table.of(
    (REPO, CACHE_REPOS, STORE, SCOPE, PLATFORMS, REGISTRIES, READABLE_ENV, DOCKERFILES, SETTLE, MAX_AGE, KEEP), later=("checks",)
)
_REGISTRIES = Table.of((ALLOW, MIRRORS, WAIT_FOR_PLATFORMS, INSECURE, CA))
_DOCKERFILE = Table.of((DOCKERFILE, CONTEXT, TARGET, ARGS, FROM_LATEST))


@dataclass(frozen=True, slots=True)
class Settings:
    """What ``.stagepin.yaml`` says; None and empty where it says nothing."""

    repo: str | None = None
    store: str | None = None
    """One of ``STORES``."""
    scope: str | None = None
    platforms: tuple[Platform, ...] = ()
    insecure: tuple[str, ...] = ()
    """Registries (``host`` or ``host:port``) spoken to over plain HTTP."""
    ca_file: str | None = None
    """A file of CA certificates, path relative to the project directory."""
    readable_env: tuple[str, ...] | None = None
    """Environment names a template may read; None: all that do not look like a secret."""
    dockerfiles: tuple[DockerfileImage, ...] = ()
    settle_seconds: float = 2.0
    allowed: tuple[RegistryPrefix, ...] | None = None
    """The registries an image may come from; None: any."""
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Registry host → its mirrors, each ``host[:port][/path]``, the first asked first."""
    platform_wait_seconds: float = 10.0
    """How long an index that lacks a platform we build is asked again."""
    max_age: timedelta | None = None
    keep: Repository | None = None
    """The repository that gets a copy of every pinned base."""
    cache_repos: tuple[Repository, ...] = ()
    """Repositories whose stages are taken instead of built, the first asked first."""


def parse_settings(data: bytes, file: str = SETTINGS_FILE) -> Settings:
    """The settings in these bytes; an empty file is no setting. Raises one ConfigError that names every problem."""
    documents = parse_documents(decode(data, file), file)
    if len(documents) > 1:
        raise ConfigError("expected one document, found several", hint="remove the `---` lines", where=documents[1].location)
    problems = Problems()
    settings = Settings()
    if documents:
        section = Section(read_map(documents[0]))
        section.check(_SETTINGS, "stagepin", problems)
        with problems.collect():
            settings = _read(section, problems)
    problems.raise_first()
    return settings


def _read(section: Section, problems: Problems) -> Settings:
    nowhere = MapNode((), Location(section.node.location.file))
    registries = Section(section.get(REGISTRIES) or nowhere)
    registries.check(_REGISTRIES, "stagepin", problems)
    settle, wait = section.get(SETTLE), registries.get(WAIT_FOR_PLATFORMS)
    return Settings(
        repo=section.get(REPO),
        store=section.get(STORE),
        scope=section.get(SCOPE),
        platforms=section.get(PLATFORMS) or (),
        insecure=registries.get(INSECURE) or (),
        ca_file=registries.get(CA),
        readable_env=section.get(READABLE_ENV),
        dockerfiles=tuple(_dockerfiles(section.get(DOCKERFILES) or nowhere, problems)),
        settle_seconds=2.0 if settle is None else settle,
        allowed=_allowed(registries),
        mirrors=registries.get(MIRRORS) or {},
        platform_wait_seconds=10.0 if wait is None else wait,
        max_age=section.get(MAX_AGE),
        keep=section.get(KEEP),
        cache_repos=section.get(CACHE_REPOS) or (),
    )


def _allowed(registries: Section) -> tuple[RegistryPrefix, ...] | None:
    """``allow:`` with nothing after it is a slip, and must not mean that everything is allowed."""
    value = registries.node.find(ALLOW.name)
    if isinstance(value, ScalarNode) and value.is_null:
        message = "expected the registries images may come from, found nothing"
        raise ConfigError(message, hint="write `allow: [docker.io/library]`, or remove the line", where=registries.where(ALLOW))
    return registries.get(ALLOW)


def _dockerfiles(node: MapNode, problems: Problems) -> list[DockerfileImage]:
    images = []
    for name, value in node.entries:
        with problems.collect():
            section = Section(read_map(value))
            section.check(_DOCKERFILE, "stagepin", problems)
            from_latest = section.get(FROM_LATEST)
            images.append(
                DockerfileImage(
                    name=name.text,
                    dockerfile=section.get(DOCKERFILE) or "Dockerfile",
                    location=name.location,
                    context=section.get(CONTEXT) or ".",
                    target=section.get(TARGET),
                    build_args=section.get(ARGS) or {},
                    from_latest=from_latest is not False,
                )
            )
    return images
