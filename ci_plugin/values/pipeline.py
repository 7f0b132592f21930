"""Who is asking: the pipeline's identity, the scope its pins are kept under, the commit.

Identity is forge + host + project id: a project may be renamed, a host may serve many.
The scope is the key of a pin set within an identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ci_plugin.values.canonical import sha256_hex

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)
_SCOPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}", re.ASCII)
LOCAL_SCOPE_TEXT = "local"


@dataclass(frozen=True, slots=True)
class PipelineId:
    """One pipeline (GitLab pipeline, GitHub workflow run) of one project; ``id`` survives retries and attempts."""

    forge: str
    host: str
    project_id: str
    project: str = field(compare=False)
    id: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """What must be equal for pins to be ours: forge, host, project id."""
        return (self.forge, self.host, self.project_id)


@dataclass(frozen=True, slots=True)
class Scope:
    """The key of a pin set: ``pipeline:1001``, ``commit:<hex>``, ``local`` or any text. Raises ValueError for other characters."""

    text: str

    def __post_init__(self) -> None:
        if not _SCOPE.fullmatch(self.text):
            raise ValueError(f"expected a scope of 1-128 characters [A-Za-z0-9._:/@+-], found {self.text[:150]!r}")

    def __str__(self) -> str:
        return self.text

    @property
    def is_local(self) -> bool:
        """Outside CI: adopted by age, not by pipeline."""
        return self.text == LOCAL_SCOPE_TEXT

    @property
    def is_one_commit(self) -> bool:
        """Whether all jobs of this scope run on one commit."""
        return self.text.startswith(("pipeline:", "commit:"))


@dataclass(frozen=True, slots=True)
class ScopeKey:
    """An identity and a scope: what a store files pins and record under."""

    pipeline: PipelineId
    scope: Scope

    @property
    def short_hash(self) -> str:
        """12 hex characters of the identity and scope: the tag of the stages storage is ``stagepin-<these>``."""
        return sha256_hex(("scope", *self.pipeline.identity, self.scope.text))[:12]


def parse_commit(text: str) -> str:
    """A full commit id, 40 or 64 lower-case hex characters. Raises ValueError."""
    if not _COMMIT.fullmatch(text):
        raise ValueError(f"expected a full commit id (40 hex characters), found {text[:100]!r}")
    return text
