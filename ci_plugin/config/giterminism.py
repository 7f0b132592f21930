"""``werf-giterminism.yaml``: what a project lets its configuration take from outside the commit.

Two of its rules are ours too: which environment variables a template may read, and an explicit ``allowFromLatest: false``. The others open
doors that are shut here (uncommitted files) or concern other commands: they are known, checked and change nothing.

Which variables a template may read: ``env:`` of ``.stagepin.yaml`` where it stands, else ``allowEnvVariables`` where it stands, else every
name that does not look like a secret. A name written out in a list is readable; a ``/pattern/`` opens no name that looks like a secret.
Source: https://werf.io/docs/v2/reference/werf_giterminism_yaml.html; a pattern matches the whole name, as werf has it.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from typing import TypeAlias

from ci_plugin.config.model import Configuration, ExternalBase, Image, StapelImage
from ci_plugin.config.parts import ExternalSource
from ci_plugin.config.problems import Problems
from ci_plugin.config.sections import Key, Section, Table, mapping
from ci_plugin.config.source import decode
from ci_plugin.config.yaml_nodes import ListNode, Node, parse_documents, read_flag, read_map, read_text, read_texts
from ci_plugin.errors import ConfigError, Location

GITERMINISM_FILE = "werf-giterminism.yaml"
_LOOKS_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|KEY|CREDENTIAL|AUTH(?!OR(?!IZ))", re.IGNORECASE)
_LONGEST_PATTERN, _LONGEST_NAME, _MOST_REPEATS = 200, 200, 3
_NESTED_REPEAT = re.compile(r"[*+}]\)*[*+{]|\)[*+{]")
"""A repeated group: in Go harmless, in Python a way to spend an afternoon on one name."""

Names: TypeAlias = "tuple[str | re.Pattern[str], ...]"


def _read_names(node: Node) -> Names:
    items = node.items if isinstance(node, ListNode) else (node,)
    return tuple(_name(item) for item in items)


def _name(node: Node) -> str | re.Pattern[str]:
    text = read_text(node)
    if len(text) < 2 or not (text.startswith("/") and text.endswith("/")):
        return text
    pattern = text[1:-1]
    if len(pattern) > _LONGEST_PATTERN or _NESTED_REPEAT.search(pattern) or len(re.findall("[*+{]", pattern)) > _MOST_REPEATS:
        hint = "write the names out, or a pattern such as /APP_.*/"
        raise ConfigError(
            f"expected a short pattern with at most {_MOST_REPEATS} repeats and no repeated group, found {text[:100]!r}",
            hint=hint,
            where=node.location,
        )
    try:
        return re.compile(pattern, re.ASCII)
    except re.error as error:
        message = f"expected a regular expression, found {text[:100]!r}: {error}"
        raise ConfigError(message, hint="write a name, or /PATTERN/", where=node.location) from None


VERSION = Key("giterminismConfigVersion", read_text, "1")
ALLOW_ENV = Key("allowEnvVariables", _read_names, "Names, or /patterns/, a template may read")
ALLOW_FROM_LATEST = Key("allowFromLatest", read_flag, "false: an image may not follow the registry")
_TEMPLATES = mapping("goTemplateRendering", Table.of((ALLOW_ENV, Key("allowUncommittedFiles", read_texts))))
_GIT = mapping("git", Table.of((Key("allowBranch", read_flag),)))
_MOUNT = mapping("mount", Table.of((Key("allowBuildDir", read_flag), Key("allowFromPaths", read_texts))))
_STAPEL = mapping("stapel", Table.of((ALLOW_FROM_LATEST, _GIT, _MOUNT)))
_SECRETS_KEYS = ("allowEnvVariables", "allowFiles", "allowValueIds")
_SECRETS = mapping("secrets", Table.of(Key(name, read_texts) for name in _SECRETS_KEYS))
_DOCKERFILE_KEYS = ("allowUncommitted", "allowUncommittedDockerignoreFiles", "allowContextAddFiles")
_DOCKERFILE = mapping("dockerfile", Table.of(Key(name, read_texts) for name in _DOCKERFILE_KEYS))
_UNCOMMITTED = (Key("allowUncommitted", read_flag), Key("allowUncommittedTemplates", read_texts))
_CONFIG = mapping("config", Table.of((*_UNCOMMITTED, _TEMPLATES, _STAPEL, _SECRETS, _DOCKERFILE)))
_CLI = mapping("cli", Table.of((Key("allowCustomTags", read_flag),)))
_HELM = mapping("helm", Table.of((Key("allowUncommittedFiles", read_texts),)))
_INCLUDES = mapping("includes", Table.of((Key("allowIncludesUpdate", read_flag),)))
TABLE = Table.of((VERSION, _CLI, _CONFIG, _HELM, _INCLUDES), required=("giterminismConfigVersion",))


@dataclass(frozen=True, slots=True)
class Giterminism:
    """What of the file changes something here."""

    env_names: Names | None = None
    """None: the file says nothing about the environment."""
    from_latest_forbidden_at: Location | None = None
    """Where ``allowFromLatest: false`` is written out; werf's default is not a wish of the project's, and pins make it needless."""

    @property
    def readable_env(self) -> Container[str] | None:
        """The names a template may read, or None where the file says nothing."""
        return None if self.env_names is None else ReadableNames(self.env_names)


@dataclass(frozen=True, slots=True)
class ReadableNames(Container[str]):
    """The names of a list with patterns in it."""

    names: Names

    def __contains__(self, name: object) -> bool:
        """Whether this name is written out, or matched by a pattern and no secret by its looks."""
        if name in self.names:
            return True
        is_open = isinstance(name, str) and len(name) <= _LONGEST_NAME and not _LOOKS_SECRET.search(name)
        return is_open and any(isinstance(item, re.Pattern) and item.fullmatch(str(name)) for item in self.names)


def parse_giterminism(data: bytes, file: str = GITERMINISM_FILE) -> Giterminism:
    """The rules in these bytes. Raises one ConfigError that names every problem."""
    documents = parse_documents(decode(data, file), file)
    if not documents:
        return Giterminism()
    if len(documents) > 1:
        raise ConfigError("expected one document, found several", hint="remove the `---` lines", where=documents[1].location)
    problems = Problems()
    found = Giterminism()
    with problems.collect():
        section = Section(read_map(documents[0]))
        section.check(TABLE, "werf", problems)
        found = _read(section)
    problems.raise_first()
    return found


def _read(section: Section) -> Giterminism:
    version = section.get(VERSION)
    if version != "1":
        shown = "none" if version is None else repr(version[:50])
        where = section.where(VERSION)
        raise ConfigError(
            f"expected giterminismConfigVersion 1, found {shown}", hint="begin the file with `giterminismConfigVersion: 1`", where=where
        )
    _check_values(section, TABLE)
    config = section.open(_CONFIG)
    templates = config.open(_TEMPLATES) if config else None
    stapel = config.open(_STAPEL) if config else None
    forbids = stapel is not None and stapel.get(ALLOW_FROM_LATEST) is False
    return Giterminism(
        env_names=templates.get(ALLOW_ENV) if templates else None,
        from_latest_forbidden_at=stapel.where(ALLOW_FROM_LATEST) if stapel and forbids else None,
    )


def _check_values(section: Section, table: Table) -> None:
    """Every value has the kind its key takes, also of keys that change nothing; collects what is wrong."""
    for key in table.keys:
        with section.problems.collect():
            if key.table is None:
                section.get(key)
            elif section.has(key) and (below := section.open(mapping(key.name, key.table))):
                _check_values(below, key.table)


def check_from_latest(configuration: Configuration, rules: Giterminism) -> None:
    """Raise one ConfigError for every image that follows the registry in a project that says in so many words that none may."""
    if rules.from_latest_forbidden_at is None or configuration.dialect == "dockerfile":
        return
    problems = Problems()
    for image in configuration:
        for where in _following(image):
            hint = (
                f"pins make it safe: remove `allowFromLatest: false` ({rules.from_latest_forbidden_at}); "
                "or remove `fromLatest` and change `fromCacheVersion` when a new base is wanted"
            )
            message = f"expected no `fromLatest` in a project that forbids it, found it at image {image.name!r}"
            problems.add(ConfigError(message, hint=hint, where=where))
    problems.raise_first()


def _following(image: Image) -> tuple[Location, ...]:
    if not isinstance(image, StapelImage):
        return (image.location,) if image.from_latest else ()
    if isinstance(image.base, ExternalBase):
        return (image.base.location,) if image.base.from_latest else ()
    sources = (item.source for item in image.imports)
    return tuple(source.location for source in sources if isinstance(source, ExternalSource) and source.from_latest)
