"""One run's parts, each made when it is first asked for: the only place that picks adapters.

Libraries that are slow to import (docker, gotpl, jinja2) are behind what is made here, so a command pays for what it uses alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ci_plugin import __version__
from ci_plugin.cli.late_registry import LateRegistry
from ci_plugin.cli.options import ScopeOptions
from ci_plugin.config.settings import SETTINGS_FILE, Settings, parse_settings
from ci_plugin.errors import InputError, StagepinError
from ci_plugin.forge.clock import SystemClock
from ci_plugin.forge.environment import CiContext, choose_scope, pipeline_identity, read_environment
from ci_plugin.forge.event import load_event
from ci_plugin.forge.workspace import Workspace
from ci_plugin.reports.console import Console, wants_color
from ci_plugin.reports.redaction import Redactor, secrets_of
from ci_plugin.reports.tables import terminal_width
from ci_plugin.services.pinning import Asking
from ci_plugin.values.pipeline import PipelineId, ScopeKey
from ci_plugin.values.reference import Repository, parse_repository
from ci_plugin.values.store_name import STORES

if TYPE_CHECKING:
    from ci_plugin.forge.access import ForgeAccess
    from ci_plugin.forge.remote import RemoteAddress
    from ci_plugin.git import GitTree
    from ci_plugin.git.remote import RemoteRepositories
    from ci_plugin.ports import Clock, CredentialSource, Engine, PinStore, Registry, StagesStorage
    from ci_plugin.project_files import DirectoryFiles

LOCAL = ":local"
TOOL = f"stagepin/{__version__}"
TRANSFER_SECONDS = 600.0
"""For one pull or push with all its tries; what takes longer is not tried again."""


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """What stands before the command's name."""

    directory: str = "."
    config: str | None = None
    env_name: str = ""
    log_format: Literal["text", "json"] = "text"
    color: str = "auto"
    verbosity: int = 0


def connect_docker(environ: Mapping[str, str], credentials: CredentialSource) -> Engine:
    """The Docker engine of ``DOCKER_HOST``; it is spoken to when it is first asked for something."""
    from ci_plugin.engine.docker_engine import DockerEngine
    from ci_plugin.retry import RetryPolicy

    retry = RetryPolicy(SystemClock().sleep, deadline=TRANSFER_SECONDS)
    return DockerEngine(environ.get("DOCKER_HOST") or None, credentials=credentials, environ=environ, retry=retry)


@dataclass(frozen=True, slots=True)
class Outside:
    """What a run meets beyond files and registries: its environment, the time, the engine. Tests hand in their own."""

    environ: Mapping[str, str]
    clock: Clock
    connect: Callable[[Mapping[str, str], CredentialSource], Engine]

    @classmethod
    def of_this_process(cls) -> Outside:
        """The process's own environment, the machine's clock, the Docker engine."""
        return cls(os.environ, SystemClock(), connect_docker)


class Session:
    """The parts every command may need, whatever it does: console, environment, files, registry, engine."""

    def __init__(self, options: GlobalOptions, outside: Outside) -> None:
        self.options = options
        self.outside = outside
        self.environ = outside.environ
        self.clock = outside.clock

    @cached_property
    def redactor(self) -> Redactor:
        """Knows the secrets of this environment; every sink goes through it."""
        return Redactor(secrets_of(self.environ))

    @cached_property
    def console(self) -> Console:
        """The one place that prints; it knows the secrets of this environment."""
        style = {"GITLAB_CI": "gitlab", "GITHUB_ACTIONS": "github"}
        found = [name for variable, name in style.items() if self.environ.get(variable) == "true"]
        return Console(
            sys.stdout,
            sys.stderr,
            style="gitlab" if found == ["gitlab"] else "github" if found == ["github"] else "plain",
            log_format=self.options.log_format,
            verbosity=self.options.verbosity,
            color=wants_color(self.options.color, self.environ, sys.stderr),
            redactor=self.redactor,
            clock=self.clock,
            directory=self.options.directory,
            width=terminal_width(self.environ, sys.stdout),
            is_dumb=self.environ.get("TERM", "dumb") == "dumb",
        )

    @property
    def directory(self) -> Path:
        """The project directory."""
        return Path(self.options.directory)

    @cached_property
    def context(self) -> CiContext:
        """What the forge says about this job."""
        context = read_environment(self.environ, load_event(self.environ))
        if context.fork_doubt:
            self.console.warning(f"this job counts as one of a fork, because nothing says whose code it runs: {context.fork_doubt}")
        return context

    @cached_property
    def tree(self) -> GitTree:
        """The git repository at its commit. Raises InputError where there is none."""
        from ci_plugin.git import open_source_tree

        return open_source_tree(self.directory, environ=self.environ)

    @cached_property
    def checkout(self) -> GitTree | None:
        """The git repository, or None: verify and fetch work in a job that cloned nothing."""
        try:
            return self.tree
        except InputError:
            return None

    @cached_property
    def settings(self) -> Settings:
        """``.stagepin.yaml`` as committed, else defaults."""
        data = self.checkout.find_file(SETTINGS_FILE) if self.checkout else None
        return Settings() if data is None else parse_settings(data, SETTINGS_FILE)

    @cached_property
    def workspace(self) -> Workspace:
        """The ``.stagepin`` directory: at the top of the git repository, else in the project directory."""
        return Workspace(self.checkout.top if self.checkout else self.directory)

    @cached_property
    def credentials(self) -> CredentialSource:
        """Registry host → credentials; each is a secret as soon as it is read, whichever file or helper it came from."""
        from ci_plugin.registry.credentials import load_credentials

        return load_credentials(self.environ, Path(self.environ.get("HOME", "/nonexistent")), learn=self.redactor.add)

    @cached_property
    def registry(self) -> Registry:
        """The client for every registry, made when one is asked for the first time."""
        return LateRegistry(self._make_registry)

    def tell_retry(self, seconds: float, error: StagepinError) -> None:
        """One line, with -v, for every wait: without it a slow job looks like one that hangs."""
        self.console.detail(f"{error.message}; trying again in {seconds:.1f} s")

    def _make_registry(self) -> Registry:
        from ci_plugin.registry.client import RegistryClient
        from ci_plugin.registry.transport import Proxies

        settings = self.settings
        ca_file = str(self.directory / settings.ca_file) if settings.ca_file else None
        proxies = Proxies.from_environment(self.environ)
        client = RegistryClient(
            self.credentials, clock=self.clock, insecure=settings.insecure, ca_file=ca_file, proxies=proxies, tell=self.tell_retry
        )
        if not settings.mirrors:
            return client
        from ci_plugin.registry.mirrors import MirroredRegistry

        return MirroredRegistry(client, settings.mirrors)

    @cached_property
    def engine(self) -> Engine:
        """The engine; its first answer raises InputError where it cannot be reached."""
        return self.outside.connect(self.environ, self.credentials)

    @cached_property
    def files(self) -> DirectoryFiles:
        """The project's files as a plan reads them."""
        from ci_plugin.engine.archives import diff_id_of
        from ci_plugin.project_files import DirectoryFiles

        return DirectoryFiles(self.tree, self.directory, diff_id_of)


