"""``imageSpec``: what is written into, and taken out of, the config of a finished image; for all images under ``build``."""

from __future__ import annotations

from dataclasses import replace

from ci_plugin.config.parts import Healthcheck, ImageSpec
from ci_plugin.config.sections import Key, Section, Table, mapping
from ci_plugin.config.yaml_nodes import read_flag, read_integer, read_text, read_text_map, read_texts

_NANOSECONDS = 10**9
"""In a second: werf counts these times in seconds, Docker's API in nanoseconds."""
AUTHOR = Key("author", read_text)
CLEAR_HISTORY = Key("clearHistory", read_flag)
LABELS, ENV = Key("labels", read_text_map), Key("env", read_text_map)
CMD, ENTRYPOINT = Key("cmd", read_texts), Key("entrypoint", read_texts)
EXPOSE, VOLUMES = Key("expose", read_texts), Key("volumes", read_texts)
USER, WORKING_DIR, STOP_SIGNAL = Key("user", read_text), Key("workingDir", read_text), Key("stopSignal", read_text)
REMOVE_LABELS, REMOVE_VOLUMES = Key("removeLabels", read_texts), Key("removeVolumes", read_texts)
REMOVE_ENV = Key("removeEnv", read_texts)
GLOBAL_FLAGS = tuple(Key(name, read_flag) for name in ("clearWerfLabels", "removeWerfLabels", "keepEssentialWerfLabels"))
FLAGS = (*GLOBAL_FLAGS, *(Key(name, read_flag) for name in ("clearCmd", "clearEntrypoint", "clearUser", "clearWorkingDir")))
TEST, RETRIES = Key("test", read_texts), Key("retries", read_integer)
INTERVAL, TIMEOUT = Key("interval", read_integer, "Seconds"), Key("timeout", read_integer, "Seconds")
START_PERIODS = (Key("startPeriod", read_integer, "Seconds"), Key("startperiod", read_integer, "Seconds"))
HEALTHCHECK = mapping("healthcheck", Table.of((TEST, INTERVAL, TIMEOUT, *START_PERIODS, RETRIES)))
_CONFIG_KEYS: tuple[Key[object], ...] = (LABELS, ENV, CMD, ENTRYPOINT, EXPOSE, VOLUMES, USER, WORKING_DIR, STOP_SIGNAL)
_CONFIG_KEYS += (REMOVE_LABELS, REMOVE_VOLUMES, REMOVE_ENV, HEALTHCHECK)
CONFIG = mapping("config", Table.of((*_CONFIG_KEYS, *FLAGS)))
GLOBAL_CONFIG = mapping("config", Table.of((LABELS, REMOVE_LABELS, *GLOBAL_FLAGS)))
IMAGE_SPEC = mapping("imageSpec", Table.of((AUTHOR, CLEAR_HISTORY, CONFIG)), "What the config of the finished image says")
GLOBAL_IMAGE_SPEC = mapping("imageSpec", Table.of((AUTHOR, CLEAR_HISTORY, GLOBAL_CONFIG)), "The same for every image")


def read_image_spec(section: Section) -> ImageSpec | None:
    """What an image says of its config, or None; collects unknown keys. Raises ConfigError."""
    spec = section.open(IMAGE_SPEC)
    return None if spec is None else _spec(spec, spec.open(CONFIG), section)


def read_global_image_spec(build: Section) -> ImageSpec | None:
    """The same under ``build``, with fewer keys."""
    spec = build.open(GLOBAL_IMAGE_SPEC)
    return None if spec is None else _spec(spec, spec.open(GLOBAL_CONFIG), build)


def _spec(spec: Section, config: Section | None, parent: Section) -> ImageSpec:
    base = ImageSpec(parent.where(IMAGE_SPEC), spec.get(AUTHOR), spec.get(CLEAR_HISTORY) or False)
    if config is None:
        return base
    return replace(
        base,
        cmd=config.get(CMD),
        entrypoint=config.get(ENTRYPOINT),
        env=config.get(ENV) or {},
        expose=config.get(EXPOSE) or (),
        healthcheck=_healthcheck(config.open(HEALTHCHECK)),
        labels=config.get(LABELS) or {},
        stop_signal=config.get(STOP_SIGNAL),
        user=config.get(USER),
        volumes=config.get(VOLUMES) or (),
        working_dir=config.get(WORKING_DIR),
        remove_labels=config.get(REMOVE_LABELS) or (),
        remove_volumes=config.get(REMOVE_VOLUMES) or (),
        remove_env=config.get(REMOVE_ENV) or (),
        flags=frozenset("clearWerfLabels" if key.name == "removeWerfLabels" else key.name for key in FLAGS if config.get(key)),
    )


def _healthcheck(section: Section | None) -> Healthcheck | None:
    if section is None:
        return None
    start = next((section.get(key) for key in START_PERIODS if section.has(key)), None)
    interval, timeout = _nanoseconds(section.get(INTERVAL)), _nanoseconds(section.get(TIMEOUT))
    return Healthcheck(section.get(TEST) or (), interval, timeout, _nanoseconds(start), retries=section.get(RETRIES))


def _nanoseconds(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * _NANOSECONDS


def merge_specs(whole: ImageSpec | None, own: ImageSpec | None) -> ImageSpec | None:
    """What holds for an image: its own words over those for every image; labels and flags of both."""
    if whole is None or own is None:
        return own or whole
    return replace(
        own,
        author=own.author if own.author is not None else whole.author,
        clear_history=own.clear_history or whole.clear_history,
        labels={**whole.labels, **own.labels},
        remove_labels=tuple(dict.fromkeys((*whole.remove_labels, *own.remove_labels))),
        flags=whole.flags | own.flags,
    )
