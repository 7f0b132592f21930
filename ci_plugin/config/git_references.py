"""Every other repository a configuration takes files from: what a pin set has to hold besides images."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ci_plugin.config.model import Configuration, StapelImage
from ci_plugin.config.parts import GitRemote
from ci_plugin.config.problems import Problems
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.git_address import parse_git_address
from ci_plugin.values.pipeline import parse_commit

DEFAULT_BRANCH = "master"
"""Where a mapping names none: what werf takes."""
_NO_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|^[./-]|[./]$|\.lock(?:/|$)")
"""What no branch or tag may hold (git check-ref-format)."""


@dataclass(frozen=True, slots=True)
class GitReference:
    """A repository and what of it is meant, where it is named; ``ref`` as ``pins.GitPin`` has it."""

    url: str
    ref: str
    remote: GitRemote
    image: str
    location: Location


def list_git_references(configuration: Configuration) -> tuple[GitReference, ...]:
    """Those of every image, in the order of the text. Raises one ConfigError that names every wrong one."""
    problems = Problems()
    found: list[GitReference] = []
    for image in configuration:
        for mapping in image.git if isinstance(image, StapelImage) else ():
            if mapping.remote is not None:
                with problems.collect():
                    found.append(_reference(mapping.remote, image.name, mapping.location))
    problems.raise_first()
    return tuple(found)


def git_key(remote: GitRemote, where: Location) -> tuple[str, str]:
    """Url and ref by which a mapping's pin is found. Raises ConfigError for what names no repository, branch, tag or commit."""
    try:
        address = parse_git_address(remote.url)
    except ValueError as error:
        raise ConfigError(str(error), hint="correct `url` of the git mapping", where=where) from None
    return address.url, _ref(remote, where)


def _reference(remote: GitRemote, image: str, where: Location) -> GitReference:
    return GitReference(*git_key(remote, where), remote, image, where)


def _ref(remote: GitRemote, where: Location) -> str:
    if remote.commit is not None:
        try:
            return parse_commit(remote.commit.lower())
        except ValueError as error:
            hint = "write the whole commit id: `git rev-parse COMMIT` in that repository"
            raise ConfigError(str(error), hint=hint, where=where) from None
    kind, name = ("tag", remote.tag) if remote.tag is not None else ("branch", remote.branch or DEFAULT_BRANCH)
    if not name or _NO_REF.search(name):
        raise ConfigError(f"expected the name of a {kind}, found {name[:100]!r}", hint="correct it in the git mapping", where=where)
    return f"refs/tags/{name}" if kind == "tag" else f"refs/heads/{name}"
