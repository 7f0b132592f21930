"""The stages of a Dockerfile and which of them, and which external images, a target reaches."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ci_plugin.config.dockerfile_args import BUILD_ARGS, GlobalArgs, read_global_args
from ci_plugin.config.dockerfile_expand import NotKnown
from ci_plugin.config.dockerfile_mounts import mount_from, mounts
from ci_plugin.config.dockerfile_scan import Instruction, Scan
from ci_plugin.config.dockerfile_words import Word
from ci_plugin.config.problems import Problems
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import Reference, is_scratch, parse_reference

_MOST_STAGES = 1000
SYNTAX_ARG = "BUILDKIT_SYNTAX"
_OWN_SYNTAX = "dockerfile.v0"
"""The build argument that names the image of the syntax instead of the file, and its value for the one inside the engine."""
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

    ``start`` and ``end`` are the offsets of the operand in the text; -1 where a build argument names it.
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
        """File, line and column of the operand."""
        return self.error.where


Origin: TypeAlias = "Stage | DockerfileReference | None"
"""Where files come from: another stage, an external image, or nothing (``scratch``, or an operand that cannot be told)."""


def split_stages(scan: Scan, problems: Problems) -> Parts:
    """The stages of a file; collects what stands before the first, and a FROM of another shape. Raises ConfigError without any FROM."""
    headers = [index for index, item in enumerate(scan.instructions) if item.name == "FROM"]
    if not headers:
        problems.raise_first()  # most likely one of these should have been the FROM
        raise ConfigError("expected a FROM, found none", hint="begin with FROM and a base image", where=Location(scan.file, 1, 1))
    if len(headers) > _MOST_STAGES:
        message = f"expected at most {_MOST_STAGES} stages, found {len(headers)}"
        raise ConfigError(message, hint="is this the right file?", where=scan.instructions[headers[_MOST_STAGES]].location)
    before = scan.instructions[: headers[0]]
    for instruction in before:
        if instruction.name != "ARG":
            message = f"expected ARG or FROM first, found {instruction.name}"
            problems.add(ConfigError(message, hint="move it below the FROM", where=instruction.location))
    stages = []
    for index, (start, following) in enumerate(zip(headers, [*headers[1:], None], strict=True)):
        end = len(scan.text) if following is None else scan.instructions[following].start
        stages.append(_stage(index, scan.instructions[start], scan.instructions[start + 1 : following], end, problems))
    return Parts(scan, tuple(item for item in before if item.name == "ARG"), tuple(stages))


def _stage(index: int, header: Instruction, body: tuple[Instruction, ...], end: int, problems: Problems) -> Stage:
    words = header.arguments.split() or (Word("", ()),)
    name = None
    if len(words) == 3 and words[1].text.upper() == "AS":
        name = words[2].text.lower()
    if not words[0].text or len(words) != (1 if name is None else 3) or (name is not None and not _STAGE_NAME.fullmatch(name)):
        message = f"expected FROM IMAGE or FROM IMAGE AS NAME, found {header.arguments.text[:150]!r}"
        hint = "a stage name has letters, digits and _.- and begins with a letter"
        problems.add(ConfigError(message, hint=hint, where=header.location))
    platform = None
    with problems.collect():
        platform = header.find_flag("platform")
    return Stage(index, name, words[0], platform, header, body, end)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a target reaches, with every operand read: the working state of all questions about a Dockerfile."""

    parts: Parts
    target: Stage
    build_args: Mapping[str, str]
    global_args: GlobalArgs
    stages: tuple[Stage, ...]
    origins: Mapping[int, Origin]
    """Offset of an operand → what it names."""
    references: tuple[DockerfileReference, ...]
    unresolved: tuple[Unresolved, ...]
    """What another value of a variable, or the engine, would tell."""
    faults: tuple[ConfigError, ...]
    """What is wrong whatever the variables are."""

    @classmethod
    def of(cls, parts: Parts, target: str | None, build_args: Mapping[str, str]) -> Reach:
        """Everything the target reaches. Raises ConfigError for an unknown target only."""
        stage = find_target(parts, target)
        if stage is None:
            raise unknown_target(parts, target or "")
        return _Walk(parts, build_args, target or parts.stages[-1].name or "").reach(stage)

    def check(self) -> None:
        """Raise one ConfigError that names every operand that is wrong or cannot be told."""
        problems = Problems()
        problems.add_all(self.faults)
        problems.add_all(failure.error for failure in self.unresolved)
        problems.raise_first()

    def origin_of(self, operand: Word) -> Origin:
        """What an operand of a reached stage names."""
        return self.origins[operand.start]

    def base_use(self) -> DockerfileReference | None:
        """The external image at the root of the target's FROM chain, None for scratch; asked for where ``check`` found nothing."""
        origin = self.origin_of(self.chain(self.target)[-1].base)
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
        reached = {stage.index for stage in self.stages}
        for stage in self.parts.stages:
            if stage.index not in reached:
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


