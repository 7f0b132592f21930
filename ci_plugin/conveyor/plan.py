"""The plan: every image, stage and stage signature of a configuration, before anything is built and without an engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ci_plugin.config.model import Configuration, DockerfileImage, Image, StapelImage
from ci_plugin.config.parts import GitRemote, ImageSource
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.config.references import find_references
from ci_plugin.conveyor.dockerfile import dockerfile_stage
from ci_plugin.conveyor.git_files import RepositoryFiles
from ci_plugin.conveyor.image_spec import with_spec
from ci_plugin.conveyor.signature import index_signature
from ci_plugin.conveyor.stage import SourceStage, Stage
from ci_plugin.conveyor.stapel import stapel_stages
from ci_plugin.conveyor.unbuilt import refuse_unbuilt
from ci_plugin.errors import Bug, ConfigError, Location
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.image_listing import OWN
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference
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
    """One image for one platform; ``platform_was_chosen`` is False where nobody named a platform (then it is never emulated).

    ``is_one_of_several``: the same image is planned for other platforms too.
    """

    image: Image
    platform: Platform
    platform_was_chosen: bool
    stages: tuple[Stage, ...]
    is_one_of_several: bool = False

    @property
    def name(self) -> str:
        """The image's name."""
        return self.image.name

    @property
    def title(self) -> str:
        """What tells it from every other planned image, for people too: ``app``, or of several platforms ``app (linux/arm64)``."""
        return f"{self.name} ({self.platform})" if self.is_one_of_several else self.name

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
class ImagePlan:
    """One image for every platform it is planned for, at least one."""

    name: str
    platforms: Mapping[Platform, PlannedImage]

    @property
    def is_index(self) -> bool:
        """Whether it is published as an index; an image for one platform is that platform's manifest and nothing more."""
        return len(self.platforms) > 1

    @property
    def signature(self) -> str:
        """The tag of what is deployed: the index signature, or of one platform its final stage signature."""
        signatures = {platform: planned.signature for platform, planned in self.platforms.items()}
        return index_signature(signatures) if self.is_index else next(iter(signatures.values()))

    @property
    def is_deployable(self) -> bool:
        """Whether the build record names it."""
        return all(planned.is_deployable for planned in self.platforms.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """Planned images in the order of the configuration, each for every platform.

    ``is_complete``: none of the configuration or of the pins was left out. ``platforms_left_out``: for which these images are configured
    or pinned, and not planned.
    """

    images: tuple[PlannedImage, ...]
    is_complete: bool
    platforms_left_out: tuple[Platform, ...] = ()
    _by_name: dict[str, dict[Platform, PlannedImage]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: dict[str, dict[Platform, PlannedImage]] = {}
        for planned in self.images:
            names.setdefault(planned.name, {})[planned.platform] = planned
        object.__setattr__(self, "_by_name", names)

    def __iter__(self) -> Iterator[PlannedImage]:
        return iter(self.images)

    @property
    def by_image(self) -> tuple[ImagePlan, ...]:
        """Every image once, in the order of the configuration."""
        return tuple(ImagePlan(name, platforms) for name, platforms in self._by_name.items())

    def get(self, name: str, platform: Platform | None = None) -> PlannedImage:
        """The planned image of that name for a platform, which may be left out where there is only one."""
        platforms = self._by_name[name]
        if platform is None and len(platforms) > 1:
            raise Bug(f"expected a platform of {name!r} to be named, found {', '.join(map(str, platforms))} planned")
        return platforms[platform] if platform else next(iter(platforms.values()))


def make_plan(
    configuration: Configuration, pins: PinSet, files: ProjectFiles, names: Collection[str] = (), platforms: Sequence[Platform] = ()
) -> Plan:
    """The plan of these images and all they are built on, for every platform; no names means all.

    ``platforms`` go before what the configuration says. Raises ConfigError for an unknown name, a missing file, directives that are not
    built yet or a source that is not built for the same platform, InputError for a reference that is not among the pins.
    """
    planned: dict[tuple[str, Platform], PlannedImage] = {}

    def plan_image(image: Image, platform: Platform) -> PlannedImage:
        key = (image.name, platform)
        if key not in planned:
            is_one_of_several = len(choose_platforms(image, platforms)) > 1
            stages = _stages(image, platform)
            planned[key] = PlannedImage(image, platform, bool(platforms or image.platforms), stages, is_one_of_several)
        return planned[key]

    def plan_source(named: ImageSource, user: Image, platform: Platform) -> SourceStage:
        source = configuration.get(named.image, named.location)
        _check_same_platform(source, choose_platforms(source, platforms), user, platform, named.location)
        return _source(plan_image(source, platform), named)

    def _stages(image: Image, platform: Platform) -> tuple[Stage, ...]:
        if isinstance(image, DockerfileImage):
            stage = dockerfile_stage(image, platform, pins, files, source=lambda named: plan_source(named, image, platform))
            return with_spec(stage, image.image_spec, platform)
        return stapel_stages(
            image,
            platform,
            pins,
            source=lambda named: plan_source(named, image, platform),
            diff_id=lambda path: _diff_id(files, path, image.base.location),
            repositories=PinnedRepositories(files, pins),
        )

    wanted = configuration.with_dependencies(names)
    refuse_unbuilt(wanted)
    images = tuple(plan_image(image, platform) for image in wanted for platform in choose_platforms(image, platforms))
    if len(wanted) < len(configuration.images) or list_left_out(configuration, pins):
        return Plan(images, is_complete=False)
    left_out = _platforms_left_out(wanted, images, pins, files, platforms)
    return Plan(images, is_complete=not left_out, platforms_left_out=left_out)


def list_left_out(configuration: Configuration, pins: PinSet) -> tuple[str, ...]:
    """The images that were pinned and are not in this configuration, in a scope whose jobs all read the same one.

    There other options (another ``--dockerfile``, ``-C``, ``--config``) are a part of the whole, and must not pass for it.
    """
    known = {image.name for image in configuration.images}
    return tuple(name for name in pins.images if name not in known) if pins.scope.is_one_commit else ()


def _platforms_left_out(
    images: Collection[Image], planned: Collection[PlannedImage], pins: PinSet, files: ProjectFiles, asked: Sequence[Platform]
) -> tuple[Platform, ...]:
    """The platforms that these images are configured or, in a scope whose jobs all read one configuration, pinned for and not planned.

    So a job of a matrix, which was given one platform of several, does not pass for the whole.
    """
    chosen = {image.platform for image in planned}
    configured = {platform for image in images if chosen < set(image.platforms) for platform in image.platforms}
    return tuple(sorted((configured | _pinned_for_others(images, chosen, pins, files, asked)) - chosen))


def _pinned_for_others(
    images: Collection[Image], chosen: Collection[Platform], pins: PinSet, files: ProjectFiles, asked: Sequence[Platform]
) -> set[Platform]:
    """The platforms of pins that these images name and, with these options, would not have pinned for them."""
    suspects = [pin for pin in pins.pins if not set(pin.platforms) <= set(chosen)] if pins.scope.is_one_commit else []
    if not suspects:
        return set()
    needed: dict[Reference, set[Platform | None]] = {}
    for image in images:
        for platform in choose_platforms(image, asked):
            for use in find_references(image, files, platform)[0]:
                needed.setdefault(use.reference, set()).add(use.platform)
    return {platform for pin in suspects if pin.reference in needed for platform in set(pin.platforms) - needed[pin.reference]}


def _check_same_platform(source: Image, known: Sequence[Platform], user: Image, platform: Platform, where: Location) -> None:
    if platform not in known:
        raise ConfigError(
            f"expected image {user.name!r} and its source {source.name!r} to be built for one platform, "
            f"found {platform} and {', '.join(map(str, known))}",
            hint="give both the same `platform`, or name one with --platform",
            where=where,
        )


def _source(planned: PlannedImage, named: ImageSource) -> SourceStage:
    """The stage of another image that this one is built on or takes something from."""
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
