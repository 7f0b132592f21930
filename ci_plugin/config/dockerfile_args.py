"""The global arguments of a Dockerfile: the ARGs above the first FROM, the build arguments, and what the builder sets by itself.

Rules (BuildKit's ``buildMetaArgs`` and ``defaultArgs``). A build argument wins over a default. A default may name what stands above it. An
ARG without either keeps what was there. A default of the file wins over what the builder sets by itself, and a build argument over both;
where the file's default and the value we were given for a platform differ, nobody can tell which of them was meant: not known. What
cannot be told keeps its reason, and whoever asks for it gets that, also inside ``${X:-default}``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ci_plugin.config.dockerfile_expand import NotKnown, expand
from ci_plugin.config.dockerfile_scan import Instruction
from ci_plugin.config.dockerfile_words import split_quoted

_PARTS = ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
BUILD_ARGS = frozenset(f"BUILD{part}" for part in _PARTS)
"""The platform the engine itself runs on: no plan can know it."""
PLATFORM_ARGS = BUILD_ARGS | {f"TARGET{part}" for part in _PARTS}
"""Build arguments the builder sets by itself, in the global scope; https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope."""


@dataclass(frozen=True, slots=True)
class GlobalArgs:
    """``values`` by name, and for names that have one nobody can tell, why."""

    values: Mapping[str, str]
    unknown: Mapping[str, NotKnown]
    escape: str

    def find(self, name: str) -> str | None:
        """The value, None where there is none. Raises NotKnown where it has one that cannot be told."""
        if name in self.unknown:
            raise self.unknown[name]
        return self.values.get(name)

    def expand(self, text: str) -> str:
        """The text with its variables replaced. Raises NotKnown."""
        return expand(text, self.find, self.escape)


def read_global_args(instructions: Iterable[Instruction], build_args: Mapping[str, str], stage_name: str, escape: str) -> GlobalArgs:
    """What ``FROM`` lines may use; ``stage_name`` is the target as it was asked for ("" for none)."""
    values = {name: value for name, value in build_args.items() if name in PLATFORM_ARGS}
    values["TARGETSTAGE"] = stage_name or "default"
    unknown = {name: NotKnown(name, f"{name} is set by the builder, and stagepin was not told it") for name in PLATFORM_ARGS - set(values)}
    found = GlobalArgs(values, unknown, escape)
    for instruction in instructions:
        for name, default in arg_pairs(instruction, escape):
            try:
                value = _value(name, default, build_args, found)
            except NotKnown as error:
                unknown[name] = NotKnown(error.name, error.reason)  # a default that does not close is mended by a value
                continue
            if value is not None:
                values[name] = value
                unknown.pop(name, None)
    return found


def arg_pairs(instruction: Instruction, escape: str) -> list[tuple[str, str | None]]:
    """(name, default as written or None) of an ARG."""
    pairs = []
    for word in split_quoted(instruction.arguments.text, escape):
        name, equals, default = word.partition("=")
        pairs.append((name, default if equals else None))
    return pairs


def _value(name: str, default: str | None, build_args: Mapping[str, str], found: GlobalArgs) -> str | None:
    given = build_args.get(name)
    if default is None or (given is not None and name not in PLATFORM_ARGS):
        return given
    value = found.expand(default)
    if given is not None and given != value:
        raise NotKnown("", f"the file says {name}={value[:100]} and the build {name}={given[:100]}: leave the default of ARG {name} out")
    return value
