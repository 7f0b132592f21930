"""The stages of a Dockerfile and which of them, and which external images, a target reaches."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_plugin.config.dockerfile_expand import NotKnown, expand
from ci_plugin.config.dockerfile_scan import Instruction, Scan, Word, split_quoted
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import Reference, is_scratch, parse_reference

PLATFORM_ARGS = frozenset(f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "ARCH", "VARIANT"))
"""Build arguments the builder sets by itself, in the global scope; https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope."""
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Stage:
    """``FROM base AS name`` and the instructions below it; ``end`` is the offset where the next stage begins."""

    index: int
    name: str | None
    base: Word
    platform: Word | None
    header: Instruction
    body: tuple[Instruction, ...]
    end: int

    @property
    def steps(self) -> Iterator[Instruction]:
        """The instructions, an ONBUILD's own ones included."""
        for instruction in self.body:
            yield instruction.trigger or instruction


@dataclass(frozen=True, slots=True)
class Parts:
    """A Dockerfile cut at its FROM lines; ``global_args`` are the ARGs before the first."""

    scan: Scan
    global_args: tuple[Instruction, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class DockerfileReference:
    """An external image: where it is named and as what (``from`` | ``copy-from`` | ``mount-from`` | ``syntax``).

    ``start`` and ``end`` are the offsets of the operand in the text.
    """

    kind: str
    reference: Reference
    location: Location
    by_build_platform: bool = False
    platform: str | None = None
    """The platform a FROM names outright (``--platform=linux/arm64``)."""
    start: int = field(default=-1, compare=False)
    end: int = field(default=-1, compare=False)


@dataclass(frozen=True, slots=True)
class Unresolved:
    """An operand that names no image we can tell, with the error it is."""

    kind: str
    spelling: str
    error: ConfigError
    start: int

    @property
    def reason(self) -> str:
        """What was expected and what was found."""
        return self.error.message

    @property
    def location(self) -> Location | None:
        """File and line of the operand."""
        return self.error.where


Origin: TypeAlias = "Stage | DockerfileReference | None"
"""Where files come from: another stage, an external image, or nothing (``scratch``, or an operand that cannot be told)."""


def split_stages(scan: Scan) -> Parts:
    """The stages of a file. Raises ConfigError: no FROM, an instruction before it, a FROM of another shape."""
    headers = [index for index, item in enumerate(scan.instructions) if item.name == "FROM"]
    if not headers:
        raise ConfigError("expected a FROM, found none", hint="begin with FROM and a base image", where=Location(scan.file, 1))
    before = scan.instructions[: headers[0]]
    for instruction in before:
        if instruction.name != "ARG":
            message = f"expected ARG or FROM first, found {instruction.name}"
            raise ConfigError(message, hint="move it below the FROM", where=instruction.location)
    stages = []
    for index, (start, following) in enumerate(zip(headers, [*headers[1:], None], strict=True)):
        end = len(scan.text) if following is None else scan.instructions[following].start
        stages.append(_stage(index, scan.instructions[start], scan.instructions[start + 1 : following], end))
    return Parts(scan, before, tuple(stages))


def _stage(index: int, header: Instruction, body: tuple[Instruction, ...], end: int) -> Stage:
    words = header.arguments.split()
    name = None
    if len(words) == 3 and words[1].text.upper() == "AS":
        name = words[2].text.lower()
    if len(words) != (1 if name is None else 3) or (name is not None and not _STAGE_NAME.fullmatch(name)):
        message = f"expected FROM IMAGE or FROM IMAGE AS NAME, found {header.arguments.text[:150]!r}"
        raise ConfigError(message, hint="a stage name has letters, digits and _.- and begins with a letter", where=header.location)
    return Stage(index, name, words[0], header.find_flag("platform"), header, body, end)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a target reaches, with every operand read: the working state of all questions about a Dockerfile."""

    parts: Parts
    target: Stage
    build_args: Mapping[str, str]
    global_values: Mapping[str, str]
    stages: tuple[Stage, ...]
    origins: Mapping[int, Origin]
    """Offset of an operand → what it names."""
    references: tuple[DockerfileReference, ...]
    unresolved: tuple[Unresolved, ...]

    @classmethod
    def of(cls, parts: Parts, target: str | None, build_args: Mapping[str, str]) -> Reach:
        """Everything the target reaches. Raises ConfigError for an unknown target only."""
        stage = _find_target(parts, target)
        return _Walk(parts, build_args).reach(stage)

    def origin_of(self, operand: Word) -> Origin:
        """What an operand of a reached stage names."""
        return self.origins[operand.start]

    def base_use(self) -> DockerfileReference | None:
        """The external image at the root of the target's FROM chain, None for scratch. Raises ConfigError."""
        root = self.chain(self.target)[-1]
        for failure in self.unresolved:
            if failure.start == root.base.start:
                raise failure.error
        origin = self.origin_of(root.base)
        return origin if isinstance(origin, DockerfileReference) else None

    def chain(self, stage: Stage) -> tuple[Stage, ...]:
        """The stage and those it is built on, down to the one that is built on no stage."""
        found = [stage]
        while isinstance(origin := self.origin_of(found[-1].base), Stage):
            found.append(origin)
        return tuple(found)

    def is_scratch(self, stage: Stage) -> bool:
        """Whether the FROM chain of a stage ends at scratch, so that no foreign ENV can be in it."""
        return self.origin_of(self.chain(stage)[-1].base) is None

    def blanked(self) -> list[tuple[int, int, str]]:
        """Edits (start, end, new text) that empty the stages the target does not reach and keep the count of lines and of stages."""
        edits = []
        text = self.parts.scan.text
        for stage in self.parts.stages:
            if stage not in self.stages:
                start = stage.header.start
                name = f" AS {stage.name}" if stage.name else ""
                edits.append((start, stage.end, f"FROM scratch{name}" + "\n" * text.count("\n", start, stage.end)))
        return edits


def from_operands(step: Instruction) -> Iterator[tuple[str, Word]]:
    """(kind, operand) of ``COPY --from=`` and of each ``RUN --mount=…,from=``."""
    if step.name in ("COPY", "ADD") and (operand := step.find_flag("from")) is not None:
        yield "copy-from", operand
    if step.name == "RUN":
        for mount in mounts(step):
            if mount_from(mount):
                yield "mount-from", mount["from"]


def mounts(step: Instruction) -> Iterator[dict[str, Word]]:
    """The fields of each ``--mount`` of a RUN, names in lower case."""
    for flag in step.flags:
        if flag.text.startswith("--mount="):
            value = flag.part(len("--mount="))
            fields = (value.part(*match.span()) for match in re.finditer(r"[^,]+", value.text))
            yield {field.text.partition("=")[0].lower(): field.part(len(field.text.partition("=")[0]) + 1) for field in fields}


def mount_from(mount: Mapping[str, Word]) -> bool:
    """Whether a mount takes its files from a stage or an image, not from the context."""
    return "from" in mount and mount["from"].text != ""


def arg_pairs(instruction: Instruction, escape: str) -> list[tuple[str, str | None]]:
    """(name, default as written or None) of an ARG."""
    pairs = []
    for word in split_quoted(instruction.arguments.text, escape):
        name, equals, default = word.partition("=")
        pairs.append((name, default if equals else None))
    return pairs


def _find_target(parts: Parts, target: str | None) -> Stage:
    if target is None:
        return parts.stages[-1]
    stage = _named(parts, target)
    if stage is not None:
        return stage
    names = [stage.name for stage in parts.stages if stage.name]
    near = difflib.get_close_matches(target.lower(), names, 1)
    known = f"stages here: {', '.join(names)}" if names else "no stage here has a name: write FROM … AS NAME"
    hint = f"did you mean {near[0]!r}?" if near else known
    raise ConfigError(
        f"expected a stage of this Dockerfile as the target, found {target[:100]!r}", hint=hint, where=Location(parts.scan.file)
    )


def _named(parts: Parts, name: str) -> Stage | None:
    """The last stage of that name, or the stage of that number."""
    for stage in reversed(parts.stages):
        if stage.name == name.lower():
            return stage
    if name.isascii() and name.isdigit() and len(name) < 9 and int(name) < len(parts.stages):
        return parts.stages[int(name)]
    return None


class _Walk:
    """Reads the operands of every stage, beginning at the target."""

    def __init__(self, parts: Parts, build_args: Mapping[str, str]) -> None:
        self._parts = parts
        self._build_args = build_args
        self._global_values = self._read_globals()
        self._origins: dict[int, Origin] = {}
        self._stages: dict[int, Stage] = {}
        self._references: list[DockerfileReference] = []
        self._unresolved: list[Unresolved] = []

    def reach(self, target: Stage) -> Reach:
        self._read_syntax()
        waiting = [target]
        while waiting:
            stage = waiting.pop()
            if stage.index in self._stages:
                continue
            self._stages[stage.index] = stage
            waiting += [origin for origin in self._read_stage(stage) if isinstance(origin, Stage)]
        return Reach(
            self._parts,
            target,
            self._build_args,
            self._global_values,
            tuple(self._stages[index] for index in sorted(self._stages)),
            self._origins,
            tuple(sorted(self._references, key=lambda item: item.start)),
            tuple(sorted(self._unresolved, key=lambda item: (item.location.line or 0) if item.location else 0)),
        )

    def _read_globals(self) -> dict[str, str]:
        values = {name: value for name, value in self._build_args.items() if name in PLATFORM_ARGS}
        for instruction in self._parts.global_args:
            for name, default in arg_pairs(instruction, self._parts.scan.escape):
                if name in self._build_args:
                    values[name] = self._build_args[name]
                elif default is not None:
                    try:
                        values[name] = expand(default, values.get, self._parts.scan.escape)
                    except NotKnown:
                        values.pop(name, None)
        return values

    def _read_syntax(self) -> None:
        word = self._parts.scan.directives.get("syntax")
        if word is not None:
            self._external("syntax", word.split()[0], word.split()[0].text)

    def _read_stage(self, stage: Stage) -> list[Origin]:
        origins = [self._read_base(stage)]
        for step in stage.steps:
            origins += [self._read_from(kind, operand) for kind, operand in from_operands(step)]
        return origins

    def _read_base(self, stage: Stage) -> Origin:
        try:
            text = expand(stage.base.text, self._global_values.get, self._parts.scan.escape)
        except NotKnown as error:
            return self._fail("from", stage.base, self._not_known(stage.base, error))
        for earlier in reversed(self._parts.stages[: stage.index]):
            if earlier.name == text.lower() and earlier.name:
                return self._keep(stage.base, earlier)
        if is_scratch(text):
            return self._keep(stage.base, None)
        return self._external("from", stage.base, text, self._platform(stage))

    def _platform(self, stage: Stage) -> str:
        """The platform its FROM names, variables replaced where they are known (``$BUILDPLATFORM`` is not)."""
        if stage.platform is None:
            return ""
        try:
            return expand(stage.platform.text, self._global_values.get, self._parts.scan.escape)
        except NotKnown:
            return stage.platform.text

    def _read_from(self, kind: str, operand: Word) -> Origin:
        text = operand.text
        if "$" in text:
            message = f"expected a stage or an image, found {text[:150]!r}: the builder expands no variable here"
            where = self._parts.scan.locate(operand.start)
            return self._fail(kind, operand, ConfigError(message, hint=f"add a stage `FROM {text[:100]} AS name` and use it", where=where))
        found = _named(self._parts, text)
        if found is None and text.isdigit():
            message = f"expected the number of a stage, found {text[:20]}: this file has {len(self._parts.stages)}"
            where = self._parts.scan.locate(operand.start)
            return self._fail(kind, operand, ConfigError(message, hint="stages count from 0; better name them", where=where))
        if found is not None:
            return self._keep(operand, found)
        if is_scratch(text):
            return self._keep(operand, None)
        return self._external(kind, operand, text)

    def _external(self, kind: str, operand: Word, text: str, platform: str = "") -> Origin:
        where = self._parts.scan.locate(operand.start)
        try:
            reference = parse_reference(text)
        except ValueError as error:
            return self._fail(kind, operand, ConfigError(str(error), hint="write name:tag, or name@sha256:<64 hex>", where=where))
        named = platform if platform and "$" not in platform else None
        found = DockerfileReference(kind, reference, where, "BUILDPLATFORM" in platform, named, operand.start, operand.end)
        self._references.append(found)
        return self._keep(operand, found)

    def _not_known(self, operand: Word, error: NotKnown) -> ConfigError:
        message = f"expected a value for every variable of FROM {operand.text[:150]}, found: {error.reason}"
        hint = (
            f"say --build-arg {error.name}=…, or give a default above: ARG {error.name}=…"
            if error.name
            else "check quotes and braces; ${X}, ${X:-default}, ${X:+word} and ${X:?word} are computed"
        )
        return ConfigError(message, hint=hint, where=self._parts.scan.locate(operand.start))

    def _fail(self, kind: str, operand: Word, error: ConfigError) -> Origin:
        self._unresolved.append(Unresolved(kind, operand.text, error, operand.start))
        return self._keep(operand, None)

    def _keep(self, operand: Word, origin: Origin) -> Origin:
        self._origins[operand.start] = origin
        return origin
