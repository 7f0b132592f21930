"""The configuration every dialect is parsed into: images, their bases, their stages' commands. Frozen, validated, free of YAML.

Rules held by ``Configuration.of``: image names are unique, every image named as a base exists, no cycle.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

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


Image: TypeAlias = StapelImage | DockerfileImage


@dataclass(frozen=True, slots=True)
class Configuration:
    """All images of a project, in the order of the text; ``file`` is None for Dockerfiles given on the command line."""

    project: str
    dialect: str
    file: str | None
    images: tuple[Image, ...]

    @classmethod
    def of(cls, project: str, dialect: str, file: str | None, images: Iterable[Image]) -> Configuration:
        """A validated configuration. Raises ConfigError for a name used twice, an unknown base image, a cycle, or no image."""
        configuration = cls(project, dialect, file, tuple(images))
        configuration._check()
        return configuration

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    def get(self, name: str, where: Location | None = None) -> Image:
        """The image of that name. Raises ConfigError with the nearest name."""
        for image in self.images:
            if image.name == name:
                return image
        names = [image.name for image in self.images]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"this configuration has: {', '.join(names)}"
        raise ConfigError(f"expected the name of an image, found {name!r}", hint=hint, where=where)

    def chain(self, image: Image) -> tuple[Image, ...]:
        """The images this one is built on, nearest first, ending at one whose base is no image. Raises ConfigError for a cycle."""
        found: list[Image] = []
        names = [image.name]
        while isinstance(image, StapelImage) and isinstance(image.base, ImageBase):
            base = image.base
            image = self.get(base.image, base.location)
            if image.name in names:
                cycle = " -> ".join([*names, image.name])
                raise ConfigError(
                    f"expected images that end at an external base, found a cycle: {cycle}",
                    hint="give one of them another base",
                    where=base.location,
                )
            names.append(image.name)
            found.append(image)
        return tuple(found)

    def with_dependencies(self, names: Iterable[str]) -> tuple[Image, ...]:
        """These images and all they are built on, in the order of the text; no names means all. Raises ConfigError."""
        wanted = set(names) or {image.name for image in self.images}
        for name in sorted(wanted):
            wanted |= {base.name for base in self.chain(self.get(name))}
        return tuple(image for image in self.images if image.name in wanted)

    def _check(self) -> None:
        if not self.images:
            where = Location(self.file) if self.file else None
            raise ConfigError("expected at least one image, found none", hint="add `image: NAME` and `from: BASE`", where=where)
        seen: dict[str, Location] = {}
        for image in self.images:
            if image.name in seen:
                message = f"expected every image name once, found {image.name!r} again (first at {seen[image.name]})"
                raise ConfigError(message, hint="rename one of the two", where=image.location)
            if not IMAGE_NAME.fullmatch(image.name):
                message = f"expected an image name of letters, digits and ./_- (at most 128), found {image.name[:150]!r}"
                raise ConfigError(message, hint="rename it", where=image.location)
            seen[image.name] = image.location
        for image in self.images:
            self.chain(image)
