"""The user's stages: run the commands in the parent, commit what they changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ci_plugin.conveyor.stage import RunCommands
from ci_plugin.ports import NO_SETTINGS, Engine, EngineImage, ImageChange, OutputSink, PathChange, RunSettings
from ci_plugin.values.digest import ImageId


def run_commands(
    work: RunCommands,
    parent: ImageId,
    labels: Mapping[str, str],
    engine: Engine,
    output: OutputSink,
    settings: RunSettings = NO_SETTINGS,
    changed: Callable[[Sequence[PathChange]], None] | None = None,
) -> EngineImage:
    """The child image. Raises StageFailed with the output where a command fails."""
    return engine.derive(parent, ImageChange(labels=labels), work.commands, output, settings=settings, changed=changed)
