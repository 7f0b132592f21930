"""The one stage of a Dockerfile image: what of the Dockerfile, the commit and the pins decides its content (DESIGN.md §6.5).

Only the files that enter the stage signature are sent to the engine, so a build cannot depend on one that does not.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from ci_plugin.config.context import Dockerignore, find_followed_link, select
from ci_plugin.config.dockerfile import DockerfileReference
from ci_plugin.config.dockerfile_content import ContextUse
from ci_plugin.config.dockerfile_stages import SYNTAX_ARG
from ci_plugin.config.model import DockerfileImage
from ci_plugin.config.parents import is_parent, stand_in
from ci_plugin.config.references import dockerfile_args, load_dockerfile, load_dockerignore, pinned_platform
from ci_plugin.conveyor.dependencies import SourceOf, plan_dependency
from ci_plugin.conveyor.inputs import hidden, pairs, texts, visible
from ci_plugin.conveyor.signature import stage_signature
from ci_plugin.conveyor.stage import BASE_DIGEST, BuildDockerfile, FromExternal, FromImage, Input, SourceStage, Stage, Unpinned
from ci_plugin.errors import ConfigError
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference
from ci_plugin.values.tree import ContextFile, Listing, TreeEntry

STAGE_NAME = "dockerfile"
_LINK, _SUBMODULE = "120000", "160000"


class BuildFiles(Protocol):
    """The files a Dockerfile stage reads; ``conveyor.plan.ProjectFiles`` has them."""

    def find_file(self, path: str) -> bytes | None:
        """A committed file's bytes, or None."""
        ...

    def listing(self) -> Listing:
        """Every committed file."""
        ...

    def added(self, path: str) -> Sequence[ContextFile]:
        """Files on disk below a path."""
        ...


def dockerfile_stage(image: DockerfileImage, platform: Platform, pins: PinSet, files: BuildFiles, *, source: SourceOf) -> Stage:
    """The stage ``dockerfile``. Raises ConfigError for a missing or wrong Dockerfile, InputError for a reference without a pin."""
    dockerfile = load_dockerfile(image, files)
    args = dockerfile_args(image, platform)
    every = dockerfile.references(image.target, args)
    uses = [use for use in every if not is_parent(use.reference, image)]
    references = [use for use in uses if use.kind != "syntax"]
    sources: dict[str, Input] = {}
    dependencies = tuple(plan_dependency(item, source, sources) for item in image.dependencies)
    told = {stand_in(item.source.image).repository: item.source for item in dependencies}
    parents = {use.reference: told[use.reference.repository] for use in every if is_parent(use.reference, image)}

    def pinned(use: DockerfileReference) -> Reference:
        if use.reference in parents:
            return use.reference
        pin = pins.get(use.reference, use.location)
        return use.reference.at(pin.digest_for(pinned_platform(use, platform)))

    ignore_file, ignored = load_dockerignore(image, files)
    use = _through_links(dockerfile.context_use(image.target, args), image, files.listing())
    context = tuple(_used_files(image, use, ignored, files.listing()))
    added = tuple(_added_files(image, files))
    inputs = [
        *texts("instructions", dockerfile.instructions(image.target, args)),
        *pairs("buildArgs", dockerfile.build_arg_values(image.target, args)),
        *hidden("cacheVersion", image.cache_version),
        *hidden("dockerignore", ignore_file),
        *_listing_input("context", image, context, use),
        *_added_input("contextAdd", added),
        *(_digest_inputs(references, pinned) if image.from_latest else ()),
        *texts("addHost", image.add_host.value if image.add_host else None),
        *sources.values(),
    ]
    inputs.sort(key=lambda item: item.label)
    signature = stage_signature(platform, STAGE_NAME, inputs, None)
    unpinned = next((pin for use in uses if (pin := pins.get(use.reference, use.location)).digest is None), None)
    if unpinned:
        return Stage(STAGE_NAME, tuple(inputs), signature, Unpinned(unpinned.refusal))
    work = BuildDockerfile(
        text=dockerfile.pinned(pinned, image.target, args, blank_unreached=True),
        target=image.target,
        build_args=_with_syntax(image.build_args, uses, pinned),
        context_directory=image.context,
        context=context,
        is_context_whole=use.whole,
        added=added,
        base=_base(dockerfile.base_use(image.target, args), pinned, platform, parents),
        pulled=tuple(dict.fromkeys(pinned(use) for use in uses)),
        needs_buildkit=dockerfile.needs_buildkit,
        dependencies=dependencies,
        secrets=image.secrets,
        ssh=image.ssh.value if image.ssh else None,
        network=image.network.value if image.network else None,
        add_hosts=image.add_host.value if image.add_host else (),
        parents=tuple(parents.items()),
    )
    return Stage(STAGE_NAME, tuple(inputs), signature, work)


