"""``shell``: the commands of the user's stages and what invalidates them."""

from __future__ import annotations

from ci_plugin.config.model import USER_STAGES, Shell
from ci_plugin.config.parts import Placed
from ci_plugin.config.sections import Key, Section, Table, mapping
from ci_plugin.config.yaml_nodes import MapNode, read_text, read_texts

COMMANDS = tuple(Key(stage, read_texts, f"Commands of {stage}") for stage in USER_STAGES)
CACHE_VERSIONS = tuple(Key(f"{stage}CacheVersion", read_text, f"Another text runs {stage} again") for stage in USER_STAGES)
CACHE_VERSION = Key("cacheVersion", read_text, "Another text runs all of them again")
BUILD_ARTIFACT = Key("buildArtifact", read_texts, "The last commands of an artifact")
BUILD_ARTIFACT_VERSION = Key("buildArtifactCacheVersion", read_text)
_KEYS: tuple[Key[object], ...] = (*COMMANDS, *CACHE_VERSIONS, CACHE_VERSION)
SHELL = mapping("shell", Table.of(_KEYS), "Commands, stage by stage")
DAPP_SHELL = mapping("shell", Table.of((*_KEYS, BUILD_ARTIFACT, BUILD_ARTIFACT_VERSION)), "Commands, stage by stage")


def read_shell(image: Section, key: Key[MapNode]) -> Shell:
    """The commands; collects what is wrong. Raises ConfigError where it is no mapping."""
    shell = image.open(key)
    if shell is None:
        return Shell()
    commands = {stage.name: shell.find(stage) or () for stage in COMMANDS if shell.has(stage)}
    versions = {stage: shell.find(version) for stage, version in zip(USER_STAGES, CACHE_VERSIONS, strict=True)}
    last = shell.find(BUILD_ARTIFACT) if shell.has(BUILD_ARTIFACT) else None
    return Shell(
        commands,
        {stage: text for stage, text in versions.items() if text is not None},
        shell.find(CACHE_VERSION),
        Placed(last, shell.where(BUILD_ARTIFACT)) if last else None,
    )
