"""Dockerfiles: which images a target reaches, the same text with those images by digest, and what decides the target's content.

Rules. Only stages the target reaches count (``FROM stage``, ``COPY --from=stage``, ``RUN --mount=from=stage``, by name or index).
``scratch`` and stages are no external images. A FROM whose variable has no value is an error, never the empty text. ``COPY --from`` and
``--mount=from`` take no variables (BuildKit refuses them). The text is never rewritten but for the operands that are pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ci_plugin.config import dockerfile_content as content
from ci_plugin.config.dockerfile_args import arg_pairs
from ci_plugin.config.dockerfile_content import ContextUse
from ci_plugin.config.dockerfile_remote import RemoteSource
from ci_plugin.config.dockerfile_scan import scan
from ci_plugin.config.dockerfile_stages import (
    DockerfileReference,
    Parts,
    Reach,
    Unresolved,
    find_target,
    split_stages,
    unknown_target,
)
from ci_plugin.config.problems import Problems
from ci_plugin.config.source import decode
from ci_plugin.errors import ConfigError, Location
from ci_plugin.values.reference import Reference

MAX_BYTES = 1 << 20

__all__ = ["ContextUse", "Dockerfile", "DockerfileReference", "RemoteSource", "Unresolved", "parse_dockerfile", "read_dockerfile"]


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A parsed Dockerfile. Every method takes the target (None: the last stage) and the build arguments by name."""

    parts: Parts

    def references(self, target: str | None = None, build_args: Mapping[str, str] | None = None) -> tuple[DockerfileReference, ...]:
        """Every external image the target reaches: the ``# syntax`` image, then in the order of the text.

        Raises ConfigError for those that are wrong or cannot be told, and for an unknown target.
        """
        return self._reach(target, build_args).references

    def find_references(
        self, target: str | None = None, build_args: Mapping[str, str] | None = None
    ) -> tuple[tuple[DockerfileReference, ...], tuple[Unresolved, ...]]:
        """The external images the target reaches, and the operands that cannot be told, each with its reason.

        Raises ConfigError for operands that are wrong whatever the variables are.
        """
        reach = Reach.of(self.parts, target, build_args or {})
        problems = Problems()
        problems.add_all(reach.faults)
        problems.raise_first()
        return reach.references, reach.unresolved

    def find_target_fault(self, target: str | None, where: Location | None = None) -> ConfigError | None:
        """The error for a target that is no stage of this file, with the nearest one; None where it is one."""
        if target is None or find_target(self.parts, target) is not None:
            return None
        return unknown_target(self.parts, target, where)

    def base_use(self, target: str | None = None, build_args: Mapping[str, str] | None = None) -> DockerfileReference | None:
        """The FROM that names the external image at the root of the target's chain; None for scratch. Raises ConfigError."""
        return self._reach(target, build_args).base_use()

    def pinned(
        self,
        replace: Callable[[DockerfileReference], Reference],
        target: str | None = None,
        build_args: Mapping[str, str] | None = None,
        *,
        blank_unreached: bool = False,
    ) -> str:
        """The text with every external reference the target reaches replaced by what ``replace`` gives; all else untouched.

        A syntax that a build argument names stands nowhere in it. ``blank_unreached`` empties the other stages (``FROM scratch``, same
        number of lines): the classic builder builds every stage before the target, and none of those is pinned. Raises ConfigError.
        """
        reach = self._reach(target, build_args)
        edits = [(item.start, item.end, str(replace(item))) for item in reach.references if item.start >= 0]
        if blank_unreached:
            edits += reach.blanked()
        return _edited(self.parts.scan.text, edits)

    def instructions(self, target: str | None = None, build_args: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """Canonical text of what decides the target's content: reached stages only, references normalised, stages by number.

        Raises ConfigError where a reference cannot be told.
        """
        return content.canonical_instructions(self._reach(target, build_args))

    def build_arg_values(self, target: str | None = None, build_args: Mapping[str, str] | None = None) -> tuple[tuple[str, str], ...]:
        """(name, value) per ARG of the reached stages that has a value, sorted; a name is repeated where stages repeat it."""
        return content.build_arg_values(self._reach(target, build_args))

    def context_use(self, target: str | None = None, build_args: Mapping[str, str] | None = None) -> ContextUse:
        """Which paths of the build context the reached stages read, as patterns for ``context.select``, or all of it with the reason."""
        return content.context_use(self._reach(target, build_args))

    def remote_sources(self, target: str | None = None, build_args: Mapping[str, str] | None = None) -> tuple[RemoteSource, ...]:
        """What ADD takes from the web or from git: nothing a pin can hold. Raises ConfigError for two flags of one name."""
        return content.remote_sources(Reach.of(self.parts, target, build_args or {}))

    @property
    def arg_names(self) -> frozenset[str]:
        """Every name an ARG of the file declares, above the first FROM or in any stage."""
        found = self.parts.scan
        args = (instruction for instruction in found.instructions if instruction.name == "ARG")
        return frozenset(name for instruction in args for name, _ in arg_pairs(instruction, found.escape))

    @property
    def needs_buildkit(self) -> str | None:
        """Why the classic builder cannot build this file, or None."""
        return content.needs_buildkit(self.parts)

    def _reach(self, target: str | None, build_args: Mapping[str, str] | None) -> Reach:
        reach = Reach.of(self.parts, target, build_args or {})
        reach.check()
        return reach


def _edited(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    parts, kept = [], 0
    for start, end, new in sorted(edits):
        parts += [text[kept:start], new]
        kept = end
    return "".join(parts) + text[kept:]


@lru_cache(maxsize=64)
def parse_dockerfile(data: bytes, file: str) -> Dockerfile:
    """A Dockerfile from its bytes; kept, because what checks it, what pins and what plans ask one after the other.

    Raises one ConfigError that names everything that is wrong.
    """
    problems = Problems()
    try:
        found = read_dockerfile(data, file, problems)
    except ConfigError as error:
        raise problems.error_with(error) from None
    problems.raise_first()
    return found


def read_dockerfile(data: bytes, file: str, problems: Problems) -> Dockerfile:
    """What can be read of a Dockerfile; collects what is no instruction and FROMs of another shape.

    Raises ConfigError where nothing can be read: no FROM, no UTF-8, an open here-document.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError("expected a Dockerfile of at most 1 MiB, found more", hint="is this the right file?", where=Location(file))
    text = decode(data, file)
    mark = "\ufeff" if data.startswith(b"\xef\xbb\xbf") else ""
    return Dockerfile(split_stages(scan(mark + text, file, problems), problems))