def _with_syntax(
    build_args: Mapping[str, str], uses: Iterable[DockerfileReference], pinned: Callable[[DockerfileReference], Reference]
) -> Mapping[str, str]:
    """The build arguments with the image of the syntax by digest, where one of them names it; options after it stay."""
    named = next((use for use in uses if use.kind == "syntax" and use.start < 0), None)
    if named is None:
        return build_args
    options = build_args[SYNTAX_ARG].split()[1:]
    return {**build_args, SYNTAX_ARG: " ".join([str(pinned(named)), *options])}


def _digest_inputs(references: Iterable[DockerfileReference], pinned: Callable[[DockerfileReference], Reference]) -> Iterator[Input]:
    digests = {_digest_label(use): str(pinned(use).digest) for use in references}
    return (visible(label, digest) for label, digest in digests.items())


def _digest_label(use: DockerfileReference) -> str:
    """One file may take a base for several platforms, each with a digest of its own: several facts, so several labels."""
    chosen = " by $BUILDPLATFORM" if use.by_build_platform else f" for {use.platform}" if use.platform else ""
    return f"{BASE_DIGEST} {use.reference}{chosen}"


def _base(
    use: DockerfileReference | None,
    pinned: Callable[[DockerfileReference], Reference],
    platform: Platform,
    parents: Mapping[Reference, SourceStage],
) -> FromExternal | FromImage | None:
    if use is None:
        return None
    if parent := parents.get(use.reference):
        return FromImage(parent.image, parent.signature)
    return FromExternal(use.reference, pinned(use), pinned_platform(use, platform))


def _used_files(image: DockerfileImage, use: ContextUse, ignored: Dockerignore, listing: Listing) -> Iterator[TreeEntry]:
    """The committed files below the context directory that ``.dockerignore`` leaves and the reached stages may read."""
    prefix = _prefix(image)
    inside = {entry.path.removeprefix(prefix): entry for entry in listing if entry.path.startswith(prefix) and entry.mode != _SUBMODULE}
    left = [path for path in inside if not ignored.excludes(path)]
    return (inside[path] for path in (left if use.whole else select(left, use.patterns)))


def _added_files(image: DockerfileImage, files: BuildFiles) -> Iterator[ContextFile]:
    for path in image.context_add:
        found = files.added(posixpath.normpath(posixpath.join(image.context, path)))
        if not found:
            raise ConfigError(
                f"expected a file or directory {path!r} to add to the context of {image.name!r}, found none",
                hint="the step that makes it must run before this one, in the same job",
                where=image.location,
            )
        for file in found:
            yield ContextFile(posixpath.relpath(file.path, image.context), file.mode, file.data)


def _through_links(use: ContextUse, image: DockerfileImage, listing: Listing) -> ContextUse:
    """The whole context where a COPY reads through a committed link: what it points to has to be sent as well."""
    prefix = _prefix(image)
    links = [entry.path.removeprefix(prefix) for entry in listing if entry.mode == _LINK and entry.path.startswith(prefix)]
    link = None if use.whole else find_followed_link(links, use.patterns)
    return ContextUse(whole=True, reason=f"a COPY reads through the link {link}") if link else use


def _prefix(image: DockerfileImage) -> str:
    directory = posixpath.normpath(image.context)
    return "" if directory == "." else f"{directory}/"


def _listing_input(label: str, image: DockerfileImage, entries: Sequence[TreeEntry], use: ContextUse) -> Iterator[Input]:
    """The files by their paths in the context, because that is all a build sees of where they are."""
    if entries:
        inside = (TreeEntry(entry.path.removeprefix(_prefix(image)), entry.mode, entry.blob) for entry in entries)
        why = f", the whole context: {use.reason}" if use.whole else ""
        yield Input(label, Listing.of(inside).fields, f"{len(entries)} committed files{why}")


def _added_input(label: str, files: Sequence[ContextFile]) -> Iterator[Input]:
    if files:
        value = tuple((file.path, file.mode, file.data) for file in sorted(files, key=lambda file: file.path))
        yield Input(label, value, f"{len(files)} files from disk")
