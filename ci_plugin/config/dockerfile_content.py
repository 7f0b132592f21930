"""What decides the content of a Dockerfile target: its instructions in one spelling, the build arguments, the context paths it reads.

The promise is one-sided: two targets that could differ never give the same answer. Where the file alone cannot bound what is read (a
variable the base's ENV may set, a bind mount of the whole context), the whole context counts.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ci_plugin.config.dockerfile_args import PLATFORM_ARGS, arg_pairs
from ci_plugin.config.dockerfile_expand import Lookup, NotKnown, expand
from ci_plugin.config.dockerfile_mounts import mount_from, mounts
from ci_plugin.config.dockerfile_remote import RemoteSource, find_remote
from ci_plugin.config.dockerfile_scan import Instruction
from ci_plugin.config.dockerfile_stages import DockerfileReference, Parts, Reach, Stage, from_operands
from ci_plugin.config.dockerfile_words import Word, find_json_list, heredoc_openings, split_quoted

_BUILDKIT_FLAGS = {
    "RUN": ("mount", "network", "security", "device"),
    "COPY": ("chmod", "link", "parents", "exclude"),
    "ADD": ("chmod", "link", "checksum", "keep-git-dir", "exclude", "unpack"),
}


@dataclass(frozen=True, slots=True)
class ContextUse:
    """``patterns`` of the build context that are read; or ``whole``, with the ``reason``."""

    patterns: tuple[str, ...] = ()
    whole: bool = False
    reason: str = ""


def canonical_instructions(reach: Reach) -> tuple[str, ...]:
    """One line per instruction of the reached stages; stages by their number among the reached, the target last."""
    numbers = {stage.index: number for number, stage in enumerate(reach.stages)}
    lines: list[str] = []
    for stage in reach.stages:
        platform = f"--platform={_expanded(stage.platform, reach)} " if stage.platform else ""
        lines.append(f"FROM {platform}{_origin_text(stage.base, reach, numbers)}")
        lines += [_line(instruction, reach, numbers) for instruction in stage.body]
    return (*lines, f"TARGET stage:{numbers[reach.target.index]}")


def build_arg_values(reach: Reach) -> tuple[tuple[str, str], ...]:
    """(name, value) of each ARG a reached stage declares, where the file and the build arguments give it a value; sorted.

    One pair per ARG instruction: two stages may give one name different values, and a set of them could hide that one changed.
    """
    found = [
        (name, value)
        for stage in reach.stages
        for instruction in stage.body
        if instruction.name == "ARG"
        for name, value in _declared(instruction, reach)
    ]
    return tuple(sorted(found))


def context_use(reach: Reach) -> ContextUse:
    """The paths of the context that COPY, ADD and bind mounts of the reached stages read."""
    patterns: list[str] = []
    for step, values in _with_values(reach):
        try:
            patterns += _paths_read(step, values, reach.parts.scan.escape)
        except _Unbounded as error:
            return ContextUse(whole=True, reason=f"{step.location}: {error}")
    return ContextUse(tuple(dict.fromkeys(patterns)))


def remote_sources(reach: Reach) -> tuple[RemoteSource, ...]:
    """What ADD of the reached stages takes from elsewhere: web addresses and git repositories, in the order of the text."""
    found = []
    for step, values in _with_values(reach):
        if step.name == "ADD":
            for source in _sources(step):
                text = _try_expand(source, values.likely, reach.parts.scan.escape)
                checksum = step.find_flag("checksum")
                found.append(find_remote(source if text is None else text, checksum.text if checksum else "", step.location))
    return tuple(source for source in found if source is not None)


def needs_buildkit(parts: Parts) -> str | None:
    """The first thing of the file that the classic builder does not know, or None."""
    for stage in parts.stages:
        if stage.platform and re.search(r"\$\{?(BUILD|TARGET)", stage.platform.text):
            return f"{stage.header.location}: FROM --platform={stage.platform.text}"
        for step in stage.steps:
            if step.heredocs:
                return f"{step.location}: a here-document in {step.name}"
            for flag in step.flags:
                name = flag.text.removeprefix("--").partition("=")[0]
                if name in _BUILDKIT_FLAGS.get(step.name, ()):
                    return f"{step.location}: {step.name} --{name}"
            if step.name == "ARG" and (names := [name for name, _ in arg_pairs(step, parts.scan.escape) if name in PLATFORM_ARGS]):
                return f"{step.location}: ARG {names[0]}, which the classic builder does not set"
    return None


class _Unbounded(Exception):
    """What is read cannot be told from the file."""


@dataclass
class _Values:
    """Variables at one place of a stage. ``is_open``: an external base may set any variable, and ENV wins over ARG."""

    is_open: bool
    env: dict[str, str | None] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str | None:
        if name in self.env:
            if self.env[name] is None:
                raise NotKnown(name, f"{name} is set from a variable the file does not know")
            return self.env[name]
        if self.is_open:
            raise NotKnown(name, f"the ENV of the base image may set {name}")
        return self.args.get(name)

    def likely(self, name: str) -> str | None:
        """The same where the base image sets no such variable: for what is told, never for what is built."""
        return self.env[name] if name in self.env else self.args.get(name)


def _line(instruction: Instruction, reach: Reach, numbers: Mapping[int, int]) -> str:
    if instruction.trigger is not None:
        return f"ONBUILD {_line(instruction.trigger, reach, numbers)}"
    flags = [flag.text for flag in instruction.flags]
    starts = [flag.start for flag in instruction.flags]
    for _, operand in from_operands(instruction):
        position = bisect_right(starts, operand.start) - 1
        flag = instruction.flags[position]
        before = flag.text[: flag.offsets.index(operand.start)]
        after = flag.text[len(before) + len(operand.text) :]
        flags[position] = before + _origin_text(operand, reach, numbers) + after
    line = " ".join([instruction.name, *flags, instruction.arguments.text])
    return "\n".join([line, *(f"{heredoc.content}{heredoc.name}" for heredoc in instruction.heredocs)])


def _origin_text(operand: Word, reach: Reach, numbers: Mapping[int, int]) -> str:
    match reach.origin_of(operand):
        case Stage(index=index):
            return f"stage:{numbers[index]}"
        case DockerfileReference(reference=reference):
            return str(reference)
    return "scratch"


def _expanded(word: Word, reach: Reach) -> str:
    try:
        return reach.global_args.expand(word.text)
    except NotKnown:
        return word.text


def _declared(instruction: Instruction, reach: Reach) -> Iterator[tuple[str, str]]:
    for name, default in arg_pairs(instruction, reach.parts.scan.escape):
        value = reach.build_args.get(name, default if default is not None else reach.global_args.values.get(name))
        if value is not None:
            yield name, value


def _with_values(reach: Reach) -> Iterator[tuple[Instruction, _Values]]:
    """Each step of the reached stages with the variables that hold there; a stage takes over the ENV of the stage it is built on."""
    at_end: dict[int, dict[str, str | None]] = {}
    for stage in reach.stages:
        base = reach.origin_of(stage.base)
        values = _Values(not reach.is_scratch(stage), dict(at_end[base.index]) if isinstance(base, Stage) else {})
        for instruction in stage.body:
            yield instruction.trigger or instruction, values
            _apply(instruction, values, reach)
        at_end[stage.index] = values.env


def _apply(instruction: Instruction, values: _Values, reach: Reach) -> None:
    escape = reach.parts.scan.escape
    if instruction.name == "ENV":
        values.env |= {name: _try_expand(text, values.get, escape) for name, text in _env_pairs(instruction, escape)}
    if instruction.name == "ARG":
        defaults = dict(arg_pairs(instruction, escape))
        declared = dict(_declared(instruction, reach))
        for name, default in defaults.items():
            text = declared.get(name)
            value = text if text is None or name in reach.build_args else _try_expand(text, values.get, escape)
            if name in PLATFORM_ARGS and (value is None or default not in (None, value)):
                values.env[name] = None  # what the builder sets, or the file's default over it: not ours to tell
            elif value is not None:
                values.args[name] = value


def _env_pairs(instruction: Instruction, escape: str) -> list[tuple[str, str]]:
    words = split_quoted(instruction.arguments.text, escape)
    if words and "=" not in words[0]:
        name, _, rest = instruction.arguments.text.partition(" ")
        return [(name, rest.strip())]
    return [(name, value) for name, _, value in (word.partition("=") for word in words)]


def _try_expand(text: str, lookup: Lookup, escape: str) -> str | None:
    try:
        return expand(text, lookup, escape)
    except NotKnown:
        return None


def _paths_read(step: Instruction, values: _Values, escape: str) -> list[str]:
    if step.name == "RUN":
        return [_mounted(mount) for mount in mounts(step) if _is_context_mount(mount)]
    if step.name not in ("COPY", "ADD") or step.find_flag("from") is not None:
        return []
    found = []
    for source in _sources(step):
        if step.name == "ADD" and find_remote(source):
            continue  # whatever its variables are
        try:
            text = expand(source, values.get, escape)
        except NotKnown as error:
            raise _Unbounded(f"{step.name} {source[:100]}: {error.reason}") from None
        if step.name != "ADD" or not find_remote(text):
            found.append(_pattern(text, step))
    return found


def _sources(step: Instruction) -> list[str]:
    text = step.arguments.text
    items = find_json_list(text)
    words = [word.text for word in step.arguments.split()] if items is None else items
    opened = set(heredoc_openings(text)) if step.heredocs else set()
    return [word for word in words[:-1] if not (opened and heredoc_openings(word))]


def _is_context_mount(mount: Mapping[str, Word]) -> bool:
    kind = mount["type"].text if "type" in mount else "bind"
    return kind == "bind" and not mount_from(mount)


def _mounted(mount: Mapping[str, Word]) -> str:
    source = next((mount[name].text for name in ("source", "src") if name in mount), "")
    path = posixpath.normpath("/" + source).lstrip("/")
    if not path or re.search(r"[$*?\[\\]", path):
        raise _Unbounded("RUN --mount of the whole build context")
    return path


def _pattern(text: str, step: Instruction) -> str:
    path = posixpath.normpath("/" + text).lstrip("/")
    if not path:
        raise _Unbounded(f"{step.name} {text} reads the whole build context")
    return path
