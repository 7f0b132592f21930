"""Which platforms an image is pinned and built for."""

from __future__ import annotations

from collections.abc import Sequence

from ci_plugin.config.model import Image
from ci_plugin.values.platform import DEFAULT_PLATFORM, Platform


def choose_platforms(image: Image, asked: Sequence[Platform]) -> tuple[Platform, ...]:
    """The command line's platforms, else the configuration's, else ``linux/amd64``; never none, and each once."""
    return tuple(dict.fromkeys(asked or image.platforms)) or (DEFAULT_PLATFORM,)
