"""werf.yaml and dappfile.yml: the directives of each generation, one table per mapping; nothing in a file is silently ignored.

Sources: werf's and dapp's documentation; werf 1.0 to 3 for the aliases (``fromImageArtifact``, later ``fromArtifact``; ``contextAddFile``,
later ``contextAddFiles``). One table reads every generation of werf, because what is gone in one was right in another.
Ours, and the only additions: ``fromArchive`` on an image, ``fromLatest`` on a Dockerfile image. ``parse`` reads documents by these tables.
"""

from __future__ import annotations

from dataclasses import dataclass

from ci_plugin.config.directives.ansible import ANSIBLE
from ci_plugin.config.directives.dependencies import DOCKERFILE_DEPENDENCIES, STAPEL_DEPENDENCIES
from ci_plugin.config.directives.docker import DOCKER
from ci_plugin.config.directives.git import DAPP_GIT, GIT
from ci_plugin.config.directives.image_spec import IMAGE_SPEC
from ci_plugin.config.directives.imports import DAPP_IMPORT, WERF_IMPORT
from ci_plugin.config.directives.mounts import MOUNT
from ci_plugin.config.directives.secrets import SECRETS
from ci_plugin.config.directives.shell import DAPP_SHELL, SHELL
from ci_plugin.config.readers import read_name, read_path, read_paths, read_platforms
from ci_plugin.config.sections import SCALAR, SCALARS, Key, Table, takes
from ci_plugin.config.yaml_nodes import (
    ListNode,
    MapNode,
    Node,
    ScalarNode,
    is_null,
    name_of,
    read_flag,
    read_text,
    read_text_map,
    read_texts,
)
from ci_plugin.errors import ConfigError


@takes(SCALARS)
def _names(node: Node) -> tuple[ScalarNode, ...]:
    items = node.items if isinstance(node, ListNode) else (node,)
    names: list[ScalarNode] = []
    for item in items:
        if not isinstance(item, ScalarNode) or not (item.text or item.is_null) or (is_null(item) and isinstance(node, ListNode)):
            raise ConfigError(f"expected an image name, found {name_of(item)}", hint="write one name", where=item.location)
        names.append(item)
    if not names:
        raise ConfigError("expected an image name, found an empty list", hint="write one name", where=node.location)
    return tuple(names)


@takes(SCALAR)
def _artifact_name(node: Node) -> tuple[ScalarNode, ...]:
    """One name: no generation of werf or dapp took a list here, as images have it."""
    if isinstance(node, ListNode):
        hint = "write a document for each artifact; lists of names are for images"
        raise ConfigError("expected one name of an artifact, found a list", hint=hint, where=node.location)
    read_name(node)
    return _names(node)


