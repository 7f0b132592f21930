"""The configuration every dialect is parsed into: images, their bases, their stages' commands. Frozen, validated, free of YAML.

Rules held by ``Configuration.of``: image names are unique, every image another one needs exists, no cycle. What an image may have
besides a base and commands stands in ``parts``; which of it can be built so far is the conveyor's business.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_plugin.config.parts import (
    Ansible,
    Dependency,
    GitMapping,
    Healthcheck,
    Ignored,
    ImageSource,
    ImageSpec,
    Import,
    Mount,
    Placed,
    Secret,
)
from ci_plugin.config.problems import Problems
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference

IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}", re.ASCII)
USER_STAGES = ("beforeInstall", "install", "beforeSetup", "setup")
"""The stages whose commands are the user's, in the order of the conveyor."""


@dataclass(frozen=True, slots=True)
class ExternalBase:
    """``from: alpine``: an image of a registry; ``from_latest`` says whether its pinned digest enters the stage signature."""

    reference: Reference
    location: Location
    from_latest: bool = False


@dataclass(frozen=True, slots=True)
class ScratchBase:
    """``from: scratch``: no base at all."""

    location: Location


@dataclass(frozen=True, slots=True)
class ArchiveBase:
    """``fromArchive: rootfs.tar``: a root filesystem, path relative to the project directory, plain or gzip, xz, zstd."""

    path: str
    location: Location


@dataclass(frozen=True, slots=True)
class ImageBase:
    """``fromImage`` / ``fromImageArtifact`` and their aliases: another image of the same configuration."""

    image: str
    location: Location


Base: TypeAlias = ExternalBase | ScratchBase | ArchiveBase | ImageBase


@dataclass(frozen=True, slots=True)
class Shell:
    """Commands and cache versions by user stage; ``cache_version`` is the one for all of them."""

    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cache_versions: Mapping[str, str] = field(default_factory=dict)
    cache_version: str | None = None
    build_artifact: Placed[tuple[str, ...]] | None = None
    """dapp: the commands an artifact ends with."""


@dataclass(frozen=True, slots=True)
class DockerInstructions:
    """The ``docker:`` section: what is written into the image's config."""

    volumes: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    workdir: str | None = None
    user: str | None = None
    healthcheck: tuple[str, ...] | None = None
    """As Docker's API takes it: ``("CMD", "/bin/probe")``, ``("CMD-SHELL", "probe")`` or ``("NONE",)``."""
    healthcheck_times: Placed[Healthcheck] | None = None
    """Where ``HEALTHCHECK`` has options: the same test with them."""
    exact_values: bool = False
    """Says what is always done here: values are written as they are, without expanding variables."""


