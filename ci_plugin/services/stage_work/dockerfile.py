"""A Dockerfile image: pull every pinned reference, then build over exactly the files that entered the stage signature."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from secrets import token_hex

from ci_plugin.config.references import platform_args
from ci_plugin.conveyor.stage import BuildDockerfile, FromExternal, FromImage
from ci_plugin.errors import InputError, Unavailable
from ci_plugin.ports import NO_BUILD_SETTINGS, BuildSettings, ContextFile, Engine, EngineImage, OutputSink, SourceTree
from ci_plugin.records.build_record import BaseRecord, BaseState
from ci_plugin.services.stage_work.mounts import SecretReader
from ci_plugin.services.stage_work.opening import external_record
from ci_plugin.services.stage_work.pulling import Bases, Pulled
from ci_plugin.services.stage_work.secrets import AgentReader
from ci_plugin.values.digest import ImageId
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository
from ci_plugin.values.tree import TreeEntry

_READS_CONTEXT = re.compile(r"\s*(?:(?:COPY|ADD)\s(?!\s*(?:--\S+\s+)*--from=)|RUN\s+--mount=)", re.IGNORECASE)
_NAMES_IMAGE = re.compile(r"(?:\s--from=|--mount=\S*\bfrom=)[\"']?([^\s,\"']+)", re.IGNORECASE)
_OWN_REGISTRY = "stagepin.local"
_FIRST_FILES, _MOST_FILES = 256, 8192
_WANTED_BYTES = 1 << 24
_STAGE_NAME = re.compile(r"^\s*FROM\s.*\sAS\s+(\S+)\s*$", re.IGNORECASE | re.MULTILINE)


def open_dockerfile(
    work: BuildDockerfile, bases: Bases, platform: Platform, parents: Sequence[NamedParent] = ()
) -> tuple[BaseRecord, BuildDockerfile]:
    """Make all references present in the engine, with our credentials and by digest.

    Gives the record of what the target begins with, and the work with the names under which the engine has them. Raises InputError for a
    base whose ONBUILD reads files of the context, which nobody knew of when the context was chosen, or names an image, which nobody pinned.
    ``parents``: the images of the configuration that the text takes.
    """
    pulled = {reference: bases.pull(reference) for reference in work.pulled}
    images = {str(reference): base.image for reference, base in pulled.items()}
    images |= {f"image {parent.source!r}": parent.image for parent in parents}
    for name, image in images.items():
        _refuse_images(name, image, work.text)
        if not work.is_context_whole:
            _refuse_triggers(name, image)
    places = {reference: base.place for reference, base in pulled.items()} | {parent.stand_in: parent.name for parent in parents}
    return _record(work, pulled, parents), _named(work, platform, places)


def _record(work: BuildDockerfile, pulled: Mapping[Reference, Pulled], parents: Sequence[NamedParent]) -> BaseRecord:
    match work.base:
        case None:
            return BaseRecord(None, None, BaseState.SCRATCH, ())
        case FromExternal() as base:
            return external_record(base, pulled[base.pinned].image)
        case FromImage(image=name):
            return next(parent.record for parent in parents if parent.source == name)


@dataclass(frozen=True, slots=True)
class NamedParent:
    """Another image of the configuration, ``source``, in the engine under a ``name`` that nobody else has.

    ``stand_in`` stands for it in the Dockerfile; ``record`` is what a record says of it as a base.
    """

    source: str
    stand_in: Reference
    name: Reference
    image: EngineImage
    record: BaseRecord


@contextmanager
def named_parents(parents: Iterable[tuple[str, Reference, ImageId, BaseRecord]], engine: Engine) -> Iterator[Sequence[NamedParent]]:
    """Names of our own for these images while a Dockerfile is built on them: a FROM takes no ID. The names are gone in the end.

    ``parents``: image of the configuration, what stands for it, its ID, its record. Raises Unavailable where a name means another image in
    the end than in the beginning.
    """
    names: list[Reference] = []
    named: list[NamedParent] = []
    try:
        for source, stand_in, image, record in parents:
            name = Repository(_OWN_REGISTRY, "parent").tagged(token_hex(16))
            names.append(name)
            engine.tag(image, name)
            named.append(NamedParent(source, stand_in, name, _same_image(engine, name, image), record))
        yield named
        for parent in named:
            _same_image(engine, parent.name, parent.image.id)
    finally:
        for name in names:
            engine.untag(name)


def _same_image(engine: Engine, name: Reference, image: ImageId) -> EngineImage:
    found = engine.find_image(str(name))
    if found is None or found.id != image:
        message = f"expected the engine to have {image} under the name {name}, found {found.id if found else 'nothing'}"
        raise Unavailable(message, hint="does somebody prune or rename images of this engine meanwhile? run again")
    return found


def _named(work: BuildDockerfile, platform: Platform, places: Mapping[Reference, Reference]) -> BuildDockerfile:
    """The Dockerfile with the places its references were pulled from, which are what the builder looks for in the engine."""
    if all(place == reference for reference, place in places.items()):
        return work
    from ci_plugin.config.dockerfile import parse_dockerfile  # here: nobody waits for the scanner who builds no Dockerfile

    dockerfile = parse_dockerfile(work.text.encode(), "Dockerfile")
    args = platform_args(work.build_args, platform)
    text = dockerfile.pinned(lambda use: places.get(use.reference, use.reference), work.target, args)
    return replace(work, text=text, build_args=dict(_syntax_named(work.build_args, places)))


def _syntax_named(build_args: Mapping[str, str], places: Mapping[Reference, Reference]) -> Iterator[tuple[str, str]]:
    """The image of the syntax may be named by a build argument instead of the text."""
    from ci_plugin.config.dockerfile_stages import SYNTAX_ARG

    names = {str(pinned): str(place) for pinned, place in places.items()}
    for name, value in build_args.items():
        yield name, " ".join(names.get(word, word) for word in value.split()) if name == SYNTAX_ARG else value


def _refuse_triggers(reference: str, image: EngineImage) -> None:
    for trigger in _triggers(image):
        if _READS_CONTEXT.match(trigger):
            found = f"{reference} with `ONBUILD {trigger[:100]}`"
            raise InputError(
                f"expected a base that takes no files of the build context by itself, found {found}",
                hint="use a base without ONBUILD and write that instruction into the Dockerfile, which says which files are read",
            )


def _refuse_images(reference: str, image: EngineImage, dockerfile: str) -> None:
    """Of what a trigger names, only a stage of the Dockerfile itself (or ``scratch``) is known not to be an image that moves."""
    stages = {"scratch", *(match[1].lower() for match in _STAGE_NAME.finditer(dockerfile))}
    for trigger in _triggers(image):
        for name in _NAMES_IMAGE.findall(trigger):
            if name.lower() not in stages and not name.isdecimal():
                found = f"{reference} with `ONBUILD {trigger[:100]}`: nobody pinned {name}"
                raise InputError(
                    f"expected a base that brings no image of its own, found {found}",
                    hint="use a base without that trigger and write the instruction into the Dockerfile, where its image is pinned",
                )


def _triggers(image: EngineImage) -> list[str]:
    triggers = image.config.get("OnBuild")
    return [str(trigger) for trigger in triggers] if isinstance(triggers, list) else []


def build_settings(work: BuildDockerfile, secrets: SecretReader, agents: AgentReader) -> BuildSettings:
    """What the build finds around it. Raises InputError for a secret or an agent that is not there."""
    return BuildSettings(
        secrets=secrets(work.secrets) if work.secrets else {},
        ssh=agents(work.ssh) if work.ssh else {},
        network=work.network,
        add_hosts=work.add_hosts,
    )


def build_dockerfile(
    work: BuildDockerfile,
    labels: Mapping[str, str],
    platform: Platform,
    engine: Engine,
    source: SourceTree,
    output: OutputSink,
    *,
    settings: BuildSettings = NO_BUILD_SETTINGS,
    build_args: Mapping[str, str] | None = None,
) -> EngineImage:
    """The built image. ``build_args``: what is known of other images only now, by the name of the argument.

    Raises StageFailed with the output where an instruction fails, InputError for an image of another platform.
    """
    image = engine.build(
        _context(work, source),
        work.text,
        target=work.target,
        build_args={**work.build_args, **(build_args or {})},
        labels=labels,
        platform=platform,
        output=output,
        needs_buildkit=work.needs_buildkit,
        settings=settings,
    )
    if not image.platform.serves(platform):
        message = f"expected the Dockerfile to give an image for {platform}, found one for {image.platform}"
        raise InputError(message, hint=f"drop --platform from the last stage's FROM, or ask for `--platform {image.platform}`")
    return image


def _context(work: BuildDockerfile, source: SourceTree) -> Iterator[ContextFile]:
    prefix = "" if work.context_directory == "." else f"{work.context_directory}/"
    added = {file.path for file in work.added}
    left = [entry for entry in work.context if entry.path.removeprefix(prefix) not in added]
    for entry, data in _read_some(left, source):
        yield ContextFile(entry.path.removeprefix(prefix), entry.mode, data)
    yield from work.added


def _read_some(entries: Sequence[TreeEntry], source: SourceTree) -> Iterator[tuple[TreeEntry, bytes]]:
    """The files' bytes, a part of them at a time: how many at once follows how large they were, so that memory stays about the same."""
    first, count = 0, _FIRST_FILES
    while first < len(entries):
        part = entries[first : first + count]
        blobs = source.read(part)
        yield from ((entry, blobs[entry.blob]) for entry in part)
        first += len(part)
        size = sum(len(data) for data in blobs.values())
        count = min(_MOST_FILES, max(1, len(part) * _WANTED_BYTES // max(size, 1)))
