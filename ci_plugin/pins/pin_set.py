"""The pin set of a scope: which digest every external reference of the whole configuration means for all jobs of that scope.

Rules, all pure; callers bring the time:

1. One pin per normalised reference; a set is never extended.
2. A set is ours when forge, host, project id and scope are ours; a scope asked for by name outside CI brings its own identity.
3. In a scope of one commit (``pipeline:``, ``commit:``) the commit must be ours too.
4. A ``local`` set is adopted for 24 hours. Age matters nowhere else unless a limit was given; where it matters, a set from the future
   (more than 5 minutes: clocks differ) has no age and is refused.
5. The set of a fork's code is adopted by jobs of that fork alone.
6. A branch or tag of another git repository is a reference too, and means one commit; a commit that is named is written down as it is.
7. A reference that enters no signature may be unresolved (digest None, with a reason); it stops only what must be built on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ci_plugin.errors import AnswerIsNo, DocumentError, InputError, Location
from ci_plugin.pins.git_pin import GitPin
from ci_plugin.pins.origin import Origin as Origin
from ci_plugin.values.digest import Digest
from ci_plugin.values.duration import format_duration
from ci_plugin.values.pipeline import PipelineId, Scope, ScopeKey
from ci_plugin.values.platform import Platform
from ci_plugin.values.reference import Reference, Repository
from ci_plugin.values.timestamp import format_time

LOCAL_LIFETIME = timedelta(hours=24)
CLOCK_TOLERANCE = timedelta(minutes=5)
"""By how much two machines' clocks may differ."""
ORIGIN_KINDS = ("from", "copy-from", "mount-from", "syntax", "import")


@dataclass(frozen=True, slots=True)
class Pin:
    """One reference and what it means in this scope. ``digest`` is what the registry serves for it: an index or a manifest.

    ``platforms`` holds the manifest digest of every platform we build; ``in_signature`` whether the digest enters a stage signature.
    """

    reference: Reference
    digest: Digest | None
    media_type: str
    size: int
    platforms: Mapping[Platform, Digest]
    in_signature: bool
    resolved_at: datetime
    origin: tuple[Origin, ...]
    reason: str = ""

    def digest_for(self, platform: Platform | None) -> Digest:
        """What to build on: the manifest of a platform, or for None (the engine's own platform) what the registry serves.

        Raises InputError where the pin has none, saying what it has.
        """
        if self.digest is None:
            raise self.refusal
        if platform is None:
            return self.digest
        for known, digest in self.platforms.items():
            if known.serves(platform):
                return digest
        raise InputError(
            f"expected {self.reference} to be pinned for {platform}, found {', '.join(map(str, self.platforms)) or 'no platform'}",
            hint=f"pin with `--platform {platform}`; the pin set of a scope is never extended, so that is a new scope",
            where=self.place,
        )

    @property
    def refusal(self) -> InputError:
        """What is said where a stage must be built on a reference that has no digest."""
        message = f"expected a digest for {self.reference}, found none: {self.reason}"
        return InputError(message, hint="mend the reference or the access to it, then pin in a new scope", where=self.place)

    @property
    def place(self) -> Location | None:
        """Where the reference stands first."""
        return Location(self.origin[0].file, self.origin[0].line) if self.origin else None


