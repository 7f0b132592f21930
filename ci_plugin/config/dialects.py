"""werf.yaml and dappfile.yml: documents → images. One table of directives per mapping; nothing in a file is silently ignored.

Sources: werf's and dapp's documentation of the base image; werf 1.0 to 2 for the aliases (``fromImageArtifact``, later ``fromArtifact``).
Ours, and the only additions: ``fromArchive`` on an image, ``fromLatest`` on a Dockerfile image.
Directives that werf knows and we do not build yet are errors; what only concerns deploying and cleaning up is left to those commands.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ci_plugin.config.model import (
    USER_STAGES,
    ArchiveBase,
    Base,
    Configuration,
    DockerfileImage,
    DockerInstructions,
    ExternalBase,
    Image,
    ImageBase,
    ScratchBase,
    Shell,
    StapelImage,
)
from ci_plugin.config.sections import Key, Problems, Section, Table
from ci_plugin.config.yaml_nodes import ListNode, MapNode, Node, ScalarNode, read_flag, read_map, read_text, read_text_map, read_texts
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.platform import Platform, parse_platform
from ci_plugin.values.reference import Reference, is_scratch, parse_reference


def read_path(node: Node) -> str:
    """A path inside the project, POSIX, cleaned. Raises ConfigError for an absolute path or one that leaves the project."""
    text = read_text(node)
    path = posixpath.normpath(text) if text else ""
    if not path or path.startswith(("/", "../")) or path == ".." or "\\" in path:
        raise ConfigError(
            f"expected a path inside the project, found {text[:200]!r}",
            hint="write it relative to the project directory, without `..`",
            where=node.location,
        )
    return path


def read_platforms(node: Node) -> tuple[Platform, ...]:
    """One platform or a list of them. Raises ConfigError."""
    try:
        return tuple(parse_platform(text) for text in read_texts(node))
    except ValueError as error:
        raise ConfigError(str(error), hint="write os/architecture", where=node.location) from None


def read_reference(text: str, where: Location) -> Reference:
    """The reference in this text. Raises ConfigError for what is none, and for ``scratch`` with a tag."""
    try:
        reference = parse_reference(text)
    except ValueError as error:
        raise ConfigError(str(error), hint="write name:tag, or name@sha256:<64 hex>", where=where) from None
    if str(reference.repository) == "docker.io/library/scratch":
        message = f"expected `scratch` alone, found {text!r}: it is a word, not an image of a registry"
        raise ConfigError(message, hint="write `scratch` without tag or digest", where=where)
    return reference


def _shell_form(node: Node) -> tuple[str, ...]:
    if isinstance(node, ListNode):
        return read_texts(node)
    text = read_text(node)
    if text.lstrip().startswith("["):
        return _exec_form(text, node.location)
    return ("/bin/sh", "-c", text)


def _exec_form(text: str, where: Location) -> tuple[str, ...]:
    try:
        items = json.loads(text)
    except ValueError:
        return ("/bin/sh", "-c", text)
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise ConfigError(f"expected a list of texts, found {text[:100]!r}", hint='write ["program", "argument"]', where=where)
    return tuple(items)


def _healthcheck(node: Node) -> tuple[str, ...]:
    if isinstance(node, ListNode):
        return ("CMD", *read_texts(node))
    text = read_text(node).strip()
    if text == "NONE":
        return ("NONE",)
    if not text.startswith("CMD") or text.startswith("--"):
        raise ConfigError(
            f"expected `CMD command` or `NONE`, found {text[:100]!r}",
            hint="intervals and retries are not taken yet; write CMD and the command",
            where=node.location,
        )
    command = text.removeprefix("CMD").strip()
    if command.startswith("["):
        return ("CMD", *_exec_form(command, node.location))
    return ("CMD-SHELL", command)


def _names(node: Node) -> tuple[ScalarNode, ...]:
    items = node.items if isinstance(node, ListNode) else (node,)
    names: list[ScalarNode] = []
    for item in items:
        text = read_text(item)
        if not isinstance(item, ScalarNode):
            raise ConfigError(f"expected an image name, found {text[:150]!r}", hint="write one name", where=item.location)
        names.append(item)
    return tuple(names)


PROJECT = Key("project", read_text)
CONFIG_VERSION = Key("configVersion", read_text)
BUILD = Key("build", read_map)
CACHE_VERSION = Key("cacheVersion", read_text)
PLATFORM = Key("platform", read_platforms)
FROM = Key("from", read_text)
FROM_LATEST = Key("fromLatest", read_flag)
FROM_CACHE_VERSION = Key("fromCacheVersion", read_text)
FROM_ARCHIVE = Key("fromArchive", read_path)
ADMISSION = Key("herebyIAdmitThatFromLatestMightBreakReproducibility", read_flag)
FINAL = Key("final", read_flag)
SHELL = Key("shell", read_map)
DOCKER = Key("docker", read_map)
DOCKERFILE = Key("dockerfile", read_path)
CONTEXT = Key("context", read_path)
CONTEXT_ADD = Key("contextAddFiles", read_texts)
TARGET = Key("target", read_text)
ARGS = Key("args", read_text_map)
STAGE_COMMANDS = tuple(Key(stage, read_texts) for stage in USER_STAGES)
STAGE_CACHE_VERSIONS = tuple(Key(f"{stage}CacheVersion", read_text) for stage in USER_STAGES)
VOLUME, EXPOSE = Key("VOLUME", read_texts), Key("EXPOSE", read_texts)
ENV, LABEL = Key("ENV", read_text_map), Key("LABEL", read_text_map)
CMD, ENTRYPOINT = Key("CMD", _shell_form), Key("ENTRYPOINT", _shell_form)
WORKDIR, USER, HEALTHCHECK = Key("WORKDIR", read_text), Key("USER", read_text), Key("HEALTHCHECK", _healthcheck)

_META = Table.of((PROJECT, CONFIG_VERSION, BUILD), later=("includes",), ignored=("deploy", "cleanup", "gitWorktree"))
_BUILD = Table.of((CACHE_VERSION, PLATFORM), later=("staged", "imageSpec"))
_SHELL = Table.of((*STAGE_COMMANDS, *STAGE_CACHE_VERSIONS, CACHE_VERSION))
_DOCKER = Table.of((VOLUME, EXPOSE, ENV, LABEL, CMD, ENTRYPOINT, WORKDIR, USER, HEALTHCHECK), later=("exactValues",))
_LATER = ("git", "ansible", "mount", "import", "dependencies", "secrets", "imageSpec", "network", "disableGitAfterPatch", "asLayers")
_DOCKERFILE_LATER = ("addHost", "network", "ssh", "dependencies", "staged", "secrets", "imageSpec", "contextAddFile")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the generations: the names of directives, and whether there is a document about the project."""

    name: str
    file: str
    image: Key[tuple[ScalarNode, ...]]
    artifact: Key[tuple[ScalarNode, ...]]
    from_image: tuple[Key[str], ...]
    from_artifact: tuple[Key[str], ...]
    extra: tuple[Key[object], ...] = ()
    has_meta: bool = False
    is_from_a_name: bool = False
    """Whether ``from`` may name an image of the same file (werf 2: the name wins over a registry's image)."""

    @property
    def bases(self) -> tuple[Key[str], ...]:
        """Every directive that gives an image its base."""
        return (FROM, *self.from_image, *self.from_artifact, FROM_ARCHIVE)

    @property
    def stapel(self) -> Table:
        """The keys of an image built stage by stage."""
        return Table.of((self.image, self.artifact, *self.bases, FROM_CACHE_VERSION, SHELL, DOCKER, *self.extra), later=_LATER)

    @property
    def dockerfile(self) -> Table:
        """The keys of an image built from a Dockerfile."""
        keys = (self.image, DOCKERFILE, CONTEXT, CONTEXT_ADD, TARGET, ARGS, FROM_LATEST, CACHE_VERSION, PLATFORM, FINAL)
        return Table.of(keys, later=_DOCKERFILE_LATER)


