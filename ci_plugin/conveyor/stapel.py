"""The conveyor of a stapel image: every stage in order, present where the configuration asks for it (DESIGN.md §6)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ci_plugin.config.model import ArchiveBase, DockerInstructions, ExternalBase, ImageBase, ScratchBase, Shell, StapelImage
from ci_plugin.config.parts import Healthcheck, ImageSource, Moment, Side
from ci_plugin.conveyor.dependencies import STAGE_NAMES, Dependencies, SourceOf
from ci_plugin.conveyor.external import open_reference
from ci_plugin.conveyor.git_files import GitFiles, Repositories
from ci_plugin.conveyor.image_spec import STAGE_NAME as SPEC_STAGE
from ci_plugin.conveyor.image_spec import spec_inputs
from ci_plugin.conveyor.inputs import hidden, pairs, texts, visible
from ci_plugin.conveyor.signature import Conveyor
from ci_plugin.conveyor.stage import (
    FromArchive,
    FromImage,
    FromScratch,
    Input,
    PutFiles,
    RunCommands,
    Stage,
    Work,
    WriteConfig,
    WriteSpec,
)
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.platform import Platform

DiffId = Callable[[str], Digest]
"""Path of a root filesystem archive → sha256 of its decompressed tar."""


def stapel_stages(
    image: StapelImage, platform: Platform, pins: PinSet, *, source: SourceOf, diff_id: DiffId, repositories: Repositories
) -> tuple[Stage, ...]:
    """All stages of an image.

    Raises InputError where a reference was not pinned, ConfigError where an archive or a mapping's files are missing, or a source's stage.
    """
    return _Line(image, platform, pins, source, diff_id, repositories).stages()


class _Line:
    """One image's stages being added in order."""

    def __init__(
        self, image: StapelImage, platform: Platform, pins: PinSet, source: SourceOf, diff_id: DiffId, repositories: Repositories
    ) -> None:
        self._image, self._platform, self._pins, self._source, self._diff_id = image, platform, pins, source, diff_id
        self._git = GitFiles(image, repositories)
        self._dependencies = Dependencies(image, platform, pins, source)
        self._conveyor = Conveyor(platform)

    def stages(self) -> tuple[Stage, ...]:
        self._from()
        self._run("beforeInstall", sees_git=False)
        self._take(Side.BEFORE, "install")
        if self._git:
            self._conveyor.add("gitArchive", self._git.parameters(), PutFiles(self._git.listing))
        self._run("install")
        self._take(Side.AFTER, "install")
        self._run("beforeSetup")
        self._take(Side.BEFORE, "setup")
        self._run("setup")
        self._take(Side.AFTER, "setup")
        self._build_artifact()
        self._finish()
        return self._conveyor.stages

    def _from(self) -> None:
        image = self._image
        inputs, work = self._base()
        mounts = [visible(f"mount {item.to}", f"{item.kind.value} {item.path or ''}".rstrip()) for item in image.mounts]
        cache_versions = [*hidden("fromCacheVersion", image.from_cache_version), *hidden("cacheVersion", image.cache_version)]
        self._conveyor.add("from", [*cache_versions, *mounts, *inputs], work)

    def _base(self) -> tuple[tuple[Input, ...], Work]:
        match self._image.base:
            case ScratchBase():
                return (visible("base.scratch", "scratch"),), FromScratch()
            case ArchiveBase(path=path):
                archive = self._diff_id(path)
                return (visible("base.archive", str(archive)),), FromArchive(path, archive)
            case ImageBase(image=name, location=where):
                signature = self._source(ImageSource(name, where)).signature
                return (visible("base.image", signature),), FromImage(name, signature)
            case ExternalBase() as base:
                return open_reference(base.reference, base.location, self._platform, self._pins, from_latest=base.from_latest)

    def _run(self, name: str, *, sees_git: bool = True) -> None:
        shell = self._image.shell
        commands = shell.commands.get(name, ())
        if commands or name in shell.cache_versions:
            self._add_commands(name, commands, sees_git=sees_git)

    def _build_artifact(self) -> None:
        if self._image.shell.build_artifact:
            self._add_commands("buildArtifact", self._image.shell.build_artifact.value, sees_git=True)

    def _add_commands(self, name: str, commands: tuple[str, ...], *, sees_git: bool) -> None:
        image, git = self._image, self._git if sees_git and self._git else None
        work = RunCommands(
            commands,
            git.listing if git else None,
            git.depended(name) if git else frozenset(),
            image.mounts,
            image.secrets,
            image.network.value if image.network else None,
        )
        self._conveyor.add(name, [*_shell_inputs(image.shell, name, commands), *(git.dependencies(name) if git else ())], work)

    def _take(self, side: Side, stage: str) -> None:
        moment = Moment(side, stage)
        if taken := self._dependencies.stage(moment):
            self._conveyor.add(STAGE_NAMES[moment], *taken)

    def _finish(self) -> None:
        image = self._image
        if self._git and not image.is_artifact and not image.disable_git_after_patch:
            self._conveyor.add("gitLatestPatch", self._git.contents(), PutFiles(self._git.listing))
        if image.docker is not None and not image.is_artifact:
            self._conveyor.add("dockerInstructions", _docker_inputs(image.docker), WriteConfig(image.docker))
        if image.image_spec is not None:
            self._conveyor.add(SPEC_STAGE, spec_inputs(image.image_spec), WriteSpec(image.image_spec))


def _shell_inputs(shell: Shell, name: str, commands: tuple[str, ...]) -> Iterator[Input]:
    yield from texts("commands", commands)
    yield from hidden("stageCacheVersion", shell.cache_versions.get(name))
    yield from hidden("cacheVersion", shell.cache_version)


def _docker_inputs(docker: DockerInstructions) -> Iterator[Input]:
    yield from texts("VOLUME", docker.volumes or None)
    yield from texts("EXPOSE", docker.expose or None)
    yield from pairs("ENV", docker.env.items())
    yield from pairs("LABEL", docker.labels.items())
    yield from texts("CMD", docker.cmd)
    yield from texts("ENTRYPOINT", docker.entrypoint)
    yield from hidden("WORKDIR", docker.workdir)
    yield from hidden("USER", docker.user)
    yield from texts("HEALTHCHECK", docker.healthcheck)
    if docker.healthcheck_times is not None:
        yield from hidden("HEALTHCHECK options", _times(docker.healthcheck_times.value))


def _times(check: Healthcheck) -> tuple[int | None, ...]:
    return check.interval, check.timeout, check.start_period, check.start_interval, check.retries
