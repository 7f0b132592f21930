"""What a configuration says and this version only reads, in plain words: no failure of who lists, pins or looks, told before it is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ci_plugin.config.model import Image
from ci_plugin.conveyor.unbuilt import Unbuilt, list_unbuilt

_MOST_PLACES = 5
_WAY_OUT = "remove it, or let another builder build that image on the pins made here"


def describe_unbuilt(images: Iterable[Image]) -> Iterator[str]:
    """One sentence for every directive that cannot be built, however often it stands there: where, of which images, and the way out."""
    by_directive: dict[str, list[Unbuilt]] = {}
    for image in images:
        for item in list_unbuilt(image):
            by_directive.setdefault(item.directive, []).append(item)
    for directive, found in by_directive.items():
        places = _listed(str(item.location) for item in found)
        names = _listed(repr(item.image) for item in found)
        way_out = next((item.way_out for item in found if item.way_out), _WAY_OUT)
        yield f"`{directive}` ({places}) cannot be built here: `plan` and `build` refuse {names} and what is made of it; {way_out}"


def _listed(texts: Iterable[str]) -> str:
    every = tuple(dict.fromkeys(texts))
    left = len(every) - _MOST_PLACES
    return ", ".join(every[:_MOST_PLACES]) + (f" and {left} more" if left > 0 else "")
