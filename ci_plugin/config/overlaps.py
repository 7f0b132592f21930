"""Two mappings of one image that write the same path: which of them would win depended on their order, so it is an error.

A mapping inside another one's target is none: the more specific one has its own files there (werf leaves them out of the wider one).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from ci_plugin.config.model import StapelImage
from ci_plugin.config.parts import Selection
from ci_plugin.errors import ConfigError, Location


def find_overlaps(image: StapelImage) -> Iterator[ConfigError]:
    """One error for every path that two of the image's ``git`` and ``import`` mappings write."""
    seen: dict[str, Location] = {}
    mappings = [("git", item.files, item.location) for item in image.git]
    mappings += [("import", item.files, item.location) for item in image.imports]
    for name, files, where in mappings:
        for target in targets_of(files):
            if (first := seen.setdefault(target, where)) is not where:
                message = f"expected one source for {target[:200]!r} in image {image.name!r}, found `{name}` again (first at {first})"
                yield ConfigError(message, hint="use another `to`, or `includePaths` that differ", where=where)


def targets_of(files: Selection) -> list[str]:
    """The paths in the image that a mapping writes, as far as its words tell; none where it takes all but some."""
    if not files.include:
        return [files.to] if not files.exclude else []
    return [posixpath.normpath(posixpath.join(files.to, path)) for path in dict.fromkeys(files.include)]
