"""What a configuration may say and this version does not build: refused once, for exactly the images that have it.

Rule: a directive either enters a stage signature or stands here. What enters neither is harmless and listed with its reason in
``tests/unit/conveyor/test_unbuilt.py``, which goes through every field of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ci_plugin.config.model import Image, StapelImage
from ci_plugin.errors import ConfigError, Location

_ANSIBLE = "write its tasks as commands under `shell`, or build that image elsewhere and name the result in `from`"
_MOST_TOLD = 20


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """A directive of an image that is not built, where it stands, and the way out where there is a better one than waiting."""

    directive: str
    image: str
    location: Location
    way_out: str = ""


def refuse_unbuilt(images: Iterable[Image]) -> None:
    """Nothing where all of these images can be built. Raises one ConfigError that names every directive with its place."""
    every = tuple(images)
    found = [item for image in every for item in list_unbuilt(image)]
    if not found:
        return
    names = tuple(dict.fromkeys(item.image for item in found))
    places = dict.fromkeys(f"`{item.directive}` ({item.location})" for item in found)
    of = f"image {names[0]!r}" if len(names) == 1 else f"{len(names)} images ({_listed(names)})"
    message = f"expected images that this version builds, found {len(places)} directives of {of} that it only reads: {_listed(places)}"
    raise ConfigError(message.replace(" 1 directives", " 1 directive"), hint=_hint(found, every), where=found[0].location)


def list_unbuilt(image: Image) -> tuple[Unbuilt, ...]:
    """The directives of an image that are not built, in the order of the conveyor."""
    parts = _stapel(image) if isinstance(image, StapelImage) else ()
    return tuple(Unbuilt(name, image.name, where, _ANSIBLE if name == "ansible" else "") for name, where in parts)


def _stapel(image: StapelImage) -> Iterator[tuple[str, Location]]:
    if image.ansible:
        yield "ansible", image.ansible.location


def _hint(found: Sequence[Unbuilt], images: Sequence[Image]) -> str:
    outs = list(dict.fromkeys(f"`{item.directive}`: {item.way_out}" for item in found if item.way_out))
    refused = {item.image for item in found}
    others = [image.name for image in images if image.name not in refused and not any(name in refused for name, _ in image.needs)]
    if others:
        outs.append(f"name the images that can be built: {_listed(others, ' ')}")
    outs.append("pin, drift and doctor work on the whole file; remove these directives, or let another builder build on its pins")
    return "; ".join(outs)


def _listed(names: Iterable[str], separator: str = ", ") -> str:
    every = tuple(names)
    left = f"{separator}and {len(every) - _MOST_TOLD} more" if len(every) > _MOST_TOLD else ""
    return separator.join(every[:_MOST_TOLD]) + left
