"""``import``: files of another image of the configuration, an artifact, or an image of a registry."""

from __future__ import annotations

from collections.abc import Collection

from ci_plugin.config.directives.selection import ADD, MOMENT_KEYS, SELECTION_KEYS, read_moment, read_selection
from ci_plugin.config.model import USER_STAGES
from ci_plugin.config.parts import ExternalSource, ImageSource, Import, Source
from ci_plugin.config.readers import read_name, read_reference
from ci_plugin.config.sections import Key, Section, Table, mappings
from ci_plugin.config.yaml_nodes import MapNode

IMAGE = Key("image", read_name, "An image of this file (werf 1.1 and later)")
ARTIFACT = Key("artifact", read_name, "An artifact of this file")
FROM = Key("from", read_name, "An image of this file, or an image of a registry with its tag or digest (werf 2)")
STAGE = Key("stage", read_name, "Take the files as they are after this stage of the source")
WERF_IMPORT = mappings("import", Table.of((IMAGE, ARTIFACT, FROM, STAGE, *MOMENT_KEYS, *SELECTION_KEYS)), "Files of another image")
DAPP_IMPORT = mappings("import", Table.of((ARTIFACT, *MOMENT_KEYS, *SELECTION_KEYS)), "Files of an artifact")
_DEPENDENCY_STAGES = ("BeforeInstall", "AfterInstall", "BeforeSetup", "AfterSetup")
STAGES = {"from", *USER_STAGES, "gitArchive", "gitCache", "gitLatestPatch", "dockerInstructions"}
STAGES |= {f"{word}{stage}" for word in ("dependencies", "imports") for stage in _DEPENDENCY_STAGES}
"""What ``stage`` may name, in every generation's words."""


def read_imports(image: Section, key: Key[tuple[MapNode, ...]], names: Collection[str], from_latest: bool) -> tuple[Import, ...]:
    """The imports of an image; ``names``: every image of the file. Collects what is wrong."""
    found = []
    for section in image.open_each(key):
        with image.problems.collect():
            found.append(_import(section, names, from_latest))
    return tuple(found)


def _import(section: Section, names: Collection[str], from_latest: bool) -> Import:
    source = _source(section, names, from_latest)
    files = read_selection(section, section.get(ADD))
    if files.add == "/" and not files.include:
        hint = "write `add: /usr/local/bin/tool`, or `includePaths`"
        raise section.error("expected a path to import, found the whole root", hint, ADD if section.has(ADD) else None)
    return Import(source, read_moment(section), files, section.node.location)


def _source(section: Section, names: Collection[str], from_latest: bool) -> Source:
    given = [key for key in (IMAGE, ARTIFACT, FROM) if section.has(key)]
    if len(given) != 1:
        found = " and ".join(f"`{key.name}`" for key in given) or "none"
        raise section.error(f"expected one source of an import, found {found}", "write `image: NAME`", given[1] if given else None)
    key, where = given[0], section.where(given[0])
    text = section.get(key) or ""
    stage = section.get(STAGE)
    if stage is not None and stage not in STAGES:
        raise section.error(f"expected a stage of the source, found {stage[:50]!r}", "write `stage: setup`, for example", STAGE)
    if text in names or key is ARTIFACT or not _is_external(text):
        return ImageSource(text, where, stage)
    if stage is not None:
        hint = "remove `stage`: an image of a registry is taken as it is"
        raise section.error("expected no `stage` with an image of a registry, found it", hint, STAGE)
    return ExternalSource(read_reference(text, where), where, from_latest)


def _is_external(text: str) -> bool:
    """As werf tells them apart: an image of a registry is written with a tag or a digest; names of images hold neither ``:`` nor ``@``."""
    return "@" in text or ":" in text.rpartition("/")[2] or "://" in text
