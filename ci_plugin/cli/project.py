"""The session of a command that reads the configuration: which images, with which build arguments, from which files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from ci_plugin.cli.options import ProjectOptions, ScopeOptions
from ci_plugin.cli.wiring import ScopedSession, Session
from ci_plugin.config.model import Configuration, DockerfileImage
from ci_plugin.config.source import Source
from ci_plugin.errors import ConfigError, InputError
from ci_plugin.reports.redaction import secrets_of
from ci_plugin.values.platform import Platform

PREDEFINED_ARGS = frozenset(f"{name}_PROXY" for name in ("HTTP", "HTTPS", "FTP", "NO", "ALL"))
PREDEFINED_ARGS |= {name.lower() for name in PREDEFINED_ARGS}
"""Build arguments a Dockerfile need not declare (docs.docker.com, "Predefined ARGs")."""


class ProjectSession(ScopedSession):
    """A session that reads the configuration too."""

    def __init__(self, session: Session, scope: ScopeOptions, project: ProjectOptions) -> None:
        super().__init__(session, scope)
        self.project_options = project

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """The command line's platforms, else the settings'; empty where neither names one."""
        return self.project_options.platforms or self.settings.platforms

    @cached_property
    def source(self) -> Source:
        """How the configuration reads committed files and the environment."""
        return Source(
            find_file=self.tree.find_file,
            paths=lambda: [entry.path for entry in self.tree.listing()],
            environment=self.environ,
            env_name=self.options.env_name,
            readable_env=self.settings.readable_env,
            commit=self.tree.commit,
        )

    @cached_property
    def configuration(self) -> Configuration:
        """Every image. Raises ConfigError."""
        from ci_plugin.config.load import load_configuration, parse_dockerfile_option

        dockerfiles = [parse_dockerfile_option(text) for text in self.project_options.dockerfiles] or self.settings.dockerfiles
        configuration = load_configuration(self.source, self.tree.remote_name(), config_file=self.options.config, dockerfiles=dockerfiles)
        self._tell_uncommitted(configuration)
        return self._with_build_options(configuration)

    def _with_build_options(self, configuration: Configuration) -> Configuration:
        options = self.project_options
        if not options.build_args and not options.context_add:
            return configuration
        if configuration.dialect != "dockerfile":
            raise ConfigError(
                f"expected --build-arg and --context-add with a Dockerfile alone, found {configuration.file}",
                hint="write `args:` and `contextAddFiles:` at the image there",
            )
        given = dict(self._build_arg(text) for text in options.build_args)
        images = [
            replace(image, build_args={**image.build_args, **given}, context_add=(*image.context_add, *options.context_add))
            for image in configuration.images
            if isinstance(image, DockerfileImage)
        ]
        self._tell_unused(images, given)
        return Configuration.of(configuration.project, configuration.dialect, configuration.file, images)

    def _tell_unused(self, images: Sequence[DockerfileImage], given: Mapping[str, str]) -> None:
        """A name that no Dockerfile declares is most likely a slip; the builder would pass over it as well."""
        from ci_plugin.config.references import load_dockerfile

        declared = {name for image in images for name, _ in load_dockerfile(image, self.source).build_arg_values(image.target, given)}
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

    def _tell_uncommitted(self, configuration: Configuration) -> None:
        """Only the commit is read: whoever edits a file and does not commit it should hear that it was not used."""
        read = {configuration.file, *(image.dockerfile for image in configuration.images if isinstance(image, DockerfileImage))}
        changed = self.tree.uncommitted([path for path in read if path])
        if changed:
            self.console.warning(
                f"{', '.join(changed)} differs from the commit {self.tree.commit[:12]}, which is what is used; commit to use yours"
            )
