"""The document about the project: its name, what holds for every image, and what concerns other commands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ci_plugin.config.directives.image_spec import GLOBAL_IMAGE_SPEC, read_global_image_spec
from ci_plugin.config.parts import Ignored, ImageSpec
from ci_plugin.config.readers import read_name, read_platforms
from ci_plugin.config.sections import SCALAR, Key, Section, Table, mapping, takes
from ci_plugin.config.yaml_nodes import MapNode, Node, ScalarNode, read_flag, read_text
from ci_plugin.errors import ConfigError
from ci_plugin.values.platform import Platform

_PROJECT_NAME = re.compile(r"(?=.{1,50}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", re.ASCII)


@takes({"enum": [1, "1", None]})
def _read_version(node: Node) -> int:
    text = read_text(node)
    if text != "1" and not (isinstance(node, ScalarNode) and node.value == 1):
        raise ConfigError(f"expected configVersion 1, found {text[:50]!r}", hint="write `configVersion: 1`", where=node.location)
    return 1


@takes(SCALAR)
def _read_project(node: Node) -> str:
    name = read_name(node)
    if not _PROJECT_NAME.fullmatch(name):
        message = f"expected a project name of lower-case letters, digits and dashes (at most 50), found {name[:100]!r}"
        raise ConfigError(message, hint="write it as in `my-project`", where=node.location)
    return name


PROJECT = Key("project", _read_project, "Name of the project")
CONFIG_VERSION = Key("configVersion", _read_version, "Always 1")
CACHE_VERSION = Key("cacheVersion", read_text, "Another text builds every image anew")
PLATFORM = Key("platform", read_platforms, "os/architecture of every image")
STAGED = Key("staged", read_flag, "How werf caches Dockerfiles; it changes nothing here")
BUILD = mapping("build", Table.of((CACHE_VERSION, PLATFORM, STAGED, GLOBAL_IMAGE_SPEC), ignored=("sbom",)), "What holds for every image")
IGNORED = {
    "deploy": "it concerns deploying, which your deploy tool does with what `stagepin verify` proves",
    "cleanup": "it concerns cleaning up registries, and nothing that is built or deployed",
    "gitWorktree": "it concerns fetching history, and stagepin needs only the commit, also in a shallow clone",
    "helm": "it concerns deploying, which your deploy tool does with what `stagepin verify` proves",
}
META = Table.of((PROJECT, CONFIG_VERSION, BUILD), later=("includes",), ignored=IGNORED, required=("configVersion",))
_IGNORED_BUILD = {
    "staged": "it concerns how werf caches Dockerfiles; BuildKit keeps every instruction",
    "sbom": "it concerns bills of materials, which are made from the finished image",
}


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the document about the project says for every image."""

    project: str
    cache_version: str | None = None
    platforms: tuple[Platform, ...] = ()
    image_spec: ImageSpec | None = None
    ignored: tuple[Ignored, ...] = ()


def read_meta(meta: Section, project: str) -> Defaults:
    """The defaults of this document; ``project`` names it where it does not say. Raises ConfigError."""
    if not meta.has(CONFIG_VERSION):
        raise meta.error("expected configVersion 1, found none", "write `configVersion: 1`", CONFIG_VERSION)
    meta.get(CONFIG_VERSION)
    name = meta.get(PROJECT) or project
    ignored = _ignored(meta, IGNORED)
    build = meta.open(BUILD)
    if build is None:
        return Defaults(name, ignored=ignored)
    build.get(STAGED)
    return Defaults(
        project=name,
        cache_version=build.get(CACHE_VERSION),
        platforms=build.get(PLATFORM) or (),
        image_spec=read_global_image_spec(build),
        ignored=ignored + _ignored(build, _IGNORED_BUILD),
    )


def _ignored(section: Section, reasons: dict[str, str]) -> tuple[Ignored, ...]:
    return tuple(Ignored(key.text, reasons[key.text], key.location) for key, _ in section.node.entries if key.text in reasons)


def is_meta(node: MapNode) -> bool:
    """Whether a document of werf.yaml is the one about the project."""
    return any(key.text in (PROJECT.name, CONFIG_VERSION.name) for key, _ in node.entries)
