"""The session of a command that reads the configuration: which images, with which build arguments, from which files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import TYPE_CHECKING

from ci_plugin.cli.links import refuse_link_out
from ci_plugin.cli.options import ProjectOptions, ScopeOptions
from ci_plugin.cli.unbuilt import describe_unbuilt
from ci_plugin.cli.uncommitted import find_uncommitted
from ci_plugin.cli.wiring import ScopedSession, Session
from ci_plugin.config.context import find_dockerignore
from ci_plugin.config.model import Configuration, DockerfileImage, Image
from ci_plugin.config.platforms import choose_platforms
from ci_plugin.config.settings import SETTINGS_FILE
from ci_plugin.config.source import Source
from ci_plugin.conveyor.unbuilt import refuse_unbuilt
from ci_plugin.errors import ConfigError, InputError, Location
from ci_plugin.reports.redaction import secrets_of
from ci_plugin.values.platform import Platform

if TYPE_CHECKING:
    from ci_plugin.config.giterminism import Giterminism
    from ci_plugin.ports import SourceTree
    from ci_plugin.project_files import DirectoryFiles

GITERMINISM_FILE = "werf-giterminism.yaml"
ENV_LIST = f"`config.goTemplateRendering.allowEnvVariables` in {GITERMINISM_FILE}"
_STORES_OF_ONE = ("stages-storage", "workspace")
"""Stores that are this machine's own where the stages storage is ``:local``."""
PREDEFINED_ARGS = frozenset(f"{name}_PROXY" for name in ("HTTP", "HTTPS", "FTP", "NO", "ALL"))
PREDEFINED_ARGS |= {name.lower() for name in PREDEFINED_ARGS}
"""Build arguments a Dockerfile need not declare (docs.docker.com, "Predefined ARGs")."""


