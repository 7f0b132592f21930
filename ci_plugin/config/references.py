"""Every external image a configuration names: what a pin set has to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ci_plugin.config.context import Dockerignore, find_dockerignore, parse_dockerignore
from ci_plugin.config.model import Configuration, DockerfileImage, ExternalBase, Image, StapelImage
from ci_plugin.config.parents import find_parent_fault, is_parent, parent_args
from ci_plugin.config.parts import ExternalSource
from ci_plugin.config.problems import Problems
from ci_plugin.config.source import CommittedFiles
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform, parse_platform
from ci_plugin.values.reference import Reference

if TYPE_CHECKING:
    from ci_plugin.config.dockerfile import Dockerfile
    from ci_plugin.config.dockerfile_remote import RemoteSource
    from ci_plugin.config.dockerfile_stages import DockerfileReference, Unresolved


@dataclass(frozen=True, slots=True)
class ConfigReference:
    """One external image where it is named; ``in_signature``: its pinned digest enters the stage signature (``fromLatest``).

    ``platform`` is what it has to be for: the one its FROM names outright, else the one its image is built for; None where the engine's
    own is meant (``FROM --platform=$BUILDPLATFORM``, the image of ``# syntax``).
    """

    reference: Reference
    kind: str
    image: str
    location: Location
    in_signature: bool
    platform: Platform | None


@dataclass(frozen=True, slots=True)
class UnresolvedReference:
    """An operand of an image that names no image we can tell, and why."""

    spelling: str
    reason: str
    image: str
    location: Location | None
    error: ConfigError = field(compare=False)


def list_references(
    configuration: Configuration, source: CommittedFiles, platforms_of: Callable[[Image], Iterable[Platform]]
) -> tuple[ConfigReference, ...]:
    """The external references of every image for every platform it is built for, in the order of the text.

    Raises one ConfigError that names every operand that is wrong or cannot be told.
    """
    problems = Problems()
    found: list[ConfigReference] = []
    for image in configuration:
        for platform in platforms_of(image):
            with problems.collect():
                references, unresolved = find_references(image, source, platform)
                problems.add_all(failure.error for failure in unresolved)
                found += references
    problems.raise_first()
    return tuple(dict.fromkeys(found))


def list_dockerfile_faults(
    images: Iterable[Image], source: CommittedFiles, platforms_of: Callable[[Image], Iterable[Platform]]
) -> Iterator[ConfigError]:
    """What is wrong with the Dockerfiles and ignore files of these images, whatever the variables are."""
    for image in images:
        if isinstance(image, DockerfileImage):
            problems = Problems()
            for platform in platforms_of(image):
                with problems.collect():
                    find_references(image, source, platform)
            with problems.collect():
                load_dockerignore(image, source)
            yield from problems


def find_references(
    image: Image, source: CommittedFiles, platform: Platform = DEFAULT_PLATFORM
) -> tuple[tuple[ConfigReference, ...], tuple[UnresolvedReference, ...]]:
    """The external references of one image, and its operands that cannot be told.

    Raises one ConfigError that names all that is wrong with the Dockerfile.
    """
    if not isinstance(image, DockerfileImage):
        return tuple(_stapel_references(image, platform)), ()
    problems = Problems()
    dockerfile = load_dockerfile(image, source, problems)
    uses: list[ConfigReference] = []
    unresolved: tuple[Unresolved, ...] = ()
    if (fault := dockerfile.find_target_fault(image.target, image.places.get("target", image.location))) is not None:
        fault.message += f" (image {image.name!r})"
        problems.add(fault)
    else:
        with problems.collect():
            found, unresolved = dockerfile.find_references(image.target, dockerfile_args(image, platform))
            for item in found:
                with problems.collect():
                    if (fault := find_parent_fault(item.reference, image, item.location)) is not None:
                        raise fault
                    if not is_parent(item.reference, image):
                        uses.append(_config_reference(item, image, platform))
    problems.raise_first()
    return (
        tuple(uses),
        tuple(UnresolvedReference(item.spelling, item.reason, image.name, item.location, item.error) for item in unresolved),
    )


def find_remotes(image: Image, source: CommittedFiles, platform: Platform = DEFAULT_PLATFORM) -> tuple[RemoteSource, ...]:
    """What a Dockerfile image takes by ADD from the web or from git; no pin can hold it. Raises ConfigError for a broken Dockerfile."""
    if not isinstance(image, DockerfileImage):
        return ()
    return load_dockerfile(image, source).remote_sources(image.target, dockerfile_args(image, platform))


def _stapel_references(image: StapelImage, platform: Platform) -> Iterator[ConfigReference]:
    base = image.base
    if isinstance(base, ExternalBase):
        yield ConfigReference(base.reference, "from", image.name, base.location, base.from_latest, platform)
    for source in (item.source for item in image.imports):
        if isinstance(source, ExternalSource):
            yield ConfigReference(source.reference, "import", image.name, source.location, source.from_latest, platform)


def pinned_platform(item: DockerfileReference, built: Platform) -> Platform | None:
    """What an image must be for when ``built`` is what is built; None: the engine's own. Raises ConfigError for a name that is none."""
    if item.by_build_platform or item.kind == "syntax":
        return None
    try:
        return parse_platform(item.platform) if item.platform else built
    except ValueError as error:
        raise ConfigError(str(error), hint="write --platform=linux/amd64, or leave it out", where=item.location) from None


def _config_reference(item: DockerfileReference, image: DockerfileImage, platform: Platform) -> ConfigReference:
    return ConfigReference(
        reference=item.reference,
        kind=item.kind,
        image=image.name,
        location=item.location,
        # The image of `# syntax` builds the file and leaves nothing in it: it enters no signature.
        in_signature=image.from_latest and item.kind != "syntax",
        platform=pinned_platform(item, platform),
    )


def load_dockerfile(image: DockerfileImage, source: CommittedFiles, problems: Problems | None = None) -> Dockerfile:
    """The image's Dockerfile as committed. Raises ConfigError where it is missing or does not parse.

    With ``problems``, what does not hinder reading on is collected there instead.
    """
    data = source.find_file(image.dockerfile)
    if data is None:
        raise _no_dockerfile(image, source)
    from ci_plugin.config.dockerfile import parse_dockerfile, read_dockerfile  # here: a project without Dockerfiles needs no scanner

    try:
        return parse_dockerfile(data, image.dockerfile)
    except ConfigError as error:
        if problems is None:
            raise
        problems.add(error)
    try:
        return read_dockerfile(data, image.dockerfile, Problems())  # for the operands, beside what is told of the lines
    except ConfigError as error:
        raise problems.error_with(error) from None


def _no_dockerfile(image: DockerfileImage, source: CommittedFiles) -> ConfigError:
    hint = f"git add {image.dockerfile}" + (", or correct `dockerfile`" if "dockerfile" in image.places else "")
    inside = image.dockerfile.removeprefix(f"{image.context}/")
    if inside != image.dockerfile and source.find_file(inside) is not None:
        within = inside.removeprefix(f"{image.context}/")
        there = f": write `dockerfile: {within}`" if within != inside else f" and is in {image.context!r}: move {inside} there"
        hint = f"`dockerfile` counts from `context`{there}"
    message = f"expected the Dockerfile {image.dockerfile} of image {image.name!r} in the commit, found none"
    return ConfigError(message, hint=hint, where=image.places.get("dockerfile", image.location))


def load_dockerignore(image: DockerfileImage, source: CommittedFiles) -> tuple[str | None, Dockerignore]:
    """The ignore file's text, None where there is none, and its rules. Raises ConfigError for a pattern that is none."""
    for path in find_dockerignore(image.dockerfile, image.context):
        data = source.find_file(path)
        if data is not None:
            text = data.decode("utf-8", "surrogateescape")
            return text, parse_dockerignore(text, path)
    return None, Dockerignore()


def dockerfile_args(image: DockerfileImage, platform: Platform) -> Mapping[str, str]:
    """The image's build arguments, stand-ins for those it is told, and what the builder sets by itself for this target platform."""
    return platform_args({**image.build_args, **parent_args(image)}, platform)


def platform_args(build_args: Mapping[str, str], platform: Platform) -> Mapping[str, str]:
    """These build arguments over what the builder sets by itself for this target platform.

    BUILDPLATFORM and its parts are the engine's own, unknown here: a FROM that names its image by them cannot be told. Variants are as
    BuildKit has them (containerd's ``platforms.Normalize``): ``linux/arm`` is v7 and says so, ``linux/arm64`` is v8 and does not.
    """
    full = replace(platform, variant="v7") if (platform.architecture, platform.variant) == ("arm", "") else platform
    automatic = {"PLATFORM": str(full), "OS": full.os, "OSVERSION": "", "ARCH": full.architecture, "VARIANT": full.variant}
    return {**{f"TARGET{part}": value for part, value in automatic.items()}, **build_args}
