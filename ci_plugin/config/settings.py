"""``.stagepin.yaml``: our own settings, all optional. Order of strength: command line, environment, this file."""

from __future__ import annotations

from dataclasses import dataclass

from ci_plugin.config.dialects import ARGS, CONTEXT, DOCKERFILE, FROM_LATEST, TARGET, read_path, read_platforms
from ci_plugin.config.model import DockerfileImage
from ci_plugin.config.sections import Key, Problems, Section, Table
from ci_plugin.config.source import decode
from ci_plugin.config.yaml_nodes import MapNode, Node, parse_documents, read_map, read_text, read_texts
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.platform import Platform
from ci_plugin.values.store_name import STORES

SETTINGS_FILE = ".stagepin.yaml"
_LONGEST_SETTLE = 60.0


def _read_seconds(node: Node) -> float:
    text = read_text(node)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST_SETTLE:
        message = f"expected seconds from 0 to {_LONGEST_SETTLE:g}, found {text[:50]!r}"
        raise ConfigError(message, hint="write a number such as 2", where=node.location)
    return seconds


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
INSECURE = Key("insecure", read_texts)
CA = Key("ca", read_path)
READABLE_ENV = Key("env", read_texts)
DOCKERFILES = Key("dockerfiles", read_map)
SETTLE = Key("settle", _read_seconds)

_SETTINGS = Table.of((REPO, STORE, SCOPE, PLATFORMS, REGISTRIES, READABLE_ENV, DOCKERFILES, SETTLE), later=("cacheRepos", "checks"))
_REGISTRIES = Table.of((INSECURE, CA), later=("allow", "mirrors"))
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
    settle = section.get(SETTLE)
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
    )


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
