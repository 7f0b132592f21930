"""``docker``: the instructions a Dockerfile has for an image's config."""

from __future__ import annotations

from ci_plugin.config.model import DockerInstructions
from ci_plugin.config.parts import Placed
from ci_plugin.config.readers import read_command, read_healthcheck
from ci_plugin.config.sections import Key, Section, Table, mapping
from ci_plugin.config.yaml_nodes import read_flag, read_text, read_text_map, read_texts

VOLUME, EXPOSE = Key("VOLUME", read_texts), Key("EXPOSE", read_texts)
ENV, LABEL = Key("ENV", read_text_map), Key("LABEL", read_text_map)
CMD, ENTRYPOINT = Key("CMD", read_command), Key("ENTRYPOINT", read_command)
WORKDIR, USER = Key("WORKDIR", read_text), Key("USER", read_text)
HEALTHCHECK = Key("HEALTHCHECK", read_healthcheck, "[--interval=30s …] CMD command, or NONE")
EXACT_VALUES = Key("exactValues", read_flag, "Values are taken as written, without expanding $VARIABLES")
_KEYS: tuple[Key[object], ...] = (VOLUME, EXPOSE, ENV, LABEL, CMD, ENTRYPOINT, WORKDIR, USER, HEALTHCHECK, EXACT_VALUES)
DOCKER = mapping("docker", Table.of(_KEYS), "What the image's config says, in a Dockerfile's words")


def read_docker(image: Section) -> DockerInstructions | None:
    """The section, or None; collects unknown keys. Raises ConfigError."""
    docker = image.open(DOCKER)
    if docker is None:
        return None
    check = docker.get(HEALTHCHECK)
    times = (check.interval, check.timeout, check.start_period, check.start_interval, check.retries) if check else ()
    is_timed = any(value is not None for value in times)
    return DockerInstructions(
        volumes=docker.get(VOLUME) or (),
        expose=docker.get(EXPOSE) or (),
        env=docker.get(ENV) or {},
        labels=docker.get(LABEL) or {},
        cmd=docker.get(CMD),
        entrypoint=docker.get(ENTRYPOINT),
        workdir=docker.get(WORKDIR),
        user=docker.get(USER),
        healthcheck=check.test if check else None,
        healthcheck_times=Placed(check, docker.where(HEALTHCHECK)) if check and is_timed else None,
        exact_values=docker.get(EXACT_VALUES) or False,
    )
