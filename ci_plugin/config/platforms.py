"""Which platforms an image is pinned and built for."""

from __future__ import annotations

from collections.abc import Sequence

from ci_plugin.config.model import Image
from ci_plugin.errors import InputError
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform


def choose_platforms(image: Image, asked: Sequence[Platform]) -> tuple[Platform, ...]:
    """The command line's platforms, else the configuration's, else ``linux/amd64``. Raises InputError for several."""
    platforms = tuple(asked) or image.platforms or (DEFAULT_PLATFORM,)
    if len(platforms) > 1:
        raise InputError(
            f"expected one platform for image {image.name!r}, found {', '.join(map(str, platforms))}: this version builds one at a time",
            hint="name one with `--platform`, and build the others in jobs of their own",
            where=image.location,
        )
    return platforms
