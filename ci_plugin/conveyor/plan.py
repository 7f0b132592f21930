"""The plan: every image, stage and stage signature of a configuration, before anything is built and without an engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ci_plugin.config.model import Configuration, DockerfileImage, Image, StapelImage
from ci_plugin.config.parts import GitRemote, ImageSource
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.conveyor.dockerfile import dockerfile_stage
from ci_plugin.conveyor.git_files import RepositoryFiles
from ci_plugin.conveyor.stage import SourceStage, Stage
from ci_plugin.conveyor.stapel import stapel_stages
from ci_plugin.conveyor.unbuilt import refuse_unbuilt
from ci_plugin.errors import ConfigError, InputError, Location
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.image_listing import OWN
from ci_plugin.values.platform import Platform
from ci_plugin.values.tree import ContextFile, Listing


class ProjectFiles(Protocol):
    """What a plan reads of the project: the commit's files, and the few files on disk that were asked for by name."""

    def find_file(self, path: str) -> bytes | None:
        """A committed file's bytes, or None."""
        ...

    def listing(self) -> Listing:
        """Every committed file."""
        ...

    def archive_diff_id(self, path: str) -> Digest | None:
        """sha256 of the decompressed tar of an archive on disk, or None where there is no file."""
        ...

    def added(self, path: str) -> Sequence[ContextFile]:
        """Files on disk below a path."""
        ...

    def remote(self, remote: GitRemote, pins: PinSet, where: Location) -> RepositoryFiles:
        """The files of another repository at its pinned commit. Raises InputError where it was not pinned."""
        ...


@dataclass(frozen=True, slots=True)
class PlannedImage:
    """One image for one platform; ``platform_was_chosen`` is False where nobody named a platform (then it is never emulated)."""

    image: Image
    platform: Platform
    platform_was_chosen: bool
    stages: tuple[Stage, ...]

    @property
    def name(self) -> str:
        """The image's name."""
        return self.image.name

    @property
    def signature(self) -> str:
        """The final stage signature: the tag of the finished image."""
        return self.stages[-1].signature

    @property
    def needs(self) -> tuple[str, ...]:
        """The images it is made of: its base, its imports, its dependencies; each once."""
        return tuple(dict.fromkeys(name for name, _ in self.image.needs))

    @property
    def is_deployable(self) -> bool:
        """Whether the build record names it: final images do get deployed, artifact images and ``final: false`` do not."""
        return self.image.is_final and not (isinstance(self.image, StapelImage) and self.image.is_artifact)


@dataclass(frozen=True, slots=True)
class Plan:
    """Planned images in the order of the configuration. ``is_complete``: none of the configuration or of the pins was left out."""

    images: tuple[PlannedImage, ...]
    is_complete: bool

    def __iter__(self) -> Iterator[PlannedImage]:
        return iter(self.images)

    def get(self, name: str) -> PlannedImage:
        """The planned image of that name, one platform each in this version."""
        return next(planned for planned in self.images if planned.name == name)


def make_plan(
    configuration: Configuration, pins: PinSet, files: ProjectFiles, names: Collection[str] = (), platforms: Sequence[Platform] = ()
) -> Plan:
    """The plan of these images and all they are built on; no names means all.

    Raises ConfigError for an unknown name, a missing file or directives that are not built yet, InputError for a reference that is not
    among the pins, or several platforms.
    """
    planned: dict[str, PlannedImage] = {}

    def plan_image(image: Image) -> PlannedImage:
        if image.name not in planned:
            platform = _one_platform(image, choose_platforms(image, platforms))
            stages = _stages(image, platform)
            planned[image.name] = PlannedImage(image, platform, bool(platforms or image.platforms), stages)
        return planned[image.name]

    def _stages(image: Image, platform: Platform) -> tuple[Stage, ...]:
        if isinstance(image, DockerfileImage):
            return (dockerfile_stage(image, platform, pins, files),)
        return stapel_stages(
            image,
            platform,
            pins,
            source=lambda named: _source(plan_image(configuration.get(named.image, named.location)), named, image, platform),
            diff_id=lambda path: _diff_id(files, path, image.base.location),
            repositories=PinnedRepositories(files, pins),
        )

    wanted = configuration.with_dependencies(names)
    refuse_unbuilt(wanted)
    whole = len(wanted) == len(configuration.images) and not list_left_out(configuration, pins)
    return Plan(tuple(plan_image(image) for image in wanted), is_complete=whole)


def list_left_out(configuration: Configuration, pins: PinSet) -> tuple[str, ...]:
    """The images that were pinned and are not in this configuration, in a scope whose jobs all read the same one.

    There other options (another ``--dockerfile``, ``-C``, ``--config``) are a part of the whole, and must not pass for it.
    """
    known = {image.name for image in configuration.images}
    return tuple(name for name in pins.images if name not in known) if pins.scope.is_one_commit else ()


def _one_platform(image: Image, platforms: Sequence[Platform]) -> Platform:
    if len(platforms) > 1:
        raise InputError(
            f"expected one platform for image {image.name!r}, found {', '.join(map(str, platforms))}: this version builds one at a time",
            hint="name one with `--platform`, and build the others in jobs of their own",
            where=image.location,
        )
    return platforms[0]


def _source(planned: PlannedImage, named: ImageSource, image: StapelImage, platform: Platform) -> SourceStage:
    """The stage of another image that this one is built on or takes something from."""
    if planned.platform != platform:
        raise ConfigError(
            f"expected image {image.name!r} and its source {planned.name!r} to be built for one platform, "
            f"found {platform} and {planned.platform}",
            hint="give both the same `platform`, or name one with --platform",
            where=named.location,
        )
    if named.stage is None:
        return SourceStage(planned.name, planned.signature)
    wanted = named.stage.replace("imports", "dependencies")
    for stage in planned.stages:
        if stage.name == wanted:
            return SourceStage(planned.name, stage.signature, is_final=stage is planned.stages[-1])
    raise ConfigError(
        f"expected a stage of image {planned.name!r}, found {named.stage!r}",
        hint=f"it has: {', '.join(stage.name for stage in planned.stages)}",
        where=named.location,
    )


class PinnedRepositories:
    """The project's files and those of other repositories at their pinned commits; each is listed once for all images."""

    def __init__(self, files: ProjectFiles, pins: PinSet) -> None:
        self._files, self._pins = files, pins

    def own(self) -> RepositoryFiles:
        """The project's."""
        return RepositoryFiles(OWN, self._files.listing())

    def remote(self, remote: GitRemote, where: Location) -> RepositoryFiles:
        """Another repository. Raises InputError where it was not pinned."""
        return self._files.remote(remote, self._pins, where)


def _diff_id(files: ProjectFiles, path: str, where: Location) -> Digest:
    found = files.archive_diff_id(path)
    if found is None:
        raise ConfigError(
            f"expected a root filesystem archive at {path}, found no file",
            hint="make it in an earlier step, for example `debootstrap` and `tar`, or correct fromArchive",
            where=where,
        )
    return found
