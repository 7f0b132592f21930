"""Documents of a configuration → images: one document at a time by the dialect's tables, then what holds between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from ci_plugin.config.dialects import AS_LAYERS, DOCKERFILE, STAGED, WERF, Dialect
from ci_plugin.config.directives.meta import META, Defaults, is_meta, read_meta
from ci_plugin.config.images import ImageReader
from ci_plugin.config.model import Configuration, Image, StapelImage
from ci_plugin.config.overlaps import find_overlaps
from ci_plugin.config.parts import Ignored
from ci_plugin.config.problems import Problems
from ci_plugin.config.sections import Key, Section
from ci_plugin.config.yaml_nodes import MapNode, Node, ScalarNode, read_map
from ci_plugin.errors import ConfigError, Location

_NO_EFFECT = {
    STAGED.name: "it concerns how werf caches Dockerfiles; BuildKit keeps every instruction",
    AS_LAYERS.name: "it concerns how layers are cut while debugging; the files of the image are the same",
}


Check: TypeAlias = Callable[[Configuration], Iterable[ConfigError]]
"""What else is wrong with the images of a configuration; told together with what is wrong with its text."""


def nothing_else(_configuration: Configuration) -> Iterable[ConfigError]:
    """No further check."""
    return ()


def parse_configuration(
    documents: Sequence[Node], dialect: Dialect, file: str, project: str, problems: Problems | None = None, check: Check = nothing_else
) -> Configuration:
    """The configuration in these documents. Raises one ConfigError that names every problem of the file, and those in ``problems``."""
    return _Parser(dialect, file, project, problems or Problems()).parse(documents, check)


class _Parser:
    def __init__(self, dialect: Dialect, file: str, project: str, problems: Problems) -> None:
        self._dialect = dialect
        self._file = file
        self._problems = problems
        self._defaults = Defaults(project)
        self._artifacts: dict[str, bool] = {}
        """Every name of the file → whether it is an artifact image; ``from`` and ``fromImage`` are read against it."""
        self._without_name: list[Location] = []
        self._ignored: list[Ignored] = []

    def parse(self, documents: Sequence[Node], check: Check) -> Configuration:
        metas: list[MapNode] = []
        sections: list[Section] = []
        for node in documents:
            with self._problems.collect():
                document = read_map(node)
                if self._dialect.has_meta and is_meta(document):
                    metas.append(document)
                else:
                    sections.append(Section(document, self._dialect.name, self._problems))
        with self._problems.collect():
            self._read_meta(metas)
        for section in sections:
            self._note_names(section)
        images: list[Image] = []
        for section in sections:
            with self._problems.collect():
                images += self._images(section)
        return self._checked(images, check, is_empty_told=bool(sections))

    def _checked(self, images: Sequence[Image], check: Check, *, is_empty_told: bool) -> Configuration:
        ignored = (*self._defaults.ignored, *self._ignored)
        configuration = Configuration(self._defaults.project, self._dialect.name, self._file, tuple(images), ignored)
        self._problems.add_all(configuration.faults(self._artifacts, is_empty_told=is_empty_told))
        self._problems.add_all(self._nameless(images))
        self._problems.add_all(error for image in images if isinstance(image, StapelImage) for error in find_overlaps(image))
        with self._problems.collect():
            self._problems.add_all(check(configuration))
        self._problems.raise_first()
        return configuration

    def _nameless(self, images: Sequence[Image]) -> Iterator[ConfigError]:
        """``image: ~`` is the project's one image: with others beside it, nobody could tell which one a command means."""
        deployed = [image for image in images if not (isinstance(image, StapelImage) and image.is_artifact)]
        for where in self._without_name if len(deployed) > 1 else ():
            message = "expected a name for every image where there are several, found an image without"
            yield ConfigError(message, hint=f"write `{self._dialect.image.name}: NAME`", where=where)

    def _read_meta(self, metas: Sequence[MapNode]) -> None:
        if not self._dialect.has_meta:
            return
        if not metas:
            hint = f"begin the file with `project: {self._defaults.project or 'NAME'}`, `configVersion: 1` and a line `---`"
            raise ConfigError("expected a document with `configVersion: 1`, found none", hint=hint, where=Location(self._file, 1))
        for other in metas[1:]:
            message = f"expected one document about the project, found another (first at {metas[0].location})"
            hint = "merge the two, and put `---` before each image"
            self._problems.add(ConfigError(message, hint=hint, where=other.location))
        meta = Section(metas[0])
        meta.check(META, self._dialect.name, self._problems)
        self._defaults = read_meta(meta, self._defaults.project)

    def _note_names(self, section: Section) -> None:
        for key in (self._dialect.image, self._dialect.artifact):
            with self._problems.collect():
                for name, _ in self._names(section, key):
                    self._artifacts[name] = key is self._dialect.artifact

    def _names(self, section: Section, key: Key[tuple[ScalarNode, ...]]) -> list[tuple[str, Location]]:
        node = section.node.find(key.name)
        if node is None:
            return []
        names = key.read(node)
        self._without_name += [name.location for name in names if name.is_null and name.location not in self._without_name]
        return [(self._defaults.project if name.is_null else name.text, name.location) for name in names]

    def _images(self, section: Section) -> list[Image]:
        dialect = self._dialect
        images, artifacts = (self._names(section, key) for key in (dialect.image, dialect.artifact))
        if bool(images) == bool(artifacts):
            found = "both" if images else "neither"
            message = f"expected `{dialect.image.name}` or `{dialect.artifact.name}` in every document, found {found}"
            raise section.error(message, f"write `{dialect.image.name}: NAME`")
        is_dockerfile = section.has(DOCKERFILE) and dialect is WERF
        section.check(dialect.dockerfile if is_dockerfile else dialect.stapel, dialect.name, self._problems)
        self._note_ignored(section)
        reader = ImageReader(dialect, self._defaults, self._artifacts)
        if is_dockerfile:
            return [reader.read_dockerfile_image(section, name, where) for name, where in images]
        return [reader.read_stapel_image(section, name, where, is_artifact=bool(artifacts)) for name, where in images or artifacts]

    def _note_ignored(self, section: Section) -> None:
        keys = (key for key, _ in section.node.entries)
        self._ignored += [Ignored(key.text, _NO_EFFECT[key.text], key.location) for key in keys if key.text in _NO_EFFECT]