@dataclass(frozen=True, slots=True)
class StapelImage:
    """An image (or artifact image) built stage by stage."""

    name: str
    base: Base
    location: Location
    is_artifact: bool = False
    is_final: bool = True
    from_cache_version: str | None = None
    cache_version: str | None = None
    shell: Shell = Shell()
    docker: DockerInstructions | None = None
    platforms: tuple[Platform, ...] = ()
    git: tuple[GitMapping, ...] = ()
    imports: tuple[Import, ...] = ()
    mounts: tuple[Mount, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    secrets: tuple[Secret, ...] = ()
    image_spec: ImageSpec | None = None
    ansible: Ansible | None = None
    network: Placed[str] | None = None
    disable_git_after_patch: Placed[bool] | None = None

    @property
    def needs(self) -> tuple[tuple[str, Location], ...]:
        """The images of the configuration it is made of, each where it is named: its base, its imports, its dependencies."""
        base = ((self.base.image, self.base.location),) if isinstance(self.base, ImageBase) else ()
        sources = (item.source for item in self.imports)
        imports = tuple((source.image, source.location) for source in sources if isinstance(source, ImageSource))
        return base + imports + tuple((item.image, item.location) for item in self.dependencies)


@dataclass(frozen=True, slots=True)
class DockerfileImage:
    """An image built from a Dockerfile; paths are POSIX and relative to the project directory."""

    name: str
    dockerfile: str
    location: Location
    context: str = "."
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    context_add: tuple[str, ...] = ()
    from_latest: bool = False
    cache_version: str | None = None
    is_final: bool = True
    platforms: tuple[Platform, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    secrets: tuple[Secret, ...] = ()
    image_spec: ImageSpec | None = None
    network: Placed[str] | None = None
    ssh: Placed[str] | None = None
    add_host: Placed[tuple[str, ...]] | None = None
    places: Mapping[str, Location] = field(default_factory=dict)
    """Where ``dockerfile`` and ``target`` are written, where they are."""

    @property
    def needs(self) -> tuple[tuple[str, Location], ...]:
        """The images of the configuration its build is told about, each where it is named."""
        return tuple((item.image, item.location) for item in self.dependencies)


Image: TypeAlias = StapelImage | DockerfileImage


@dataclass(frozen=True, slots=True)
class Configuration:
    """All images of a project, in the order of the text; ``file`` is None for Dockerfiles given on the command line."""

    project: str
    dialect: str
    file: str | None
    images: tuple[Image, ...]
    ignored: tuple[Ignored, ...] = ()
    """What stands in the file and concerns other commands than ours."""

    @classmethod
    def of(cls, project: str, dialect: str, file: str | None, images: Iterable[Image], ignored: Iterable[Ignored] = ()) -> Configuration:
        """A validated configuration. Raises ConfigError for a name used twice, an unknown image, a cycle, or no image: all at once."""
        problems = Problems()
        configuration = cls(project, dialect, file, tuple(images), tuple(ignored))
        problems.add_all(configuration.faults())
        problems.raise_first()
        return configuration

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    @property
    def notices(self) -> tuple[str, ...]:
        """One sentence for every directive that is left to other commands, however often it stands there."""
        first = {item.directive: item for item in reversed(self.ignored)}
        lines = (
            f"`{item.directive}` is not read ({item.location}): {item.reason}" for item in self.ignored if first[item.directive] is item
        )
        return tuple(lines)

    def get(self, name: str, where: Location | None = None) -> Image:
        """The image of that name. Raises ConfigError with the nearest name."""
        for image in self.images:
            if image.name == name:
                return image
        raise unknown_image(name, [image.name for image in self.images], where)

    def chain(self, image: Image) -> tuple[Image, ...]:
        """The images this one is built on, nearest first, ending at one whose base is no image."""
        found: list[Image] = []
        while isinstance(image, StapelImage) and isinstance(image.base, ImageBase):
            image = self.get(image.base.image, image.base.location)
            found.append(image)
        return tuple(found)

    def with_dependencies(self, names: Iterable[str]) -> tuple[Image, ...]:
        """These images and all they are made of, in the order of the text; no names means all. Raises ConfigError."""
        wanted: set[str] = set()
        left = [self.get(name) for name in sorted(set(names))] or list(self.images)
        while left:
            image = left.pop()
            if image.name not in wanted:
                wanted.add(image.name)
                left += [self.get(name, where) for name, where in image.needs]
        return tuple(image for image in self.images if image.name in wanted)

    def faults(self, declared: Collection[str] = (), *, is_empty_told: bool = False) -> Iterator[ConfigError]:
        """What is wrong between the images; ``declared``: names of the file whose images could not be read.

        ``is_empty_told``: documents could not be read at all, so that there is no image follows from what was told.
        """
        if not self.images and not declared and not is_empty_told:
            where = Location(self.file) if self.file else None
            yield ConfigError("expected at least one image, found none", hint="add `image: NAME` and `from: BASE`", where=where)
        yield from self._name_faults()
        known = {image.name for image in self.images} | set(declared)
        missing = [(name, where) for image in self.images for name, where in image.needs if name not in known]
        yield from (unknown_image(name, sorted(known), where) for name, where in missing)
        yield from _cycles(self.images)

    def _name_faults(self) -> Iterator[ConfigError]:
        seen: dict[str, Location] = {}
        for image in self.images:
            if image.name in seen:
                message = f"expected every image name once, found {image.name!r} again (first at {seen[image.name]})"
                yield ConfigError(message, hint="rename one of the two", where=image.location)
            elif not IMAGE_NAME.fullmatch(image.name):
                message = f"expected an image name of letters, digits and ./_- (at most 128), found {image.name[:150]!r}"
                yield ConfigError(message, hint="rename it", where=image.location)
            seen.setdefault(image.name, image.location)


def unknown_image(name: str, known: Sequence[str], where: Location | None) -> ConfigError:
    """The error for a name that no image has, with the nearest one."""
    near = difflib.get_close_matches(name[:200], known, 1)
    some = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    hint = f"did you mean {near[0]!r}?" if near else f"this configuration has: {some}"
    if where and "/" in name and not near:
        hint += "; an image of a registry is written with its tag (NAME:latest) or digest"
    return ConfigError(f"expected the name of an image, found {name[:200]!r}", hint=hint, where=where)


def _cycles(images: Iterable[Image]) -> Iterator[ConfigError]:
    """One error for every cycle of bases, imports and dependencies; iterative, because a chain may be a thousand images long."""
    graph = {image.name: image.needs for image in reversed(tuple(images))}
    done: set[str] = set()
    for start in reversed(graph):
        path, left = [start], [iter(graph[start] if start not in done else ())]
        while left:
            name, where = next(left[-1], (None, None))
            if name is None:
                left.pop()
                done.add(path.pop())
            elif name in path:
                yield _cycle([*path[path.index(name) :], name], where)
            elif name in graph and name not in done:
                path.append(name)
                left.append(iter(graph[name]))


def _cycle(names: Sequence[str], where: Location | None) -> ConfigError:
    if len(names) == 2:
        hint = f"name another image, or write `from: {names[0]}:TAG` to mean the registry's image"
        return ConfigError(f"expected another image, found {names[0]!r} itself", hint=hint, where=where)
    shown = [*names[:10], "…", names[-1]] if len(names) > 12 else names
    message = f"expected images that end at an external base, found a cycle: {' -> '.join(shown)}"
    return ConfigError(message, hint="give one of them another base or source", where=where)