class ScopedSession(Session):
    """A session that knows whose pins it is about and where they are kept."""

    def __init__(self, session: Session, options: ScopeOptions) -> None:
        super().__init__(session.options, session.outside)
        self.__dict__.update({"console": session.console, "redactor": session.redactor})
        self.scope_options = options

    @cached_property
    def repository(self) -> Repository | None:
        """The stages storage's repository, None for ``:local``. Raises InputError in CI where nobody said which."""
        text = self.scope_options.repo or self.settings.repo
        if text == LOCAL:
            return None
        if text and text.startswith(":"):
            raise InputError(f"expected a repository or {LOCAL}, found {text!r}", hint=f"did you mean {LOCAL}?")
        if text:
            try:
                return parse_repository(text)
            except ValueError as error:
                raise InputError(str(error), hint="correct --repo, STAGEPIN_REPO or `repo` in .stagepin.yaml") from None
        if self.context.default_repo is None and self.context.is_ci:
            raise InputError(
                "expected a repository for the stages storage, found none in this CI job",
                hint="set --repo or STAGEPIN_REPO (on GitLab CI_REGISTRY_IMAGE is the default); "
                "`--repo :local` keeps everything in this job's engine, where no later job finds it",
            )
        return self.context.default_repo

    @property
    def is_repository_named(self) -> bool:
        """Whether somebody said which repository, rather than the forge's default being taken."""
        return bool(self.scope_options.repo or self.settings.repo)

    @property
    def has_repository(self) -> bool:
        """Whether a registry repository is set, without insisting on one."""
        try:
            return self.repository is not None
        except InputError:
            if self.is_repository_named:
                raise
            return False

    @property
    def may_publish(self) -> bool:
        """Whether pins and record may be written where later jobs read them.

        The job of a fork's code writes into the stages storage that ``--repo`` names on its own command line, and nowhere else: a variable
        is set for the whole workflow, the settings file and the forge's default name the project's, and so is every store of the forge.
        """
        return not self.context.fork or (self.scope_options.is_repo_from_command_line and self.store_name == STORES[0])

    @property
    def record_store(self) -> PinStore | None:
        """Where the build record is filed for later jobs: one of images in this engine alone only by the engine itself."""
        is_elsewhere = not self.has_repository and self.store_name != STORES[0]
        return self.pin_store if self.may_publish and not is_elsewhere else None

    @cached_property
    def asking(self) -> Asking:
        """Who asks: identity, scope, commit."""
        explicit = self.scope_options.scope or self.settings.scope
        commit = self.checkout.commit if self.checkout else self.context.commit
        scope = choose_scope(explicit, replace(self.context, commit=commit))
        by_name = bool(explicit) and not self.context.is_ci
        found, doubt = self._find_project() if by_name and not scope.is_local else (None, "")
        identity = found or pipeline_identity(self.context, self.checkout.remote_name() if self.checkout else "")
        return Asking(
            ScopeKey(identity, scope),
            commit or self.tree.commit,
            by_name,
            checksum=self.scope_options.pin_checksum,
            # At a desk a scope is asked for by name: whose pins they are is said, not refused.
            fork=None if by_name else self.context.fork,
            doubt=doubt,
            store_is_workspace=self.store_name == "workspace",
        )

    @property
    def pins_by_itself(self) -> bool:
        """Whether a command pins without being told to: at a desk. Pins of a scope that was named are its pin job's to make."""
        return self.asking.key.scope.is_local

    def _find_project(self) -> tuple[PipelineId | None, str]:
        """Outside CI: the identity CI has, as the chosen store knows it by the address this clone came from; else why it is not known."""
        remote = self.remote
        if self.store_name == "workspace":
            return None, ""
        if remote is None:
            has_remote = self.checkout is not None and bool(self.checkout.remote_url())
            lacks = "the remote origin of this clone is no address of a forge" if has_remote else "this clone has no remote origin"
            return None, f"{lacks}, which would say whose pipelines these are"
        if self.store_name != "stages-storage":
            from ci_plugin.cli.stores import find_project_on_forge

            found = find_project_on_forge(self.forge_access, self.clock.sleep, self.tell_retry)
            return found, "" if found else f"no project {remote.path} known at {remote.host} to whoever asks"
        if not self.has_repository or self.repository is None:
            return None, ""
        from ci_plugin.registry.project_tag import find_project

        found = find_project(self.repository, self.registry, remote.host, remote.path)
        return found, "" if found else f"no project known for {remote.host}/{remote.path} in that repository"

    @cached_property
    def remote(self) -> RemoteAddress | None:
        """The forge's host and the project's path, as the clone's remote has them."""
        from ci_plugin.forge.remote import parse_remote

        return parse_remote(self.checkout.remote_url()) if self.checkout else None

    @cached_property
    def forge_access(self) -> ForgeAccess:
        """How to reach the forge's API: this job's, or outside CI that of the clone's remote, whose kind the chosen store says.

        Raises InputError where there is neither.
        """
        from ci_plugin.cli.stores import FORGE_OF
        from ci_plugin.forge.access import read_access, remote_access

        pipeline, remote = self.context.pipeline, self.remote
        if pipeline is not None:
            project = pipeline.project if pipeline.forge == "github" else pipeline.project_id
            return read_access(self.environ, pipeline.forge, pipeline.host, project)
        if remote is None:
            raise InputError(
                "expected a job of GitLab or GitHub, or a clone from there, found neither: there is no forge to ask",
                hint="take the pins from the stages storage: --store stages-storage --repo REPOSITORY",
            )
        return remote_access(self.environ, remote, FORGE_OF.get(self.store_name, ""))

    @cached_property
    def repositories(self) -> RemoteRepositories:
        """Other git repositories, whose commits are fetched into the workspace."""
        from ci_plugin.git.login import Logins
        from ci_plugin.git.remote import RemoteRepositories
        from ci_plugin.retry import RetryPolicy

        logins = Logins(self.environ, self.directory, self.redactor.add)
        retry = RetryPolicy(self.clock.sleep, deadline=TRANSFER_SECONDS, tell=self.tell_retry)
        return RemoteRepositories(lambda: self.workspace.open_directory("git"), logins, self.environ, retry)

    @property
    def store_name(self) -> str:
        """Which store keeps the pins: the command line's, the environment's, the settings', else the stages storage."""
        return self.scope_options.store or self.settings.store or STORES[0]

    @cached_property
    def pin_store(self) -> PinStore | None:
        """Where pins and records are kept for later jobs; None where that is the workspace alone: ``local`` pins are this machine's own."""
        return None if self.asking.key.scope.is_local else self.open_store(self.store_name)

    def open_store(self, name: str) -> PinStore | None:
        """The store of that name, one of ``STORES``, whichever is chosen; None where it is the workspace, or has no repository."""
        if name == "workspace":
            return None
        if name != "stages-storage":
            from ci_plugin.cli.stores import open_forge_store

            return open_forge_store(name, self.forge_access, self.clock.sleep, self.tell_retry)
        if self.scope_options.repo == LOCAL or (not self.scope_options.repo and self.settings.repo == LOCAL):
            from ci_plugin.engine.pin_store import EnginePinStore

            return EnginePinStore(self.engine)
        if not self.has_repository or self.repository is None:
            return None
        from ci_plugin.registry.pin_store import RegistryPinStore

        return RegistryPinStore(self.repository, self.registry)

    @cached_property
    def storage(self) -> StagesStorage:
        """The stages storage; its engine connects only when something has to be built or brought."""
        if self.repository is None:
            from ci_plugin.engine.local_storage import LocalStagesStorage

            return LocalStagesStorage(self.tree.remote_name(), self.engine)
        from ci_plugin.registry.stages_storage import RegistryStagesStorage

        stored = RegistryStagesStorage(self.repository, self.registry, self.engine)
        if not self.context.fork or self.scope_options.is_repo_from_command_line:
            return stored
        from ci_plugin.registry.read_only import ReadOnlyStagesStorage

        return ReadOnlyStagesStorage(stored, self.context.fork)
