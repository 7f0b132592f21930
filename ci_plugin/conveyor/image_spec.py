"""imageSpec: what of it enters the stage signature."""

from __future__ import annotations

from collections.abc import Iterator

from ci_plugin.config.parts import ImageSpec
from ci_plugin.conveyor.inputs import hidden, pairs, texts, visible
from ci_plugin.conveyor.stage import Input


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
