"""One document of a configuration → one image, built stage by stage or from a Dockerfile."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ci_plugin.config import dialects as keys
from ci_plugin.config.dialects import Dialect
from ci_plugin.config.directives.ansible import ANSIBLE, read_ansible
from ci_plugin.config.directives.dependencies import STAPEL_DEPENDENCIES, read_dockerfile_dependencies, read_stapel_dependencies
from ci_plugin.config.directives.docker import DOCKER, read_docker
from ci_plugin.config.directives.git import read_git
from ci_plugin.config.directives.image_spec import IMAGE_SPEC, merge_specs, read_image_spec
from ci_plugin.config.directives.imports import read_imports
from ci_plugin.config.directives.meta import Defaults
from ci_plugin.config.directives.mounts import read_mounts
from ci_plugin.config.directives.secrets import read_secrets
from ci_plugin.config.directives.shell import read_shell
from ci_plugin.config.model import ArchiveBase, Base, DockerfileImage, ExternalBase, ImageBase, ScratchBase, Shell, StapelImage
from ci_plugin.config.parts import Placed
from ci_plugin.config.readers import read_reference
from ci_plugin.config.sections import Key, Section, T
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import is_scratch


@dataclass(frozen=True, slots=True)
class ImageReader:
    """Reads documents by the tables of a dialect; ``artifacts``: every name of the file → whether it is an artifact image.

    What is wrong inside a directive is collected in the section's problems; what makes the whole image unreadable is raised.
    """

    dialect: Dialect
    defaults: Defaults
    artifacts: Mapping[str, bool]

    def read_dockerfile_image(self, section: Section, name: str, where: Location) -> DockerfileImage:
        """An image built from a Dockerfile. Raises ConfigError where what is built is not known; the section was checked."""
        for key in (keys.CONTEXT, keys.DOCKERFILE, keys.TARGET, keys.ARGS):
            section.get(key)
        context = section.get(keys.CONTEXT) or "."
        args = section.get(keys.ARGS) or {}
        return DockerfileImage(
            name=name,
            dockerfile=posixpath.normpath(posixpath.join(context, section.get(keys.DOCKERFILE) or "Dockerfile")),
            location=where,
            context=context,
            target=section.get(keys.TARGET),
            build_args=args,
            places={key.name: section.where(key) for key in (keys.DOCKERFILE, keys.TARGET) if section.has(key)},
            context_add=_tried(section, lambda: self._context_add(section)) or (),
            from_latest=section.find(keys.FROM_LATEST) or False,
            cache_version=section.find(keys.CACHE_VERSION) or self.defaults.cache_version,
            is_final=section.find(keys.FINAL) is not False,
            platforms=section.find(keys.PLATFORM) or self.defaults.platforms,
            dependencies=_tried(section, lambda: read_dockerfile_dependencies(section, args)) or (),
            secrets=_tried(section, lambda: read_secrets(section)) or (),
            image_spec=merge_specs(self.defaults.image_spec, _tried(section, lambda: read_image_spec(section))),
            network=_placed(section, keys.NETWORK),
            ssh=_placed(section, keys.SSH),
            add_host=_placed(section, keys.ADD_HOST),
        )

    def read_stapel_image(self, section: Section, name: str, where: Location, *, is_artifact: bool) -> StapelImage:
        """An image or artifact image built stage by stage; collects what is wrong. The section was checked."""
        for check in (self._refuse_on_artifact if is_artifact else None, self._refuse_together):
            with section.problems.collect():
                if check:
                    check(section)
        from_latest = section.find(keys.FROM_LATEST) or False
        image = StapelImage(
            name=name,
            base=_tried(section, lambda: self._base(section, name)) or ScratchBase(where),  # where it is wrong, nothing is built
            location=where,
            is_artifact=is_artifact,
            is_final=not is_artifact and section.find(keys.FINAL) is not False,
            from_cache_version=section.find(keys.FROM_CACHE_VERSION),
            cache_version=section.find(keys.CACHE_VERSION) or self.defaults.cache_version,
            shell=_tried(section, lambda: read_shell(section, self.dialect.shell)) or Shell(),
            docker=_tried(section, lambda: read_docker(section)),
            platforms=section.find(keys.PLATFORM) or self.defaults.platforms,
        )
        return replace(
            image,
            git=_tried(section, lambda: read_git(section, self.dialect.git)) or (),
            imports=_tried(section, lambda: read_imports(section, self.dialect.imports, self.artifacts, from_latest)) or (),
            mounts=_tried(section, lambda: read_mounts(section)) or (),
            dependencies=_tried(section, lambda: read_stapel_dependencies(section)) or (),
            secrets=_tried(section, lambda: read_secrets(section)) or (),
            image_spec=merge_specs(self.defaults.image_spec, _tried(section, lambda: read_image_spec(section))),
            ansible=_tried(section, lambda: read_ansible(section)),
            network=_placed(section, keys.NETWORK),
            disable_git_after_patch=_placed(section, keys.DISABLE_GIT_AFTER_PATCH),
        )

    def _context_add(self, section: Section) -> tuple[str, ...]:
        if section.has(keys.CONTEXT_ADD) and section.has(keys.CONTEXT_ADD_OLD):
            hint = "move everything into `contextAddFiles`"
            raise section.error("expected one of `contextAddFiles` and `contextAddFile`, found both", hint, keys.CONTEXT_ADD_OLD)
        return section.get(keys.CONTEXT_ADD) or section.get(keys.CONTEXT_ADD_OLD) or ()

    def _refuse_on_artifact(self, section: Section) -> None:
        for key in (DOCKER, keys.FINAL, keys.DISABLE_GIT_AFTER_PATCH, STAPEL_DEPENDENCIES):
            if section.has(key):
                message = f"expected no `{key.name}` on an artifact, found it"
                hint = f"an artifact is never deployed: remove it, or write `{self.dialect.image.name}:` instead of `artifact:`"
                raise section.error(message, hint, key)

    def _refuse_together(self, section: Section) -> None:
        shell, ansible = self.dialect.shell, ANSIBLE
        if section.has(shell) and section.has(ansible):
            raise section.error("expected one of `shell` and `ansible`, found both", "keep one of them", ansible)
        if section.has(DOCKER) and section.has(IMAGE_SPEC):
            raise section.error("expected one of `docker` and `imageSpec`, found both", "move everything into `imageSpec`", IMAGE_SPEC)

    def _base(self, section: Section, name: str) -> Base | None:
        """None where there is none because its directive is misspelt, which was told. Raises ConfigError."""
        given = [key for key in self.dialect.bases if section.has(key)]
        choices = ", ".join(f"`{key.name}`" for key in self.dialect.bases)
        if not given and section.is_meant(self.dialect.bases):
            return None
        if not given:
            raise section.error(f"expected a base for image {name!r}, found none", f"add one of {choices}")
        if len(given) > 1:
            found = " and ".join(f"`{key.name}` (line {section.where(key).line})" for key in given)
            raise section.error(f"expected one base for image {name!r}, found {found}", "keep one of them", given[1])
        key, where = given[0], section.where(given[0])
        is_latest = section.find(keys.FROM_LATEST) or False
        base = self._read_base(section, key, where)
        if is_latest and not isinstance(base, ExternalBase):
            found = f"it with `{key.name}: {section.get(key)}`"
            message = f"expected `fromLatest: true` only where `from` names an image of a registry, found {found}"
            raise section.error(message, "remove `fromLatest`", keys.FROM_LATEST)
        return replace(base, from_latest=is_latest) if isinstance(base, ExternalBase) else base

    def _read_base(self, section: Section, key: Key[str], where: Location) -> Base:
        value = section.get(key) or ""
        if key is keys.FROM_ARCHIVE:
            return ArchiveBase(value, where)
        if key is not keys.FROM:
            return self._image_base(value, key, where)
        if is_scratch(value):
            return ScratchBase(where)
        if self.dialect.is_from_a_name and value in self.artifacts:
            return self._image_base(value, key, where)
        return ExternalBase(read_reference(value, where), where)

    def _image_base(self, value: str, key: Key[str], where: Location) -> ImageBase:
        is_artifact = self.artifacts.get(value)
        wanted = key in self.dialect.from_artifact
        if key is not keys.FROM and is_artifact is not None and is_artifact is not wanted:
            right = (self.dialect.from_artifact if is_artifact else self.dialect.from_image)[0].name
            kinds = ("an image", "an artifact")
            message = f"expected {kinds[wanted]} in `{key.name}`, found {value!r}, which is {kinds[is_artifact]}"
            raise ConfigError(message, hint=f"write `{right}: {value}`", where=where)
        return ImageBase(value, where)


def _placed(section: Section, key: Key[T]) -> Placed[T] | None:
    """A value with its place; None where it is absent, false or wrong."""
    value = section.find(key)
    return Placed(value, section.where(key)) if value else None


def _tried(section: Section, read: Callable[[], T | None]) -> T | None:
    """What a directive says, or None with its error collected, so that the next one is read too."""
    try:
        return read()
    except ConfigError as error:
        section.problems.add(error)
        return None