WERF = Dialect(
    name="werf",
    file="werf.yaml",
    image=Key("image", _names),
    artifact=Key("artifact", _names),
    from_image=(Key("fromImage", read_text),),
    from_artifact=(Key("fromImageArtifact", read_text), Key("fromArtifact", read_text)),
    extra=(FROM_LATEST, ADMISSION, CACHE_VERSION, FINAL, PLATFORM),
    has_meta=True,
    is_from_a_name=True,
)
DAPP = Dialect(
    name="dapp",
    file="dappfile.yml",
    image=Key("dimg", _names),
    artifact=Key("artifact", _names),
    from_image=(Key("fromDimg", read_text),),
    from_artifact=(Key("fromDimgArtifact", read_text),),
)


def parse_configuration(documents: Sequence[Node], dialect: Dialect, file: str, project: str) -> Configuration:
    """The configuration in these documents. Raises one ConfigError that names every problem of the file."""
    return _Parser(dialect, file, project).parse(documents)


@dataclass(frozen=True, slots=True)
class _Defaults:
    project: str
    cache_version: str | None = None
    platforms: tuple[Platform, ...] = ()


class _Parser:
    def __init__(self, dialect: Dialect, file: str, project: str) -> None:
        self._dialect = dialect
        self._file = file
        self._project = project
        self._problems = Problems()
        self._artifacts: dict[str, bool] = {}
        """Every name of the file → whether it is an artifact image; ``from`` and ``fromImage`` are read against it."""

    def parse(self, documents: Sequence[Node]) -> Configuration:
        sections: list[Section] = []
        for node in documents:
            with self._problems.collect():
                sections.append(Section(read_map(node)))
        metas = [section for section in sections if self._dialect.has_meta and self._is_meta(section)]
        defaults = _Defaults(self._project)
        with self._problems.collect():
            defaults = self._defaults(metas)
        rest = [section for section in sections if section not in metas]
        for section in rest:
            self._note_names(section, defaults)
        images: list[Image] = []
        for section in rest:
            with self._problems.collect():
                images += self._images(section, defaults)
        self._problems.raise_first()
        return Configuration.of(defaults.project, self._dialect.name, self._file, images)

    def _is_meta(self, section: Section) -> bool:
        return section.has(CONFIG_VERSION) or section.has(PROJECT)

    def _defaults(self, metas: Sequence[Section]) -> _Defaults:
        if not self._dialect.has_meta:
            return _Defaults(self._project)
        if not metas:
            hint = f"begin the file with `project: {self._project or 'NAME'}`, `configVersion: 1` and a line `---`"
            raise ConfigError("expected a document with `configVersion: 1`, found none", hint=hint, where=Location(self._file, 1))
        if len(metas) > 1:
            where = metas[1].node.location
            message = f"expected one document about the project, found another (first at {metas[0].node.location})"
            raise ConfigError(message, hint="merge the two, and put `---` before each image", where=where)
        meta = metas[0]
        meta.check(_META, self._dialect.name, self._problems)
        if (version := meta.get(CONFIG_VERSION)) != "1":
            found = "none" if version is None else repr(version[:50])
            raise ConfigError(f"expected configVersion 1, found {found}", hint="write `configVersion: 1`", where=meta.where(CONFIG_VERSION))
        project = meta.get(PROJECT) or self._project
        build = Section(meta.get(BUILD) or MapNode((), meta.node.location))
        build.check(_BUILD, self._dialect.name, self._problems)
        return _Defaults(project, build.get(CACHE_VERSION), build.get(PLATFORM) or ())

    def _note_names(self, section: Section, defaults: _Defaults) -> None:
        for key in (self._dialect.image, self._dialect.artifact):
            with self._problems.collect():
                for name, _ in self._names(section, key, defaults):
                    self._artifacts[name] = key is self._dialect.artifact

    def _names(self, section: Section, key: Key[tuple[ScalarNode, ...]], defaults: _Defaults) -> list[tuple[str, Location]]:
        node = section.node.find(key.name)
        if node is None:
            return []
        return [(defaults.project if name.is_null else name.text, name.location) for name in key.read(node)]

    def _images(self, section: Section, defaults: _Defaults) -> list[Image]:
        dialect = self._dialect
        images, artifacts = (self._names(section, key, defaults) for key in (dialect.image, dialect.artifact))
        if bool(images) == bool(artifacts):
            found = "both" if images else "neither"
            message = f"expected `{dialect.image.name}` or `{dialect.artifact.name}` in every document, found {found}"
            raise ConfigError(message, hint=f"write `{dialect.image.name}: NAME`", where=section.node.location)
        is_dockerfile = section.has(DOCKERFILE) and dialect is WERF
        section.check(dialect.dockerfile if is_dockerfile else dialect.stapel, dialect.name, self._problems)
        if is_dockerfile:
            return [self._dockerfile_image(section, name, where, defaults) for name, where in images]
        return [self._stapel_image(section, name, where, defaults, bool(artifacts)) for name, where in images or artifacts]

    def _dockerfile_image(self, section: Section, name: str, where: Location, defaults: _Defaults) -> DockerfileImage:
        context = section.get(CONTEXT) or "."
        return DockerfileImage(
            name=name,
            dockerfile=posixpath.normpath(posixpath.join(context, section.get(DOCKERFILE) or "Dockerfile")),
            location=where,
            context=context,
            target=section.get(TARGET),
            build_args=section.get(ARGS) or {},
            context_add=section.get(CONTEXT_ADD) or (),
            from_latest=section.get(FROM_LATEST) or False,
            cache_version=section.get(CACHE_VERSION) or defaults.cache_version,
            is_final=section.get(FINAL) is not False,
            platforms=section.get(PLATFORM) or defaults.platforms,
        )

    def _stapel_image(self, section: Section, name: str, where: Location, defaults: _Defaults, is_artifact: bool) -> StapelImage:
        if is_artifact:
            self._refuse_on_artifact(section)
        section.get(ADMISSION)
        return StapelImage(
            name=name,
            base=self._base(section, name),
            location=where,
            is_artifact=is_artifact,
            is_final=not is_artifact and section.get(FINAL) is not False,
            from_cache_version=section.get(FROM_CACHE_VERSION),
            cache_version=section.get(CACHE_VERSION) or defaults.cache_version,
            shell=self._shell(section),
            docker=self._docker(section),
            platforms=section.get(PLATFORM) or defaults.platforms,
        )

    def _refuse_on_artifact(self, section: Section) -> None:
        for key in (DOCKER, FINAL):
            if section.has(key):
                message = f"expected no `{key.name}` on an artifact, found it"
                hint = f"an artifact is never deployed: remove it, or write `{self._dialect.image.name}:` instead of `artifact:`"
                raise ConfigError(message, hint=hint, where=section.where(key))

    def _base(self, section: Section, name: str) -> Base:
        given = [key for key in self._dialect.bases if section.has(key)]
        choices = ", ".join(f"`{key.name}`" for key in self._dialect.bases)
        if not given:
            message = f"expected a base for image {name!r}, found none"
            raise ConfigError(message, hint=f"add one of {choices}", where=section.node.location)
        if len(given) > 1:
            found = " and ".join(f"`{key.name}` (line {section.where(key).line})" for key in given)
            message = f"expected one base for image {name!r}, found {found}"
            raise ConfigError(message, hint="keep one of them", where=section.where(given[1]))
        key, where = given[0], section.where(given[0])
        is_latest = section.get(FROM_LATEST) or False
        base = self._read_base(section, key, name, where)
        if is_latest and not isinstance(base, ExternalBase):
            found = f"it with `{key.name}: {section.get(key)}`"
            message = f"expected `fromLatest: true` only where `from` names an image of a registry, found {found}"
            raise ConfigError(message, hint="remove `fromLatest`", where=section.where(FROM_LATEST))
        return replace(base, from_latest=is_latest) if isinstance(base, ExternalBase) else base

    def _read_base(self, section: Section, key: Key[str], name: str, where: Location) -> Base:
        value = section.get(key) or ""
        if key is FROM_ARCHIVE:
            return ArchiveBase(value, where)
        if key is not FROM:
            return self._image_base(value, key, name, where)
        if is_scratch(value):
            return ScratchBase(where)
        if self._dialect.is_from_a_name and value in self._artifacts:
            return self._image_base(value, key, name, where)
        return ExternalBase(read_reference(value, where), where)

    def _image_base(self, value: str, key: Key[str], name: str, where: Location) -> ImageBase:
        if value == name:
            hint = f"write `from: {value}:TAG` to mean the registry's image" if key is FROM else "name another image"
            raise ConfigError(f"expected another image as the base, found {name!r} itself", hint=hint, where=where)
        is_artifact = self._artifacts.get(value)
        wanted = key in self._dialect.from_artifact
        if key is not FROM and is_artifact is not None and is_artifact is not wanted:
            right = (self._dialect.from_artifact if is_artifact else self._dialect.from_image)[0].name
            kinds = ("an image", "an artifact")
            message = f"expected {kinds[wanted]} in `{key.name}`, found {value!r}, which is {kinds[is_artifact]}"
            raise ConfigError(message, hint=f"write `{right}: {value}`", where=where)
        return ImageBase(value, where)

    def _shell(self, section: Section) -> Shell:
        node = section.get(SHELL)
        if node is None:
            return Shell()
        shell = Section(node)
        shell.check(_SHELL, self._dialect.name, self._problems)
        commands = {key.name: shell.get(key) or () for key in STAGE_COMMANDS if shell.has(key)}
        versions = {stage: shell.get(key) for stage, key in zip(USER_STAGES, STAGE_CACHE_VERSIONS, strict=True)}
        return Shell(commands, {stage: text for stage, text in versions.items() if text is not None}, shell.get(CACHE_VERSION))

    def _docker(self, section: Section) -> DockerInstructions | None:
        node = section.get(DOCKER)
        if node is None:
            return None
        docker = Section(node)
        docker.check(_DOCKER, self._dialect.name, self._problems)
        return DockerInstructions(
            volumes=docker.get(VOLUME) or (),
            expose=docker.get(EXPOSE) or (),
            env=docker.get(ENV) or {},
            labels=docker.get(LABEL) or {},
            cmd=docker.get(CMD),
            entrypoint=docker.get(ENTRYPOINT),
            workdir=docker.get(WORKDIR),
            user=docker.get(USER),
            healthcheck=docker.get(HEALTHCHECK),
        )
