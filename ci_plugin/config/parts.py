"""What an image of a configuration may have besides its base and its commands. Frozen values, free of YAML, each with its place.

Paths: ``add`` and ``to`` are absolute and clean, include and exclude paths are relative globs below ``add``.
Passwords and secret values stand in no ``repr``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeAlias, TypeVar

from ci_plugin.errors import Location
from ci_plugin.values.reference import Reference

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Placed(Generic[T_co]):
    """A value and where it was written."""

    value: T_co
    location: Location


@dataclass(frozen=True, slots=True)
class SecretValue:
    """Exactly one of: an environment variable's name, a file's path, the value itself."""

    env: str | None = None
    src: str | None = None
    value: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """``secrets``: handed to the commands of a build under an id, never kept in the image."""

    id: str
    source: SecretValue
    location: Location


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a tree go where, and whose they become."""

    add: str
    to: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    owner: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class GitRemote:
    """A repository elsewhere; at most one of branch, tag, commit (none: the branch the project's dialect takes by default, ``master``)."""

    url: str = field(repr=False)
    branch: str | None = None
    tag: str | None = None
    commit: str | None = None
    user: str | None = None
    password: SecretValue | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """The url without a user or a password, to show and to compare."""
        return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@", r"\1", self.url)


@dataclass(frozen=True, slots=True)
class GitMapping:
    """``git``: files of the commit, or of another repository, in the image; globs of a stage say which changes run it again."""

    files: Selection
    location: Location
    stage_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """``install``, ``beforeSetup``, ``setup`` → globs below ``add``."""
    remote: GitRemote | None = None


class Side(Enum):
    """Before or after the user's stage that is named with it."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something is put into an image: before or after ``install`` or ``setup``."""

    side: Side
    stage: str


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Another image of the same configuration, whole or (``stage``) as it is after one of its stages."""

    image: str
    location: Location
    stage: str | None = None


@dataclass(frozen=True, slots=True)
class ExternalSource:
    """An image of a registry; ``from_latest``: its pinned digest enters the stage signature."""

    reference: Reference
    location: Location
    from_latest: bool = False


Source: TypeAlias = ImageSource | ExternalSource


@dataclass(frozen=True, slots=True)
class Import:
    """``import``: files of another image."""

    source: Source
    moment: Moment
    files: Selection
    location: Location


class MountKind(Enum):
    """Where a mounted directory comes from."""

    TMP_DIR = "tmp_dir"
    BUILD_DIR = "build_dir"
    PATH = "fromPath"


@dataclass(frozen=True, slots=True)
class Mount:
    """``mount``: a directory of the build machine, seen by the commands and no part of the image."""

    kind: MountKind
    to: str
    location: Location
    path: str | None = None
    """Of the build machine, with ``fromPath``."""


DEPENDENCY_TYPES = ("ImageName", "ImageTag", "ImageRepo", "ImageID", "ImageDigest")


@dataclass(frozen=True, slots=True)
class DependencyImport:
    """One fact about another image, handed to a build as an environment variable (stapel) or a build argument (Dockerfile)."""

    type: str
    target: str
    location: Location


@dataclass(frozen=True, slots=True)
class Dependency:
    """``dependencies``: what a build is told about another image of the configuration; ``moment`` is None for a Dockerfile image."""

    image: str
    location: Location
    moment: Moment | None = None
    imports: tuple[DependencyImport, ...] = ()


@dataclass(frozen=True, slots=True)
class Healthcheck:
    """As Docker's API takes it; durations in nanoseconds, None where the builder's default holds."""

    test: tuple[str, ...]
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """``imageSpec``: what is written into, and taken out of, the config of the finished image. None and empty where nothing is said."""

    location: Location
    author: str | None = None
    clear_history: bool = False
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    expose: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str | None = None
    user: str | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str | None = None
    remove_labels: tuple[str, ...] = ()
    remove_volumes: tuple[str, ...] = ()
    remove_env: tuple[str, ...] = ()
    flags: frozenset[str] = frozenset()
    """Of ``clearCmd``, ``clearEntrypoint``, ``clearUser``, ``clearWorkingDir``, ``clearWerfLabels``, ``keepEssentialWerfLabels``."""


@dataclass(frozen=True, slots=True)
class AnsibleTask:
    """One task by the stage it belongs to; ``module`` is what it runs, as far as its keys tell."""

    stage: str
    module: str
    name: str | None
    location: Location


@dataclass(frozen=True, slots=True)
class Ansible:
    """``ansible``: kept apart, never built here; see docs/configuration.md for the way out."""

    tasks: tuple[AnsibleTask, ...]
    location: Location
    cache_versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ignored:
    """A directive that concerns other commands than ours, and why it changes nothing here."""

    directive: str
    reason: str
    location: Location
