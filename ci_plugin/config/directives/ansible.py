"""``ansible``: tasks by stage. They are read and kept apart, never built (docs/configuration.md says what to do instead)."""

from __future__ import annotations

from collections.abc import Iterator

from ci_plugin.config.model import USER_STAGES
from ci_plugin.config.parts import Ansible, AnsibleTask
from ci_plugin.config.sections import Key, Section, Table, mapping
from ci_plugin.config.yaml_nodes import MapNode, ScalarNode, read_maps, read_text

_STAGES = (*USER_STAGES, "buildArtifact")
TASKS = tuple(Key(stage, read_maps) for stage in _STAGES)
CACHE_VERSIONS = tuple(Key(f"{stage}CacheVersion", read_text) for stage in _STAGES)
CACHE_VERSION = Key("cacheVersion", read_text)
ANSIBLE = mapping("ansible", Table.of((*TASKS, *CACHE_VERSIONS, CACHE_VERSION)), "Tasks, stage by stage; stagepin cannot build them")
_NO_MODULES = frozenset(("name", "when", "with_items", "loop", "register", "become", "become_user", "environment", "args", "vars", "tags"))


def read_ansible(image: Section) -> Ansible | None:
    """The tasks, or None; collects unknown keys. Raises ConfigError."""
    section = image.open(ANSIBLE)
    if section is None:
        return None
    tasks = tuple(_task(key.name, node) for key in TASKS for node in section.get(key) or ())
    versions = {key.name: text for key in (*CACHE_VERSIONS, CACHE_VERSION) if (text := section.get(key)) is not None}
    return Ansible(tasks, image.where(ANSIBLE), versions)


def _task(stage: str, node: MapNode) -> AnsibleTask:
    name = node.find("name")
    return AnsibleTask(stage, next(_modules(node), "block"), name.text if isinstance(name, ScalarNode) else None, node.location)


def _modules(node: MapNode) -> Iterator[str]:
    return (key.text for key, _ in node.entries if key.text not in _NO_MODULES)
