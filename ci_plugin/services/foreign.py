"""Stages for a platform that is not the engine's own: which need emulation, and what to do where a stage of theirs fails.

Files, config and imports are made for any platform by any engine; only commands must be run. Whether emulation is registered is not asked
of anybody: it is the kernel's, and an engine on another machine does not tell.
"""

from __future__ import annotations

from ci_plugin.conveyor.plan import PlannedImage
from ci_plugin.conveyor.stage import BuildDockerfile, RunCommands, Stage
from ci_plugin.errors import AnswerIsNo, Gone, StageFailed
from ci_plugin.ports import Engine


def tell_foreign(error: AnswerIsNo, planned: PlannedImage, stage: Stage, engine: Engine) -> None:
    """Add to a failed stage's hint what its platform needs of the engine, where that is not the engine's own.

    Decided by the platforms and never by what the engine said: engines say it in many ways, some only in the stage's output.
    """
    has_commands = isinstance(stage.work, RunCommands) and bool(stage.work.commands) and not isinstance(error, Gone)
    if not has_commands and not (isinstance(stage.work, BuildDockerfile) and isinstance(error, StageFailed)):
        return
    native = engine.native_platform()
    if native.serves(planned.platform):
        return
    needs = (
        f"this engine runs {native}, and programs for {planned.platform} only where emulation of it is registered on its machine "
        f"(binfmt_misc): register it, or build this platform in a job of its own on a machine that runs {planned.platform} "
        f"(`stagepin build --platform {planned.platform}`) and end with `stagepin build --require-built` for all platforms"
    )
    error.hint = f"{needs}; where it is registered: {error.hint}" if error.hint else needs
