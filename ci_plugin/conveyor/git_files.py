"""Git in the conveyor: which files of which repository go where in an image, and what of them enters which stage (DESIGN.md §6.3).

All is a function of the configuration, the commit and the pins; history is never asked. Listings of files in the image are made late:
a plan needs their hashes alone, and those come from the repository's listing.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from ci_plugin.config.model import StapelImage
from ci_plugin.config.overlaps import targets_of
from ci_plugin.config.parts import GitMapping, GitRemote, Selection
from ci_plugin.config.selecting import Globs, Selector, relative_to
from ci_plugin.conveyor.stage import Input
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.canonical import Value, sha256_hex
from ci_plugin.values.image_listing import ImageListing, MappedFile
from ci_plugin.values.submodules import missing_submodules, no_submodule
from ci_plugin.values.tree import Listing


@dataclass(frozen=True, slots=True)
class RepositoryFiles:
    """The files of one repository at the commit that is built from; ``key`` is ``OWN``, or names another repository and its commit."""

    key: str
    listing: Listing


class Repositories(Protocol):
    """Where mappings take their files from."""

    def own(self) -> RepositoryFiles:
        """The project's."""
        ...

    def remote(self, remote: GitRemote, where: Location) -> RepositoryFiles:
        """Another repository, at its pinned commit. Raises InputError where it was not pinned."""
        ...


class GitFiles:
    """The mapped files of one image. Raises ConfigError where a mapping takes no file, or one of a submodule that is not checked out."""

    def __init__(self, image: StapelImage, repositories: Repositories) -> None:
        selections = [*(item.files for item in image.git), *(item.files for item in image.imports)]
        self._mappings = tuple(_Mapping(item, repositories, _more_specific(item.files, selections)) for item in image.git)
        self.listing = ImageListing(lambda: _listed(self._mappings))

    def __bool__(self) -> bool:
        return bool(self._mappings)

    def parameters(self) -> Iterator[Input]:
        """What gitArchive is made of: where files come from and go to, no commit and no content."""
        return (Input(label, mapping.parameters, mapping.shown) for label, mapping in self._labelled("git"))

    def contents(self) -> Iterator[Input]:
        """What gitLatestPatch is made of: every file."""
        return (Input(label, *mapping.content) for label, mapping in self._labelled("git"))

    def dependencies(self, stage: str) -> Iterator[Input]:
        """What a user stage is made of besides its commands: the files its ``stageDependencies`` name."""
        for label, mapping in self._labelled("stageDependencies"):
            if globs := mapping.globs(stage):
                files = mapping.restricted(globs)
                yield Input(label, files.hash, _count(files))

    def depended(self, stage: str) -> ImageListing:
        """The files ``stageDependencies`` name, in the image."""

        def make() -> Iterator[MappedFile]:
            for mapping in self._mappings:
                globs = mapping.globs(stage)
                if globs:
                    yield from mapping.in_image(mapping.restricted(globs))

        return ImageListing(make)

    def _labelled(self, word: str) -> Iterator[tuple[str, _Mapping]]:
        """Labels are unique within a stage: two mappings may have one target, with other ``includePaths``."""
        seen: dict[str, int] = {}
        for mapping in self._mappings:
            label = f"{word} {mapping.to}"
            seen[label] = seen.get(label, 0) + 1
            yield (label if seen[label] == 1 else f"{label} ({seen[label]})"), mapping


class _Mapping:
    """One ``git`` entry over the repository it takes files from."""

    def __init__(self, mapping: GitMapping, repositories: Repositories, left_out: tuple[str, ...]) -> None:
        self._mapping = mapping
        self._left_out = left_out
        self._selector = Selector(mapping.files, mapping.location)
        self._repository = repositories.remote(mapping.remote, mapping.location) if mapping.remote else repositories.own()
        self.to = mapping.files.to

    @property
    def parameters(self) -> Value:
        files, remote = self._mapping.files, self._mapping.remote
        source = (remote.address, remote.branch, remote.tag, remote.commit) if remote else None
        return (source, files.add, files.to, files.include, files.exclude, files.owner, files.group, self._left_out)

    @property
    def shown(self) -> str:
        remote = self._mapping.remote
        return f"{self._mapping.files.add}{f' of {remote.address}' if remote else ''}"

    @cached_property
    def files(self) -> Listing:
        """The files it takes, under their paths in the repository."""
        listing = self._repository.listing.below(self._selector.add)
        if self._selector.is_filtered or self._left_out:
            listing = Listing(tuple(entry for entry in listing if self._takes(entry.path)))
        self._check(listing)
        return listing

    @property
    def content(self) -> tuple[str, str]:
        """The value that stands for every file with its owner, and what people see of it."""
        return sha256_hex((self.parameters, self.files.hash)), _count(self.files)

    def globs(self, stage: str) -> Globs:
        return Globs(self._mapping.stage_dependencies.get(stage, ()), self._mapping.location)

    def restricted(self, globs: Globs) -> Listing:
        """The files these globs take; a glob is looked for only below the directories it names."""
        add = self._selector.add
        below = {entry for directory in globs.directories for entry in self.files.below(_joined(add, directory))}
        return Listing.of(entry for entry in below if globs.match(relative_to(add, entry.path) or posixpath.basename(add)))

    def in_image(self, listing: Listing) -> Iterator[MappedFile]:
        """Files of the repository as they are in the image."""
        files = self._mapping.files
        for path, mode, blob in listing:
            relative = relative_to(self._selector.add, path)
            root = files.to if relative else ""
            yield MappedFile(self._selector.target(relative), mode, blob, files.owner, files.group, self._repository.key, path, root)

    def _takes(self, path: str) -> bool:
        relative = relative_to(self._selector.add, path)
        if not self._selector.takes(relative):
            return False
        if not self._left_out:
            return True
        target = self._selector.target(relative)
        return not any(target == other or target.startswith(f"{other}/") for other in self._left_out)

    def _check(self, listing: Listing) -> None:
        where = self._mapping.location
        if not listing:
            found = f"none at {self._mapping.files.add}" if not self._selector.is_filtered else f"none left at {self._mapping.files.add}"
            hint = "is it committed? check `add`, `includePaths` and `excludePaths`; paths begin at the project directory"
            raise ConfigError(f"expected a git mapping to take at least one file, found {found}", hint=hint, where=where)
        if missing := missing_submodules(listing):
            raise no_submodule(missing[0], where)


def _listed(mappings: Sequence[_Mapping]) -> Iterator[MappedFile]:
    """Wider targets first, so that of two files at one path that of the more specific mapping stands."""
    for mapping in sorted(mappings, key=lambda item: len(item.to)):
        yield from mapping.in_image(mapping.files)


def _more_specific(files: Selection, others: Iterable[Selection]) -> tuple[str, ...]:
    """Targets of other mappings below this one's: they have their own files there."""
    prefix = files.to.rstrip("/") + "/"
    targets = {target for other in others if other is not files for target in targets_of(other)}
    return tuple(sorted(target for target in targets if target.startswith(prefix) and target != prefix))


def _joined(add: str, directory: str) -> str:
    return "/".join(filter(None, (add, directory)))


def _count(files: Listing) -> str:
    return "1 file" if len(files) == 1 else f"{len(files)} files"
