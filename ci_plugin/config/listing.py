"""What ``stagepin config list`` tells: images, their bases, and every reference with the place it stands at. Asks nobody, needs no pins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_plugin.config.model import ArchiveBase, Configuration, DockerfileImage, ExternalBase, Image, ImageBase
from ci_plugin.config.references import find_references, find_remotes
from ci_plugin.config.source import CommittedFiles
from ci_plugin.errors import Location
from ci_plugin.values.platform import Platform

if TYPE_CHECKING:
    from ci_plugin.config.dockerfile_remote import RemoteSource


@dataclass(frozen=True, slots=True)
class ListedReference:
    """A reference as it is pinned (``reference``) and as it is written (``spelling``)."""

    reference: str
    spelling: str
    location: Location
    kind: str


@dataclass(frozen=True, slots=True)
class ListedOperand:
    """What names an image nobody can tell, and why."""

    spelling: str
    reason: str
    location: Location


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image; ``kind`` is ``stapel``, ``dockerfile`` or ``artifact``, ``base`` what it is built on in words."""

    image: Image
    kind: str
    base: str
    references: tuple[ListedReference, ...]
    unresolved: tuple[ListedOperand, ...]
    remotes: tuple[RemoteSource, ...]
    """What ADD takes from the web or from git; not a reference, and nothing a pin can hold."""


def list_images(
    configuration: Configuration, source: CommittedFiles, platforms_of: Callable[[Image], Iterable[Platform]]
) -> tuple[ListedImage, ...]:
    """Every image in the order of the text, its references for all its platforms. Raises ConfigError for a broken Dockerfile."""
    return tuple(_list_image(image, source, platforms_of(image)) for image in configuration)


def _list_image(image: Image, source: CommittedFiles, platforms: Iterable[Platform]) -> ListedImage:
    references: dict[ListedReference, None] = {}
    unresolved: dict[ListedOperand, None] = {}
    remotes: dict[RemoteSource, None] = {}
    for platform in platforms:
        found, missing = find_references(image, source, platform)
        for use in found:
            references[ListedReference(str(use.reference), use.reference.spelling or str(use.reference), use.location, use.kind)] = None
        for operand in missing:
            unresolved[ListedOperand(operand.spelling, operand.reason, operand.location or image.location)] = None
        remotes |= dict.fromkeys(find_remotes(image, source, platform))
    return ListedImage(image, kind_of(image), _base(image), tuple(references), tuple(unresolved), tuple(remotes))


def kind_of(image: Image) -> str:
    """``dockerfile``, ``artifact`` or ``stapel``."""
    if isinstance(image, DockerfileImage):
        return "dockerfile"
    return "artifact" if image.is_artifact else "stapel"


def _base(image: Image) -> str:
    if isinstance(image, DockerfileImage):
        return f"{image.dockerfile} (target {image.target})" if image.target else image.dockerfile
    match image.base:
        case ExternalBase(reference=reference):
            return str(reference)
        case ImageBase(image=name):
            return f"image {name}"
        case ArchiveBase(path=path):
            return f"archive {path}"
    return "scratch"
