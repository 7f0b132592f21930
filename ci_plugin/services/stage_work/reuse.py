"""The reuse key (DESIGN.md §6.4, docs/adr/0014): a second name of a stage that takes files or facts from other images, or follows one.

A stage signature names the sources' stage signatures, so that it is known before anything is built. The reuse key names what was really
taken, so that a source that was rebuilt and gave equal files does not rebuild its users. It is looked up on a miss only. The parent enters
as what it is: its layers, and its config as the engine has it, or its own reuse key, which stands for all that made its config.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from ci_plugin.conveyor.signature import SIGNATURE_VERSION
from ci_plugin.conveyor.stage import SOURCE, PutDependencies, Stage
from ci_plugin.ports import StoredStage
from ci_plugin.records.stage_labels import StageLabels
from ci_plugin.values.canonical import Value, fields_hash
from ci_plugin.values.platform import Platform

_OF_SOURCES = (SOURCE, "import.", "base.image")
"""What the labels of inputs begin with that name a source rather than what is taken from it."""
_CONFIG = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "Volumes", "Healthcheck", "StopSignal", "Shell", "OnBuild")
_OURS = ("stagepin.", "org.opencontainers.image.base.")


def has_reuse_key(stage: Stage, parent: StageLabels | None) -> bool:
    """Whether a stage takes something from other images or follows one that does; ``parent`` is the stage it is made on, if known."""
    return isinstance(stage.work, PutDependencies) or (parent is not None and bool(parent.reuse))


def reuse_key(platform: Platform, line: Sequence[Stage], parent: Value, taken: Value) -> str:
    """64 hex characters; ``line`` is the stage of the key, last, after all before it in its image.

    Their inputs count as well: a cache version or a mount of ``from`` moves all that follows, though no layer shows it.
    """
    inputs = tuple(
        (stage.name, tuple((item.label, item.value) for item in stage.inputs if not item.label.startswith(_OF_SOURCES))) for stage in line
    )
    return fields_hash(
        (
            ("version", SIGNATURE_VERSION),
            ("reuse", line[-1].name),
            ("platform", str(platform)),
            ("inputs", inputs),
            ("taken", taken),
            ("parent", parent),
        )
    )


def parent_identity(stored: StoredStage, labels: StageLabels, config: Callable[[], Mapping[str, object]]) -> Value:
    """What a parent is, whatever our labels say of it; ``config`` asks the engine, and only for a parent without a reuse key."""
    diff_ids = tuple(map(str, stored.config.diff_ids))
    return diff_ids, labels.reuse or _config_text(config())


def _config_text(config: Mapping[str, object]) -> str:
    """What of an engine's config runs with the image; empty and absent are one."""
    labels = config.get("Labels")
    own = {name: value for name, value in labels.items() if not str(name).startswith(_OURS)} if isinstance(labels, Mapping) else {}
    kept = {name: config[name] for name in _CONFIG if config.get(name)} | {"Labels": own}
    return json.dumps(kept, sort_keys=True, ensure_ascii=True)
