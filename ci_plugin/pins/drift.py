"""Drift: what a pinned reference means now, beside what it was pinned to. Pure; asking is the business of services/drifting.

Rules

1. What counts is what a build takes: the manifest of each pinned platform, else (``FROM --platform=$BUILDPLATFORM``) what the registry
   serves. An index that moved over the same manifests, as an attestation makes it, is unchanged for us.
2. A move matters where the digest enters a stage signature, or a platform's manifest is another one. The image of ``# syntax`` and a
   reference that was pinned without a digest move without mattering: nothing was or will be built on them by that digest.
3. A branch or tag of another git repository moved where it means another commit now; a pinned commit never moves.
4. A reference that is gone, or of which the registry says nothing, has not moved: what it means now is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ci_plugin.errors import Gone, StagepinError
from ci_plugin.pins.git_pin import GitPin
from ci_plugin.pins.pin_set import Pin, PinSet
from ci_plugin.values.digest import Digest
from ci_plugin.values.platform import Platform


class DriftState(StrEnum):
    """``unknown``: the registry refused, or gave no answer that can be used."""

    MOVED = "moved"
    UNCHANGED = "unchanged"
    GONE = "gone"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Drift:
    """One pin, and what its reference means now.

    ``current`` is what the registry serves for it, None where it did not say; ``platforms`` the manifests of the pinned platforms now, None
    for one the index has no more. ``failure`` says why there is no answer. ``stages``: image → the stages that get another signature when
    this reference moves alone, images further down included; None where nobody could tell.
    """

    pin: Pin
    current: Digest | None
    platforms: Mapping[Platform, Digest | None]
    failure: StagepinError | None = None
    stages: Mapping[str, tuple[str, ...]] | None = None

    @property
    def state(self) -> DriftState:
        """What became of the reference, as rules 1 and 4 have it."""
        if self.failure is not None:
            return DriftState.GONE if isinstance(self.failure, Gone) else DriftState.UNKNOWN
        if self.has_another_digest and (self.stages or not self.pin.platforms or self.moved_platforms):
            return DriftState.MOVED
        return DriftState.UNCHANGED

    @property
    def matters(self) -> bool:
        """Whether it moved in a way that a new scope would build on, as rule 2 has it."""
        return self.state is DriftState.MOVED and bool(self.pin.in_signature or self.stages or self.moved_platforms)

    @property
    def has_another_digest(self) -> bool:
        """Whether the registry serves something else than was pinned, be it for the index alone."""
        return self.current is not None and self.current != self.pin.digest

    @property
    def moved_platforms(self) -> tuple[Platform, ...]:
        """The pinned platforms whose manifest is another one now, or none; sorted."""
        return tuple(sorted(name for name, digest in self.platforms.items() if digest != self.pin.platforms[name]))

    @property
    def images(self) -> tuple[str, ...]:
        """The images that name the reference themselves, in the order of their origins."""
        return tuple(dict.fromkeys(origin.image for origin in self.pin.origin))


@dataclass(frozen=True, slots=True)
class GitDrift:
    """One pin of another git repository, and the commit its ref means now; None with ``failure`` where the repository did not say."""

    pin: GitPin
    current: str | None
    failure: StagepinError | None = None

    @property
    def state(self) -> DriftState:
        """What became of the ref, as rules 3 and 4 have it; without an answer and a failure it is gone."""
        if self.failure is not None:
            return DriftState.UNKNOWN
        if self.current is None:
            return DriftState.GONE
        return DriftState.UNCHANGED if self.current == self.pin.commit else DriftState.MOVED

    @property
    def images(self) -> tuple[str, ...]:
        """The images that take files from it, in the order of its origins."""
        return tuple(dict.fromkeys(origin.image for origin in self.pin.origin))


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The drift of every pin of a set, in the set's order, and when the registries and repositories were asked."""

    pins: PinSet
    drifts: tuple[Drift, ...]
    asked_at: datetime
    git: tuple[GitDrift, ...] = ()

    @property
    def has_open_stages(self) -> bool:
        """Whether stages have to be told of some reference: nobody needs a configuration where nothing moved."""
        return any(drift.stages is None and drift.failure is None for drift in self.drifts)

    @property
    def that_matter(self) -> tuple[Drift, ...]:
        """The moves of images that a new scope would build on."""
        return tuple(drift for drift in self.drifts if drift.matters)

    @property
    def moved_git(self) -> tuple[GitDrift, ...]:
        """The refs of other repositories that mean another commit now: a new scope would take its files."""
        return tuple(drift for drift in self.git if drift.state is DriftState.MOVED)

    @property
    def names_that_matter(self) -> tuple[str, ...]:
        """Every move that a new scope would build on, by name: what ``--fail``, the output ``drift`` and a new comment go by."""
        return (*(str(drift.pin.reference) for drift in self.that_matter), *(drift.pin.name for drift in self.moved_git))