@dataclass(frozen=True, slots=True)
class PinSet:
    """All pins of one scope, sorted by reference; ``images`` names the images they were made for, ``git`` pins other git repositories.

    ``keep``: the repository that holds a copy of every pinned base, None where nobody asked for copies. ``fork``: the project whose code
    the pin job ran, where that is a fork's; empty for the project's own.
    """

    tool: str
    scope: Scope
    pipeline: PipelineId
    commit: str
    created_at: datetime
    images: tuple[str, ...]
    pins: tuple[Pin, ...]
    keep: Repository | None = None
    fork: str = ""
    git: tuple[GitPin, ...] = ()
    _by_reference: dict[Reference, Pin] = field(init=False, repr=False, compare=False)
    _git_by_key: dict[tuple[str, str], GitPin] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_reference", {pin.reference: pin for pin in self.pins})
        object.__setattr__(self, "_git_by_key", {(pin.url, pin.ref): pin for pin in self.git})

    def get(self, reference: Reference, where: Location | None = None) -> Pin:
        """The pin of a reference. Raises InputError: a reference that was not pinned is never resolved here."""
        pin = self._by_reference.get(reference)
        if pin is None:
            raise self._missing(str(reference), len(self.pins), where)
        return pin

    def get_git(self, url: str, ref: str, where: Location | None = None) -> GitPin:
        """The pin of another repository's branch, tag or commit. Raises InputError where it was not pinned."""
        pin = self._git_by_key.get((url, ref))
        if pin is None:
            raise self._missing(f"{url} {ref}", len(self.git), where)
        return pin

    def covers(self, reference: Reference, platform: Platform | None) -> bool:
        """Whether the set has this reference, for this platform (None: any)."""
        pin = self._by_reference.get(reference)
        return pin is not None and (pin.digest is None or platform is None or any(known.serves(platform) for known in pin.platforms))

    def covers_git(self, url: str, ref: str) -> bool:
        """Whether the set has this branch, tag or commit of another repository."""
        return (url, ref) in self._git_by_key

    def check_ours(
        self, key: ScopeKey, commit: str | None, *, by_name: bool, where: Location, way_out: str = "run `stagepin fetch`"
    ) -> None:
        """Raise DocumentError unless this set belongs to the asking job.

        ``by_name``: the scope was asked for outside CI. ``commit`` None: a scope of another commit was asked for, as a rollback does.
        ``way_out``: what to do after the file was removed.
        """
        self._expect("scope", key.scope.text, self.scope.text, where, way_out)
        if not by_name:
            for name, ours, theirs in zip(("forge", "host", "project id"), key.pipeline.identity, self.pipeline.identity, strict=True):
                self._expect(name, ours, theirs, where, way_out)
            if key.scope.is_one_commit and commit is not None:
                self._expect("commit", commit, self.commit, where, way_out)

    def check_fork(self, fork: str, where: Location) -> None:
        """Raise DocumentError for the set of a fork's code, unless the asking job runs that fork's code too (``fork``)."""
        if self.fork not in ("", fork):
            raise DocumentError(
                f"expected pins of the project's own code, found those of the fork {self.fork}: its code decided what they are",
                hint="take the CI artifact of this project's own pin job, or pin in a new scope; a fork's pins stay in the fork's jobs",
                where=where,
            )

    def is_expired(self, now: datetime, lifetime: timedelta = LOCAL_LIFETIME) -> bool:
        """Whether a ``local`` set is too old to adopt, or from the future; sets of other scopes never are."""
        return self.scope.is_local and not -CLOCK_TOLERANCE <= now - self.created_at <= lifetime

    def check_age(self, limit: timedelta, now: datetime, where: Location) -> None:
        """Raise AnswerIsNo for a set that is older than the limit, or from the future."""
        age = now - self.created_at
        if -CLOCK_TOLERANCE <= age <= limit:
            return
        found = f"{format_duration(age)} old" if age > limit else f"created {format_duration(-age)} in the future, by this machine's clock"
        way_out = "run a new pipeline, which pins anew" if self.scope.text.startswith("pipeline:") else "pin in a new scope (--scope)"
        created = format_time(self.created_at)
        raise AnswerIsNo(
            f"expected the pins of {self.scope} to be at most {format_duration(limit)} old, found them {found} ({created})",
            hint=f"{way_out}; --max-age and `maxAge` in .stagepin.yaml set the limit",
            where=where,
        )

    def _missing(self, name: str, count: int, where: Location | None) -> InputError:
        return InputError(
            f"expected {name} among the {count} pins of {self.scope}, found it missing",
            hint="pin and build must read the same configuration, commit and options; compare the two jobs, then pin in a new scope",
            where=where,
        )

    def _expect(self, name: str, expected: str, found: str, where: Location, way_out: str) -> None:
        if expected != found:
            raise DocumentError(
                f"expected pins of {name} {expected}, found {name} {found}: they belong to another job",
                hint=self._way_out(name, where, way_out),
                where=where,
            )

    def _way_out(self, differs: str, where: Location, way_out: str) -> str:
        # A set of another commit is this pipeline's own, in the storage too: fetching it again would bring the same one.
        if differs == "commit":
            return (
                f"check out {self.commit} in this job, or run a new pipeline, which pins anew; "
                f"to verify what that commit shipped, as a rollback does: `stagepin verify --scope {self.scope}`"
            )
        return f"remove {where.file} and {way_out}, or ask for that scope with `--scope {self.scope}`"
