"""Where a build finds stages and where it keeps new ones: the storages of ``--no-publish`` and ``--cache-repo``, and who sets ``--tag``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ci_plugin.cli.options import Setting
from ci_plugin.cli.project import ProjectSession
from ci_plugin.config.settings import parse_cache_repo
from ci_plugin.errors import Bug, InputError, Location
from ci_plugin.values.reference import Reference, Repository

if TYPE_CHECKING:
    from ci_plugin.ports import StagesStorage, StoredStage
    from ci_plugin.registry.stages_storage import RegistryStagesStorage
    from ci_plugin.services.finishing import FinishedImage
    from ci_plugin.services.tagging import SetTag, TagFacts

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Publishing:
    """What a build does with what it makes: ``publishes`` is False for ``--no-publish``; ``tags`` are templates."""

    publishes: bool = True
    cache_repos: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def cache_repo_option(function: _F) -> _F:
    """Adds ``--cache-repo``; the command gets ``cache_repos``."""
    return click.option(
        "--cache-repo",
        "cache_repos",
        cls=Setting,
        metavar="REPO",
        envvar="STAGEPIN_CACHE_REPO",
        multiple=True,
        help="Take stages from this repository instead of building them; it is only read. Repeatable.",
    )(function)


def keeps_local(session: ProjectSession, publishing: Publishing) -> bool:
    """Whether new stages stay in this engine though there is a repository: as was asked for, or as a fork's job has to."""
    is_foreign = bool(session.context.fork) and not session.scope_options.is_repo_from_command_line
    return session.repository is not None and (is_foreign or not publishing.publishes)


def open_caches(session: ProjectSession, cache_repos: Sequence[str]) -> tuple[RegistryStagesStorage, ...]:
    """The cache repositories: of the command line or the environment, else of the settings. Raises InputError for a name that is none."""
    from ci_plugin.registry.stages_storage import RegistryStagesStorage

    named = [_parse(text) for text in cache_repos] or session.settings.cache_repos
    return tuple(RegistryStagesStorage(one, session.registry, session.engine) for one in dict.fromkeys(named) if one != session.repository)


def open_storage(session: ProjectSession, publishing: Publishing) -> StagesStorage:
    """The stages storage of a build."""
    storage = session.storage
    if keeps_local(session, publishing):
        from ci_plugin.engine.local_storage import LocalStagesStorage
        from ci_plugin.services.unpublished import UnpublishedStagesStorage

        storage = UnpublishedStagesStorage(storage, LocalStagesStorage(session.tree.remote_name(), session.engine))
    caches = open_caches(session, publishing.cache_repos)
    if not caches:
        return storage
    from ci_plugin.services.cache_repos import CachedStagesStorage, Caches

    return CachedStagesStorage(storage, Caches(caches, session.console.event), _copier(storage))


def local_names(session: ProjectSession) -> Repository:
    """What stages are called in this engine."""
    from ci_plugin.engine.local_storage import LOCAL_REGISTRY, project_slug

    return Repository(LOCAL_REGISTRY, project_slug(session.tree.remote_name()))


def tag_facts(session: ProjectSession) -> TagFacts:
    """What ``--tag`` is filled with in this job."""
    from ci_plugin.forge.environment import ref_name
    from ci_plugin.services.tagging import TagFacts

    ref = ref_name(session.environ, session.context.forge) or session.tree.branch_name()
    return TagFacts(session.asking.commit, ref, session.asking.key.scope.text)


def refuse_tagged_indexes(images: Sequence[str]) -> None:
    """An engine's own store has no index that a tag could name. Raises InputError where there are such images."""
    if images:
        message = f"expected one platform for each image that --tag names in the engine's own store, found several for {', '.join(images)}"
        raise InputError(message, hint="name one with --platform, or build into a registry")


def tag_setter(session: ProjectSession, storage: StagesStorage) -> SetTag:
    """Who sets the tags of finished images: the registry, or this engine where what is new stays there."""

    def in_registry(tag: str, image: FinishedImage) -> Reference:
        from ci_plugin.registry.tags import set_tag

        if image.deployed is None or storage.repository is None:
            raise Bug(f"expected image {image.plan.name!r} to have a digest, found none")
        return set_tag(storage.repository, session.registry, tag, image.deployed.digest)

    def in_engine(tag: str, image: FinishedImage) -> Reference:
        (built,) = image.platforms.values()  # several were refused before the build
        reference = local_names(session).tagged(tag)
        session.engine.tag(storage.bring(built.stored), reference)
        return reference

    return in_engine if storage.repository is None else in_registry


def _copier(storage: StagesStorage) -> Callable[[str, StagesStorage, StoredStage], StoredStage]:
    from ci_plugin.registry.stages_storage import RegistryStagesStorage

    def copy(name: str, source: StagesStorage, stage: StoredStage) -> StoredStage:
        if isinstance(storage, RegistryStagesStorage) and source.repository is not None:
            return storage.copy(name, source.repository, stage)
        return storage.publish_unique(name, source.bring(stage))

    return copy


def _parse(text: str) -> Repository:
    try:
        return parse_cache_repo(text)
    except ValueError as error:
        hint = "write a repository such as registry.example.com/group/app"
        raise InputError(str(error), hint=hint, where=Location("--cache-repo")) from None
