"""What an engine is told and tells: its images, what changes of their config and files, and what commands find around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Literal

from ci_plugin.values.digest import Digest, ImageId
from ci_plugin.values.platform import Platform


@dataclass(frozen=True, slots=True)
class EngineImage:
    """An image in the engine's store; ``config`` is the engine's ``Config`` object (Entrypoint, Cmd, Env, Labels, …)."""

    id: ImageId
    repo_digests: tuple[str, ...]
    diff_ids: tuple[Digest, ...]
    platform: Platform
    labels: Mapping[str, str]
    config: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ImageChange:
    """What one stage writes into the image's config; None and empty mean unchanged. ``env`` and ``labels`` are added to what is there."""

    labels: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    cmd: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    workdir: str | None = None
    user: str | None = None
    healthcheck: tuple[str, ...] | None = None
    healthcheck_times: Mapping[str, int] = field(default_factory=dict)
    """``Interval``, ``Timeout``, ``StartPeriod``, ``StartInterval`` in nanoseconds, ``Retries``; nothing where the engine decides."""
    stop_signal: str | None = None
    author: str | None = None
    removed_env: tuple[str, ...] = ()
    """Names of variables, and of labels and volumes below, that the child no longer has; taken away before anything is added."""
    removed_labels: tuple[str, ...] = ()
    removed_volumes: tuple[str, ...] = ()
    cleared: frozenset[Literal["Cmd", "Entrypoint", "User", "WorkingDir"]] = frozenset()
    """Fields emptied before anything is set."""
    clear_history: bool = False


@dataclass(frozen=True, slots=True)
class MountedDirectory:
    """A directory the commands of a stage see and the image does not keep.

    ``kind``: ``fresh`` is empty for every stage, ``kept`` is the volume ``name`` of the engine, ``host`` the directory ``name`` of the
    engine's machine.
    """

    kind: Literal["fresh", "kept", "host"]
    target: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What a stage's commands find around them. ``secrets``: id → bytes, at ``/run/secrets/<id>`` while the commands run, nowhere else.

    ``network``: ``none``, ``host`` or a network's name; None is the engine's default.
    """

    mounts: tuple[MountedDirectory, ...] = ()
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    network: str | None = None


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a Dockerfile's build finds around it. ``secrets``: id → bytes, for ``RUN --mount=type=secret`` alone.

    ``ssh``: id → agent socket's path, for ``RUN --mount=type=ssh``. ``network``: ``none``, ``host``, a network's name, None for the
    engine's default. ``add_hosts``: ``name:address`` each.
    """

    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, str] = field(default_factory=dict)
    network: str | None = None
    add_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerFile:
    """One path to write into an image, absolute in it. ``permissions`` such as 0o644; ``target`` is a symlink's text or a hardlink's path.

    ``open`` gives the ``size`` bytes of a file, every time it is called. ``owner`` and ``group`` are names or numbers as text, None for
    root; ``modified`` is in seconds since 1970.
    """

    path: str
    kind: Literal["file", "directory", "symlink", "hardlink"]
    permissions: int
    size: int = 0
    open: Callable[[], IO[bytes]] = field(default=BytesIO, repr=False)
    target: str = ""
    owner: str | None = None
    group: str | None = None
    modified: int = 0


@dataclass(frozen=True, slots=True)
class FileChanges:
    """One layer: ``removed`` files and links first, then directories of ``emptied`` that hold nothing any more, then what is ``written``.

    A file written where a directory stands replaces it and all below; one written below a file replaces the file. Missing parents are made
    (root, 0755), parents that are there stay as they are, and so does a directory that is written again with the same metadata.
    ``directories`` are made before what is written, those that are not there.
    """

    removed: tuple[str, ...] = ()
    emptied: tuple[str, ...] = ()
    written: Sequence[LayerFile] = ()
    directories: Sequence[LayerFile] = ()

    def __bool__(self) -> bool:
        return bool(self.removed) or bool(self.written)


@dataclass(frozen=True, slots=True)
class PathChange:
    """What a stage's commands did to one path: ``kind`` is ``changed``, ``added`` or ``removed``."""

    path: str
    kind: Literal["changed", "added", "removed"]


NO_SETTINGS = RunSettings()
NO_BUILD_SETTINGS = BuildSettings()
