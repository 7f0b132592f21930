"""The conveyor of a stapel image: from, the user's stages that have commands, dockerInstructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ci_plugin.config.model import USER_STAGES, ArchiveBase, DockerInstructions, ExternalBase, ImageBase, ScratchBase, Shell, StapelImage
from ci_plugin.conveyor.inputs import hidden, pairs, texts, visible
from ci_plugin.conveyor.signature import Conveyor
from ci_plugin.conveyor.stage import (
    BASE_DIGEST,
    FromArchive,
    FromExternal,
    FromImage,
    FromScratch,
    Input,
    RunCommands,
    Stage,
    Unpinned,
    Work,
    WriteConfig,
)
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.platform import Platform

FinalSignature = Callable[[str], str]
"""Image name → the stage signature its conveyor ends with."""

DiffId = Callable[[str], Digest]
"""Path of a root filesystem archive → sha256 of its decompressed tar."""


def stapel_stages(image: StapelImage, platform: Platform, pins: PinSet, final: FinalSignature, diff_id: DiffId) -> tuple[Stage, ...]:
    """All stages of an image. Raises InputError where its base was not pinned, ConfigError where an archive is missing."""
    conveyor = Conveyor(platform)
    base_inputs, work = _base(image, platform, pins, final, diff_id)
    cache_versions = [*hidden("fromCacheVersion", image.from_cache_version), *hidden("cacheVersion", image.cache_version)]
    conveyor.add("from", [*cache_versions, *base_inputs], work)
    for name in USER_STAGES:
        commands = image.shell.commands.get(name, ())
        if commands or name in image.shell.cache_versions:
            conveyor.add(name, _shell_inputs(image.shell, name), RunCommands(commands))
    if image.docker is not None and not image.is_artifact:
        conveyor.add("dockerInstructions", _docker_inputs(image.docker), WriteConfig(image.docker))
    return conveyor.stages


def _base(image: StapelImage, platform: Platform, pins: PinSet, final: FinalSignature, diff_id: DiffId) -> tuple[tuple[Input, ...], Work]:
    match image.base:
        case ScratchBase():
            return (visible("base.scratch", "scratch"),), FromScratch()
        case ArchiveBase(path=path):
            archive = diff_id(path)
            return (visible("base.archive", str(archive)),), FromArchive(path, archive)
        case ImageBase(image=name):
            return (visible("base.image", final(name)),), FromImage(name, final(name))
        case ExternalBase() as base:
            return _external(base, platform, pins)


def _external(base: ExternalBase, platform: Platform, pins: PinSet) -> tuple[tuple[Input, ...], Work]:
    """Without ``fromLatest`` the digest is no input, as the directive's documentation promises; the stage is still built by digest."""
    pin = pins.get(base.reference, base.location)
    inputs = [visible("base.reference", str(base.reference))]
    if pin.digest is None and not base.from_latest:
        return tuple(inputs), Unpinned(pin.refusal)
    digest = pin.digest_for(platform)
    if base.from_latest:
        inputs.append(visible(BASE_DIGEST, str(digest)))
    return tuple(inputs), FromExternal(base.reference, base.reference.at(digest), platform)


def _shell_inputs(shell: Shell, name: str) -> Iterator[Input]:
    yield from texts("commands", shell.commands.get(name, ()))
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