CACHE_VERSION = Key("cacheVersion", read_text, "Another text builds the image anew")
PLATFORM = Key("platform", read_platforms, "os/architecture, one or several")
FROM = Key("from", read_name, "The base: an image of a registry, an image of this file, or scratch")
FROM_LATEST = Key("fromLatest", read_flag, "The pinned digest of the base enters the stage signature")
FROM_CACHE_VERSION = Key("fromCacheVersion", read_text, "Another text builds the image anew")
FROM_ARCHIVE = Key("fromArchive", read_path, "stagepin: a root filesystem as the base: rootfs.tar[.gz|.xz|.zst]")
ADMISSION = Key(
    "herebyIAdmitThatFromLatestMightBreakReproducibility", read_flag, "werf 1.1; pins make fromLatest safe, so it is not needed"
)
FINAL = Key("final", read_flag, "Whether the image is deployed")
AS_LAYERS = Key("asLayers", read_flag, "A layer for every command; it changes nothing here")
NETWORK = Key("network", read_name, "Network of the build's commands")
DISABLE_GIT_AFTER_PATCH = Key("disableGitAfterPatch", read_flag, "Files of later commits wait for the next build of an earlier stage")
DOCKERFILE = Key("dockerfile", read_path, "Path of the Dockerfile, below `context`")
CONTEXT = Key("context", read_path, "Directory the build sees, below the project")
CONTEXT_ADD = Key("contextAddFiles", read_paths, "Files of the context that are not committed")
CONTEXT_ADD_OLD = Key("contextAddFile", read_paths, "The same, in werf 1.1's words")
TARGET = Key("target", read_name, "Stage of the Dockerfile that is built")
ARGS = Key("args", read_text_map, "Build arguments")
ADD_HOST = Key("addHost", read_texts, "Lines of /etc/hosts during the build: host:address")
SSH = Key("ssh", read_name, "SSH agents for RUN --mount=type=ssh")
STAGED = Key("staged", read_flag, "How werf caches the build; it changes nothing here")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between the generations: the names of directives, and whether there is a document about the project."""

    name: str
    file: str
    image: Key[tuple[ScalarNode, ...]]
    artifact: Key[tuple[ScalarNode, ...]]
    from_image: tuple[Key[str], ...]
    from_artifact: tuple[Key[str], ...]
    shell: Key[MapNode]
    git: Key[tuple[MapNode, ...]]
    imports: Key[tuple[MapNode, ...]]
    extra: tuple[Key[object], ...] = ()
    has_meta: bool = False
    is_from_a_name: bool = False
    """Whether ``from`` may name an image of the same file (werf 2: the name wins over a registry's image)."""

    @property
    def bases(self) -> tuple[Key[str], ...]:
        """Every directive that gives an image its base."""
        return (FROM, *self.from_image, *self.from_artifact, FROM_ARCHIVE)

    @property
    def stapel_keys(self) -> tuple[Key[object], ...]:
        """What an image built stage by stage may have, besides its name."""
        common: tuple[Key[object], ...] = (FROM_CACHE_VERSION, AS_LAYERS, self.shell, self.git, self.imports, ANSIBLE, MOUNT, DOCKER)
        return (*self.bases, *common, *self.extra)

    @property
    def stapel(self) -> Table:
        """The keys of an image built stage by stage."""
        return Table.of((self.image, self.artifact, *self.stapel_keys))

    @property
    def dockerfile_keys(self) -> tuple[Key[object], ...]:
        """What an image built from a Dockerfile may have, besides its name."""
        keys: tuple[Key[object], ...] = (DOCKERFILE, CONTEXT, CONTEXT_ADD, CONTEXT_ADD_OLD, TARGET, ARGS, FROM_LATEST, CACHE_VERSION)
        keys += (PLATFORM, FINAL, ADD_HOST, NETWORK, SSH, STAGED, DOCKERFILE_DEPENDENCIES, SECRETS, IMAGE_SPEC)
        return keys

    @property
    def dockerfile(self) -> Table:
        """The keys of an image built from a Dockerfile."""
        return Table.of((self.image, *self.dockerfile_keys))


_WERF_EXTRA: tuple[Key[object], ...] = (FROM_LATEST, ADMISSION, CACHE_VERSION, FINAL, PLATFORM, NETWORK, DISABLE_GIT_AFTER_PATCH)
WERF = Dialect(
    name="werf",
    file="werf.yaml",
    image=Key("image", _names, "Name of the image; several names make several images; ~ is the project's only one"),
    artifact=Key("artifact", _artifact_name, "Name of an image that only others take files of"),
    from_image=(Key("fromImage", read_name, "The base: an image of this file"),),
    from_artifact=(Key("fromImageArtifact", read_name, "werf 1.0, 1.1: the base, an artifact"), Key("fromArtifact", read_name)),
    shell=SHELL,
    git=GIT,
    imports=WERF_IMPORT,
    extra=(*_WERF_EXTRA, STAPEL_DEPENDENCIES, SECRETS, IMAGE_SPEC),
    has_meta=True,
    is_from_a_name=True,
)
DAPP = Dialect(
    name="dapp",
    file="dappfile.yml",
    image=Key("dimg", _names, "Name of the image; several names make several images; ~ is the project's only one"),
    artifact=Key("artifact", _artifact_name, "Name of an image that only others take files of"),
    from_image=(Key("fromDimg", read_name, "The base: an image of this file"),),
    from_artifact=(Key("fromDimgArtifact", read_name, "The base: an artifact of this file"),),
    shell=DAPP_SHELL,
    git=DAPP_GIT,
    imports=DAPP_IMPORT,
)
