"""The user's stages: run the commands in the parent, commit what they changed."""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.conveyor.stage import RunCommands
from ci_plugin.ports import Engine, EngineImage, ImageChange, OutputSink
from ci_plugin.values.digest import ImageId


def run_commands(work: RunCommands, parent: ImageId, labels: Mapping[str, str], engine: Engine, output: OutputSink) -> EngineImage:
    """The child image. Raises StageFailed with the output where a command fails."""
    return engine.derive(parent, ImageChange(labels=labels), work.commands, output)