def find_target(parts: Parts, target: str | None) -> Stage | None:
    """The stage of that name or number, None where there is none; no target: the last stage."""
    if target is None:
        return parts.stages[-1]
    above = (stage for stage in reversed(parts.stages) if stage.name == target.lower())
    return next(above, None) or _numbered(parts, target)


def unknown_target(parts: Parts, target: str, where: Location | None = None) -> ConfigError:
    """The error for a target that is none, with the nearest stage."""
    names = [stage.name for stage in parts.stages if stage.name]
    near = difflib.get_close_matches(target[:100].lower(), names, 1)
    known = f"its stages: {', '.join(names[:20])}" if names else "no stage of it has a name: write FROM … AS NAME"
    hint = f"did you mean {near[0]!r}?" if near else known
    message = f"expected a stage of {parts.scan.file} as the target, found {target[:100]!r}"
    return ConfigError(message, hint=hint, where=where or Location(parts.scan.file))


def _numbered(parts: Parts, text: str) -> Stage | None:
    if text.isascii() and text.isdigit() and len(text) < 9 and int(text) < len(parts.stages):
        return parts.stages[int(text)]
    return None


class _Walk:
    """Reads the operands of every stage, beginning at the target."""

    def __init__(self, parts: Parts, build_args: Mapping[str, str], stage_name: str) -> None:
        self._parts = parts
        self._build_args = build_args
        self._args = read_global_args(parts.global_args, build_args, stage_name, parts.scan.escape)
        self._last_by_name = {stage.name: stage for stage in parts.stages if stage.name}
        self._origins: dict[int, Origin] = {}
        self._stages: dict[int, Stage] = {}
        self._references: list[DockerfileReference] = []
        self._unresolved: list[Unresolved] = []
        self._faults: list[ConfigError] = []

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
            self._args,
            tuple(self._stages[index] for index in sorted(self._stages)),
            self._origins,
            tuple(sorted(self._references, key=lambda item: item.start)),
            tuple(sorted(self._unresolved, key=lambda item: item.start)),
            tuple(self._faults),
        )

    def _read_syntax(self) -> None:
        word = self._parts.scan.directives.get("syntax")
        given = self._build_args.get(SYNTAX_ARG, "").split()
        if given and given[0] != _OWN_SYNTAX:
            self._external("syntax", Word(given[0], ()), given[0])
        elif word is not None and not given:
            self._external("syntax", word.split()[0], word.split()[0].text)

    def _read_stage(self, stage: Stage) -> list[Origin]:
        origins = [self._read_base(stage)]
        for step in stage.steps:
            try:
                origins += [self._read_from(kind, operand, stage) for kind, operand in from_operands(step)]
            except ConfigError as error:
                self._faults.append(error)
        return origins

    def _read_base(self, stage: Stage) -> Origin:
        try:
            text = self._args.expand(stage.base.text)
        except NotKnown as error:
            return self._not_known(stage, error)
        named = self._last_by_name.get(text.lower())
        if named and named.index >= stage.index:  # two stages may have one name: the last above this line is meant
            above = reversed(self._parts.stages[: stage.index])
            named = next((earlier for earlier in above if earlier.name == text.lower()), None)
        if named:
            return self._keep(stage.base, named)
        if is_scratch(text):
            return self._keep(stage.base, None)
        try:
            platform, is_engines = self._platform(stage)
        except NotKnown as error:
            return self._not_known(stage, error)
        return self._external("from", stage.base, text, platform, is_engines)

    def _platform(self, stage: Stage) -> tuple[str | None, bool]:
        """The platform a FROM names outright, and whether it names the engine's own (``$BUILDPLATFORM``). Raises NotKnown."""
        if stage.platform is None:
            return None, False
        try:
            text = self._args.expand(stage.platform.text)
        except NotKnown as error:
            if error.name in BUILD_ARGS:
                return None, True
            raise
        if not text:
            raise NotKnown("", f"--platform={stage.platform.text[:100]} is empty")
        return text, False

    def _read_from(self, kind: str, operand: Word, stage: Stage) -> Origin:
        text = operand.text
        where = self._parts.scan.locate(operand.start)
        found = _numbered(self._parts, text) or self._last_by_name.get(text.lower())
        if "$" in text:
            wrong = f"{text[:150]!r}: the builder expands no variable here", f"add a stage `FROM {text[:100]} AS name` and use it"
        elif text.isdigit() and found is None:
            wrong = f"the number {text[:20]}: this file has {len(self._parts.stages)} stages", "stages count from 0; better name them"
        elif text.isdigit() and kind == "mount-from":
            wrong = f"the number {text[:20]}: the builder would take it for an image", "name the stage, and write the name here"
        elif found is not None and found.index >= stage.index:
            wrong = f"{text[:100]!r}, a stage that does not end above this line", "move that stage up"
        elif found is not None or is_scratch(text):
            return self._keep(operand, found)
        else:
            return self._external(kind, operand, text)
        return self._refuse(operand, ConfigError(f"expected a stage above or an image, found {wrong[0]}", hint=wrong[1], where=where))

    def _external(self, kind: str, operand: Word, text: str, platform: str | None = None, is_engines: bool = False) -> Origin:
        where = self._parts.scan.locate(max(operand.start, 0))
        try:
            reference = parse_reference(text)
        except ValueError as error:
            message = f"{error} (from {operand.text[:150]!r})" if "$" in operand.text else str(error)
            return self._refuse(operand, ConfigError(message, hint="write name:tag, or name@sha256:<64 hex>", where=where))
        found = DockerfileReference(kind, reference, where, is_engines, platform, operand.start, operand.end)
        self._references.append(found)
        return self._keep(operand, found)

    def _not_known(self, stage: Stage, error: NotKnown) -> Origin:
        """A FROM that is wrong whatever the variables are, or that another value would mend."""
        base = stage.base
        platform = f"--platform={stage.platform.text[:100]} " if stage.platform else ""
        wanted = "quotes and braces that close" if error.is_open else "a value for every variable"
        message = f"expected {wanted} {'in' if error.is_open else 'of'} FROM {platform}{base.text[:150]}, found: {error.reason}"
        hint = (
            f"say --build-arg {error.name}=… (`args` in a werf.yaml), or give a default above: ARG {error.name}=…"
            if error.name
            else "check quotes and braces; ${X}, ${X:-default}, ${X:+word}, ${X:?word}, ${X#…}, ${X%…} and ${X/…/…} are computed"
        )
        fault = ConfigError(message, hint=hint, where=self._parts.scan.locate(base.start))
        return self._refuse(base, fault) if error.is_open else self._fail("from", base, fault)

    def _refuse(self, operand: Word, error: ConfigError) -> Origin:
        self._faults.append(error)
        return self._keep(operand, None)

    def _fail(self, kind: str, operand: Word, error: ConfigError) -> Origin:
        self._unresolved.append(Unresolved(kind, operand.text, error, operand.start))
        return self._keep(operand, None)

    def _keep(self, operand: Word, origin: Origin) -> Origin:
        self._origins[operand.start] = origin
        return origin
