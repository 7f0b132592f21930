"""Stage signatures: ``sha256(E(version, platform, stage name, inputs, parent's stage signature))`` (DESIGN.md §6, docs/adr/0003).

E is ``values.canonical``. Golden vectors: ``tests/data/signatures.json``. A change here needs ``SIGNATURE_VERSION`` to move and a
heading of its own in the changelog, because every team's next pipeline then builds everything anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ci_plugin.conveyor.stage import Input, Stage, Work
from ci_plugin.values.canonical import fields_hash
from ci_plugin.values.platform import Platform

SIGNATURE_VERSION = 1


def stage_signature(platform: Platform, name: str, inputs: Iterable[Input], parent: str | None) -> str:
    """64 hex characters."""
    return fields_hash(
        (
            ("version", SIGNATURE_VERSION),
            ("platform", str(platform)),
            ("stage", name),
            ("inputs", tuple((item.label, item.value) for item in inputs)),
            ("parent", parent),
        )
    )


def index_signature(signatures: Mapping[Platform, str]) -> str:
    """The signature of an image for several platforms, from the final stage signature of each."""
    pairs = tuple((str(platform), signature) for platform, signature in sorted(signatures.items()))
    return fields_hash((("version", SIGNATURE_VERSION), ("stage", "index"), ("signatures", pairs)))


class Conveyor:
    """Stages of one image for one platform, each signed with its parent's signature, in the order they are added."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._stages: list[Stage] = []

    def add(self, name: str, inputs: Iterable[Input], work: Work) -> None:
        """Append a stage. Labels must be unique within it: that is what keeps the encoding's order meaningless to users."""
        ordered = tuple(sorted(inputs, key=lambda item: item.label))
        parent = self._stages[-1].signature if self._stages else None
        self._stages.append(Stage(name, ordered, stage_signature(self._platform, name, ordered, parent), work))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All stages so far, the first is ``from`` or ``dockerfile``."""
        return tuple(self._stages)
