"""imageSpec, the last stage of any image: what of it enters the stage signature."""

from __future__ import annotations

from collections.abc import Iterator

from ci_plugin.config.parts import ImageSpec
from ci_plugin.conveyor.inputs import hidden, pairs, texts, visible
from ci_plugin.conveyor.signature import stage_signature
from ci_plugin.conveyor.stage import Input, Stage, WriteSpec
from ci_plugin.values.platform import Platform

STAGE_NAME = "imageSpec"


def with_spec(stage: Stage, spec: ImageSpec | None, platform: Platform) -> tuple[Stage, ...]:
    """The one stage of a Dockerfile image, and this one where there is something to write."""
    if spec is None:
        return (stage,)
    inputs = tuple(sorted(spec_inputs(spec), key=lambda item: item.label))
    return stage, Stage(STAGE_NAME, inputs, stage_signature(platform, STAGE_NAME, inputs, stage.signature), WriteSpec(spec))


def spec_inputs(spec: ImageSpec) -> Iterator[Input]:
    """One input for everything that is said, none for what is not."""
    lists = {"cmd": spec.cmd, "entrypoint": spec.entrypoint}
    sets = {
        "expose": spec.expose,
        "volumes": spec.volumes,
        "removeLabels": spec.remove_labels,
        "removeVolumes": spec.remove_volumes,
        "removeEnv": spec.remove_env,
        "flags": tuple(sorted(spec.flags)),
    }
    words = {"author": spec.author, "stopSignal": spec.stop_signal, "user": spec.user, "workingDir": spec.working_dir}
    for label, values in (lists | {label: values or None for label, values in sets.items()}).items():
        yield from texts(label, values)
    for label, word in words.items():
        yield from hidden(label, word)
    yield from pairs("env", spec.env.items())
    yield from pairs("labels", spec.labels.items())
    if spec.clear_history:
        yield visible("clearHistory", "true")
    if check := spec.healthcheck:
        yield from hidden("healthcheck", (check.test, check.interval, check.timeout, check.start_period, check.retries))
