"""dockerInstructions: write the ``docker:`` section into the image's config; nothing runs."""

from __future__ import annotations

from collections.abc import Mapping

from ci_plugin.conveyor.stage import WriteConfig
from ci_plugin.ports import Engine, EngineImage, ImageChange
from ci_plugin.services.stage_work.image_spec import healthcheck_times
from ci_plugin.values.digest import ImageId


def write_config(work: WriteConfig, parent: ImageId, labels: Mapping[str, str], engine: Engine) -> EngineImage:
    """The child image. Our own labels win over the user's: verification reads them."""
    docker = work.instructions
    change = ImageChange(
        labels={**docker.labels, **labels},
        env=docker.env,
        volumes=docker.volumes,
        expose=docker.expose,
        cmd=docker.cmd,
        entrypoint=docker.entrypoint,
        workdir=docker.workdir,
        user=docker.user,
        healthcheck=docker.healthcheck,
        healthcheck_times=healthcheck_times(docker.healthcheck_times.value if docker.healthcheck_times else None),
    )
    return engine.derive(parent, change)