class ProjectSession(ScopedSession):
    """A session that reads the configuration too."""

    def __init__(self, session: Session, scope: ScopeOptions, project: ProjectOptions) -> None:
        super().__init__(session, scope)
        self.project_options = project
        self.uncommitted: tuple[str, ...] = ()
        """Files the configuration was read from that differ from the commit; known once it was read."""
        self._asked = {SETTINGS_FILE, GITERMINISM_FILE}

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The command line's platforms, else the settings'; empty where neither names one."""
        return self.project_options.platforms or self.settings.platforms

    @cached_property
    def project_tree(self) -> SourceTree:
        """What is read of the project: the commit; at a desk that keeps everything in its own engine, uncommitted changes over it."""
        is_seen_by_others = self.context.is_ci or self.repository is not None or self.store_name not in _STORES_OF_ONE
        if is_seen_by_others:
            return self.tree
        changes = self.tree.changes()
        if not changes:
            return self.tree
        from ci_plugin.project_files import WorkingTree

        return WorkingTree(self.tree, self.directory, changes)

    @cached_property
    def files(self) -> DirectoryFiles:
        """The project's files as a plan reads them."""
        return self._files_of(self.project_tree)

    @cached_property
    def source(self) -> Source:
        """How the configuration reads the project's files and the environment; what it asks for is remembered."""

        @cache  # a Dockerfile is asked for by who checks it and by who pins what it names; each read is a process of git
        def find_file(path: str) -> bytes | None:
            self._asked.add(path)
            data = self.project_tree.find_file(path)
            if data is None:
                refuse_link_out(self.project_tree, path)
            return data

        return replace(self._source_of(self.project_tree, find_file), warn=self.console.warning)

    @cached_property
    def rules(self) -> Giterminism | None:
        """``werf-giterminism.yaml``, or None where the project has none."""
        data = self.project_tree.find_file(GITERMINISM_FILE)
        if data is None:
            refuse_link_out(self.project_tree, GITERMINISM_FILE)
            return None
        from ci_plugin.config.giterminism import parse_giterminism

        return parse_giterminism(data)

    @cached_property
    def configuration(self) -> Configuration:
        """Every image. Raises ConfigError; in CI also InputError for a file it is read from that differs from the commit."""
        configuration = self._load(self.source)
        self.check_committed(self._asked, configuration)
        if self.rules is not None:
            from ci_plugin.config.giterminism import check_from_latest

            check_from_latest(configuration, self.rules)
        for notice in configuration.notices:
            self.console.event(notice)
        configuration = self._with_build_options(configuration)
        self._tell_unused([image for image in configuration if isinstance(image, DockerfileImage)])
        return configuration

    def check_buildable(self, names: Collection[str] = ()) -> None:
        """Before anybody is asked for anything: the configuration is right, has these images, and this version builds them.

        Raises ConfigError.
        """
        refuse_unbuilt(self.configuration.with_dependencies(names))

    def tell_remotes(self, images: Iterable[Image]) -> None:
        """One line for everything these images take by ADD from the web or from git that nothing holds."""
        from ci_plugin.config.references import find_remotes

        for image in images:
            remotes = dict.fromkeys(
                remote for platform in choose_platforms(image, self.platforms) for remote in find_remotes(image, self.source, platform)
            )
            for remote in remotes:
                if not remote.is_held:
                    self.console.event(f"{image.name}: {remote}")

    def tell_unbuilt(self) -> None:
        """One warning for every directive of the configuration that is read and not built, with the way out."""
        for sentence in describe_unbuilt(self.configuration):
            self.console.warning(sentence)

    def committed_project(self) -> tuple[Configuration, DirectoryFiles] | None:
        """Configuration and files of the commit alone, where uncommitted changes lie over them; else None. Raises ConfigError."""
        if self.project_tree is self.tree:
            return None
        configuration = self._load(self._source_of(self.tree, self.tree.find_file))
        return self._with_build_options(configuration), self._files_of(self.tree)

    def check_committed(self, read: Collection[str], configuration: Configuration | None = None) -> None:
        """Only the commit is what a pipeline builds: in CI a file that was read and differs from it is an error, elsewhere it is told.

        Raises InputError naming the files.
        """
        images = [image for image in configuration or () if isinstance(image, DockerfileImage)]
        asked = {*read, *(image.dockerfile for image in images)}
        asked |= {path for image in images for path in find_dockerignore(image.dockerfile, image.context)}
        self.uncommitted = find_uncommitted(self.tree, self.directory, asked)
        if not self.uncommitted:
            return
        if self.context.is_ci:
            self._refuse_uncommitted("in this CI job")
        commit = self.tree.commit[:12]
        unused = [path for path in self.uncommitted if self.project_tree is self.tree or path == SETTINGS_FILE]
        used = [path for path in self.uncommitted if path not in unused]
        if unused:
            self.console.warning(f"{', '.join(unused)} differs from the commit {commit}, which is what is used; commit to use yours")
        if used:
            self.console.event(f"{', '.join(used)} differs from the commit {commit}: yours is used, because nothing here is published")

    def need_committed(self) -> None:
        """Before anything is published: the files the configuration is read from are those of the commit. Raises InputError."""
        _ = self.configuration  # what it is read from is known once it was read
        if self.uncommitted and (self.repository is not None or self.store_name not in _STORES_OF_ONE):
            self._refuse_uncommitted(f"in a build for {self.repository or self.store_name}")

    def _refuse_uncommitted(self, where: str) -> None:
        hint = "commit them (git add, git commit), or take the change back (git checkout); files that a job makes are added by name: "
        raise InputError(
            f"expected the files of the commit {self.tree.commit[:12]} {where}, found uncommitted changes to {', '.join(self.uncommitted)}",
            hint=hint
            + "--context-add PATH or `contextAddFiles`"
            + ("" if self.context.is_ci else "; `--repo :local` builds them as they are"),
            where=Location(self.uncommitted[0]),
        )

    def _source_of(self, tree: SourceTree, find_file: Callable[[str], bytes | None]) -> Source:
        readable = self.settings.readable_env
        is_giterminism = readable is None and self.rules is not None and self.rules.readable_env is not None
        return Source(
            find_file=find_file,
            paths=lambda: [entry.path for entry in tree.listing()],
            environment=self.environ,
            env_name=self.options.env_name,
            readable_env=readable if readable is not None or self.rules is None else self.rules.readable_env,
            env_list=ENV_LIST if is_giterminism else Source.env_list,
            commit=tree.commit,
            commit_date=self.tree.commit_date,
        )

    def _files_of(self, tree: SourceTree) -> DirectoryFiles:
        from ci_plugin.engine.archives import diff_id_of
        from ci_plugin.project_files import DirectoryFiles

        return DirectoryFiles(tree, self.directory, diff_id_of, lambda: self.repositories)

    def _load(self, source: Source) -> Configuration:
        from ci_plugin.config.load import load_configuration, parse_dockerfile_option

        dockerfiles = [parse_dockerfile_option(text) for text in self.project_options.dockerfiles] or self.settings.dockerfiles
        return load_configuration(
            source,
            self.tree.remote_name(),
            config_file=self.options.config,
            dockerfiles=dockerfiles,
            check=lambda found: self._dockerfile_faults(found, source),
        )

    def _dockerfile_faults(self, configuration: Configuration, source: Source) -> Iterator[ConfigError]:
        from ci_plugin.config.references import list_dockerfile_faults

        amended = self._with_build_options(configuration)
        return list_dockerfile_faults(amended, source, lambda image: choose_platforms(image, self.platforms))

    def _with_build_options(self, configuration: Configuration) -> Configuration:
        options = self.project_options
        if not options.build_args and not options.context_add and not options.secrets and not options.ssh:
            return configuration
        if configuration.dialect != "dockerfile":
            raise ConfigError(
                f"expected --build-arg, --context-add, --secret and --ssh with a Dockerfile alone, found {configuration.file}",
                hint="write `args:`, `contextAddFiles:`, `secrets:` and `ssh:` at the image there",
            )
        from ci_plugin.cli.secret_options import parse_agents, parse_secrets

        given = dict(self._build_arg(text) for text in options.build_args)
        secrets, agents = parse_secrets(options.secrets), parse_agents(options.ssh)
        images = [
            replace(
                image,
                build_args={**image.build_args, **given},
                context_add=(*image.context_add, *options.context_add),
                secrets=(*image.secrets, *secrets),
                ssh=agents or image.ssh,
            )
            for image in configuration.images
            if isinstance(image, DockerfileImage)
        ]
        return Configuration.of(configuration.project, configuration.dialect, configuration.file, images)

    def _tell_unused(self, images: Sequence[DockerfileImage]) -> None:
        """A name that no Dockerfile declares is most likely a slip; the builder would pass over it as well."""
        given = dict(self._build_arg(text) for text in self.project_options.build_args)
        if not given:
            return
        from ci_plugin.config.references import load_dockerfile

        declared = {name for image in images for name in load_dockerfile(image, self.source).arg_names}
        for name in sorted(set(given) - declared - PREDEFINED_ARGS):
            self.console.warning(f"--build-arg {name}: no ARG {name} in the Dockerfiles that are built; nothing reads it")

    def _build_arg(self, text: str) -> tuple[str, str]:
        name, equals, value = text.partition("=")
        if not name:
            raise InputError(f"expected --build-arg NAME or NAME=VALUE, found no name: {text[:1]!r}", hint="write --build-arg NAME=VALUE")
        if not equals:
            if name not in self.environ:
                raise InputError(
                    f"expected a value for --build-arg {name}, found none in the environment", hint=f"write --build-arg {name}=VALUE"
                )
            value = self.environ[name]
        for secret in secrets_of({name: value}):
            self.redactor.add(secret)
        return name, value
