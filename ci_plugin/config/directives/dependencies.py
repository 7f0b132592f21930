"""``dependencies``: what a build is told about another image: its name, tag, repository, ID or digest."""

from __future__ import annotations

from collections.abc import Collection

from ci_plugin.config.directives.selection import MOMENT_KEYS, read_moment
from ci_plugin.config.parts import DEPENDENCY_TYPES, Dependency, DependencyImport, Moment
from ci_plugin.config.readers import read_name
from ci_plugin.config.sections import Key, Section, Table, mappings, takes
from ci_plugin.config.yaml_nodes import Node, read_text
from ci_plugin.errors import ConfigError


@takes({"enum": list(DEPENDENCY_TYPES)})
def _read_type(node: Node) -> str:
    text = read_text(node)
    if text not in DEPENDENCY_TYPES:
        hint = f"write one of {', '.join(DEPENDENCY_TYPES)}"
        raise ConfigError(f"expected a fact about an image, found {text[:50]!r}", hint=hint, where=node.location)
    return text


IMAGE = Key("image", read_name, "An image of this file")
FROM = Key("from", read_name, "The same, in werf 3's words")
TYPE = Key("type", _read_type, "Which fact")
TARGET_ENV = Key("targetEnv", read_name, "The environment variable that gets it (images built by stages)")
TARGET_ARG = Key("targetBuildArg", read_name, "The build argument that gets it (Dockerfile images)")
IMPORTS = mappings("imports", Table.of((TYPE, TARGET_ENV, TARGET_ARG), required=("type",)))
_ABOUT = "What the build is told about other images"
STAPEL_DEPENDENCIES = mappings("dependencies", Table.of((IMAGE, FROM, IMPORTS, *MOMENT_KEYS)), _ABOUT)
DOCKERFILE_DEPENDENCIES = mappings("dependencies", Table.of((IMAGE, FROM, IMPORTS, *MOMENT_KEYS)), _ABOUT)


def read_stapel_dependencies(image: Section) -> tuple[Dependency, ...]:
    """The dependencies of an image built by stages; collects what is wrong."""
    return _dependencies(image, TARGET_ENV, ())


def read_dockerfile_dependencies(image: Section, args: Collection[str]) -> tuple[Dependency, ...]:
    """The dependencies of a Dockerfile image whose own build arguments are ``args``; collects what is wrong."""
    return _dependencies(image, TARGET_ARG, args)


def _dependencies(image: Section, target: Key[str], args: Collection[str]) -> tuple[Dependency, ...]:
    found = []
    taken: dict[str, DependencyImport] = {}
    for section in image.open_each(STAPEL_DEPENDENCIES):
        with image.problems.collect():
            given = [key for key in (IMAGE, FROM) if section.has(key)]
            if len(given) != 1:
                told = "both" if given else "neither"
                raise section.error(f"expected one of `image` and `from`, found {told}", "write `image: NAME`", given[1] if given else None)
            moment = _moment(section, target)
            imports = tuple(_imports(section, target, args, taken))
            found.append(Dependency(section.get(given[0]) or "", section.where(given[0]), moment, imports))
    return tuple(found)


def _moment(section: Section, target: Key[str]) -> Moment | None:
    if target is TARGET_ENV:
        return read_moment(section)
    for key in MOMENT_KEYS:
        if section.has(key):
            message = f"expected no `{key.name}` at a Dockerfile image, found it"
            raise section.error(message, "remove it: build arguments are there from the beginning", key)
    return None


def _imports(section: Section, target: Key[str], args: Collection[str], taken: dict[str, DependencyImport]) -> list[DependencyImport]:
    found = []
    for item in section.open_each(IMPORTS):
        with section.problems.collect():
            found.append(_import(item, target, args, taken))
    return found


def _import(section: Section, target: Key[str], args: Collection[str], taken: dict[str, DependencyImport]) -> DependencyImport:
    other = TARGET_ARG if target is TARGET_ENV else TARGET_ENV
    if section.has(other):
        kind = "images built by stages" if target is TARGET_ENV else "Dockerfile images"
        raise section.error(f"expected `{target.name}`, found `{other.name}`", f"{kind} take `{target.name}`", other)
    fact, name = section.get(TYPE), section.get(target)
    if fact is None or name is None:
        missing = TYPE.name if fact is None else target.name
        raise section.error(f"expected `{missing}`, found none", f"write `type: ImageName` and `{target.name}: NAME`")
    one = DependencyImport(fact, name, section.where(target))
    if name in args:
        message = f"expected the build argument {name[:100]!r} once, found it in `args` too"
        raise section.error(message, "remove it from `args`", target)
    if (first := taken.setdefault(name, one)) is not one:
        message = f"expected every `{target.name}` once, found {name[:100]!r} again (first at {first.location})"
        raise section.error(message, "rename one of the two", target)
    return one
