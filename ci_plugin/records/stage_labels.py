"""What a stage image says about itself: labels written from what was actually used, and read back instead of asking for the whole chain.

One config blob therefore tells all a build record needs. The keys are part of the storage's format: they never change meaning.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ci_plugin.records.build_record import BaseRecord, BaseState, BuiltBy, DependencyValue
from ci_plugin.values.digest import Digest

STAGE = "stagepin.stage"
SIGNATURE = "stagepin.signature"
CHAIN = "stagepin.chain"
BASE = "stagepin.base"
BUILT_BY = "stagepin.built-by"
LISTING = "stagepin.listing"
DEPENDENCIES = "stagepin.dependencies"
REUSE = "stagepin.reuse"
OCI_BASE_NAME = "org.opencontainers.image.base.name"
OCI_BASE_DIGEST = "org.opencontainers.image.base.digest"


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A stage this one was built on; ``digest`` is None in ``:local``."""

    name: str
    signature: str
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class StageLabels:
    """The facts in the labels of one stage image; ``ancestors`` are its parents, oldest first.

    ``listing``: the name of the document that lists which files git put into it, empty for none. ``dependencies``: what it and its parents
    were told of other images. ``reuse``: its reuse key, empty where it has none.
    """

    stage: str
    signature: str
    ancestors: tuple[Ancestor, ...]
    base: BaseRecord
    built_by: BuiltBy
    listing: str = ""
    dependencies: tuple[DependencyValue, ...] = ()
    reuse: str = ""

    def to_labels(self) -> dict[str, str]:
        """The labels. All are always set, if only to nothing: those of the base itself must not shine through."""
        chain = [[item.name, item.signature, str(item.digest) if item.digest else None] for item in self.ancestors]
        base = {
            "reference": self.base.reference,
            "digest": str(self.base.digest) if self.base.digest else None,
            "state": self.base.state.value,
            "diffIds": [str(item) for item in self.base.diff_ids],
        }
        return {
            STAGE: self.stage,
            SIGNATURE: self.signature,
            CHAIN: json.dumps(chain),
            BASE: json.dumps(base),
            BUILT_BY: json.dumps({"scope": self.built_by.scope, "commit": self.built_by.commit}),
            LISTING: self.listing,
            DEPENDENCIES: json.dumps([[item.image, item.type, item.target, item.value] for item in self.dependencies]),
            REUSE: self.reuse,
            OCI_BASE_NAME: (self.base.reference or "") if self.base.digest else "",
            OCI_BASE_DIGEST: str(self.base.digest or ""),
        }


def parse_stage_labels(labels: Mapping[str, str]) -> StageLabels:
    """The inverse of ``to_labels``. Raises ValueError for an image that stagepin did not build."""
    try:
        base, built_by = json.loads(labels[BASE]), json.loads(labels[BUILT_BY])
        return StageLabels(
            stage=labels[STAGE],
            signature=labels[SIGNATURE],
            ancestors=tuple(Ancestor(str(n), str(s), Digest(d) if d else None) for n, s, d in json.loads(labels[CHAIN])),
            base=BaseRecord(
                reference=base["reference"],
                digest=Digest(base["digest"]) if base["digest"] else None,
                state=BaseState(base["state"]),
                diff_ids=tuple(Digest(item) for item in base["diffIds"]),
            ),
            built_by=BuiltBy(str(built_by["scope"]), str(built_by["commit"])),
            listing=labels.get(LISTING, ""),
            dependencies=tuple(DependencyValue(*map(str, item)) for item in json.loads(labels.get(DEPENDENCIES, "[]"))),
            reuse=labels.get(REUSE, ""),
        )
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected the labels of a stage image, found {type(error).__name__} in them: {error}") from None
