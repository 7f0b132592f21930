"""Pin once: adopt the pins of a scope, or resolve every reference once and create them (DESIGN.md §7).

``adopt_or_create``: workspace → store → resolve → copy what is to be kept → create if absent → read again and adopt the winner.
A job that only needs pins (``get_pins``) never resolves: no pins is an error with the way out. A checksum that came by another way than the
pins (a job output, a dotenv report) is compared with whatever is adopted, wherever it was found. Where a checksum came and no pins are
found nothing is resolved: that would make other pins than the checksum is of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from ci_plugin.config.git_references import GitReference
from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import AnswerIsNo, Bug, DocumentError, InputError, Location
from ci_plugin.pins.git_pin import GitPin
from ci_plugin.pins.pin_file import format_pin_file, parse_pin_file, pin_checksum
from ci_plugin.pins.pin_set import PinSet
from ci_plugin.services.resolving import IMPATIENT, Patience, resolve_pins
from ci_plugin.services.resolving_git import GitRemotes, resolve_git
from ci_plugin.values.pipeline import ScopeKey
from ci_plugin.values.reference import Repository

if TYPE_CHECKING:
    from ci_plugin.ports import Clock, PinStore, Registry, Workspace


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for pins.

    ``by_name``: the scope was asked for by name outside CI, so the identity is the file's. ``any_commit``: a scope was asked for that need
    not be of this commit, as a rollback does. ``checksum``: that of the pin file the pin job spoke of, None where nobody told us. ``fork``:
    the fork whose code this job runs, whose pins it may adopt; None for one that only reads and says whose they are. ``doubt``: why nobody
    knows whose project this clone is, where a scope of its was asked for by name. ``store_is_workspace``: no store was wanted.
    ``is_pinning``: the pin job, which can make what others fetch.
    """

    key: ScopeKey
    commit: str
    by_name: bool = False
    any_commit: bool = False
    checksum: str | None = None
    fork: str | None = ""
    doubt: str = ""
    store_is_workspace: bool = False
    is_pinning: bool = False


Found = TypeVar("Found")
Copy = Callable[[PinSet, Repository, "Registry"], object]
"""Copies every pinned base into the repository, as ``services/keeping.keep_bases`` does."""


@dataclass(frozen=True, slots=True)
class PinPolicy:
    """What a pin job insists on.

    ``locked``: nothing may be resolved. ``max_age``: an older set stops the job; a ``local`` one is made anew. ``publish``: whether this
    job may write to the store (a fork writes its own only). ``assure``: the workspace's pins are put into a store that lacks them, and
    refused where it has others; ``locked`` asks no store for that. ``keep``: the repository that gets a copy of every base, made by
    ``copy``. ``patience``: with an index that lacks a platform.
    """

    locked: bool = False
    max_age: timedelta | None = None
    publish: bool = True
    assure: bool = False
    keep: Repository | None = None
    copy: Copy | None = None
    patience: Patience = IMPATIENT


DEFAULT_POLICY = PinPolicy()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a configuration names: images of registries, and other git repositories, which ``remotes`` are asked about."""

    references: Sequence[ConfigReference]
    git: Sequence[GitReference] = ()
    remotes: GitRemotes | None = None

    def __len__(self) -> int:
        return len(self.references) + len(self.git)

    def is_covered(self, pins: PinSet) -> bool:
        """Whether the pins have all of it, for the platforms it is named for."""
        covers = (pins.covers(use.reference, use.platform) for use in self.references)
        return all(covers) and all(pins.covers_git(use.url, use.ref) for use in self.git)

    def check(self, pins: PinSet) -> None:
        """Raise InputError for what the pins lack."""
        for use in self.references:
            pins.get(use.reference, use.location)
        for other in self.git:
            pins.get_git(other.url, other.ref, other.location)

    def resolve_git(self, clock: Clock) -> tuple[GitPin, ...]:
        """The pins of the other repositories. Raises what they raise."""
        if self.git and self.remotes is None:
            raise Bug("expected somebody to ask other repositories, found nobody")
        return resolve_git(self.git, self.remotes, clock) if self.remotes is not None else ()


@dataclass(frozen=True, slots=True)
class Adopted:
    """A pin set and where it came from: ``workspace``, the store's name, or ``resolved``."""

    pins: PinSet
    source: str
    document: bytes


def find_pins(asking: Asking, workspace: Workspace, store: PinStore | None, clock: Clock) -> Adopted | None:
    """The scope's pins from the workspace, else from the store (then the workspace gets them); None where neither has any.

    Raises DocumentError for pins of another job: those are never silently passed over.
    """
    data = workspace.read_pins()
    if data is not None:
        adopted = _adopt(asking, data, str(workspace.pins_path), "workspace")
        if not adopted.pins.is_expired(clock.now()):
            return adopted
    data = store.find_pins(asking.key) if store else None
    if data is None or store is None:
        return None
    adopted = _adopt(asking, data, store.name, store.name)
    workspace.write_pins(data)
    return adopted


def get_pins(asking: Asking, workspace: Workspace, store: PinStore | None, clock: Clock) -> Adopted:
    """As ``find_pins``, but no pins is a DocumentError with the fix, never a fresh resolve."""
    adopted = find_pins(asking, workspace, store, clock)
    adopted = adopted or find_after_lag(lambda: find_pins(asking, workspace, store, clock), store, clock)
    if adopted is None:
        looked = f"{workspace.pins_path}" + (f" and {store.name}" if store else not_looked(asking))
        handed = "run `stagepin pin` in an earlier job of this scope and hand .stagepin/pins.json on as a CI artifact"
        kept = "name a repository of the fork's own with --repo" if asking.fork else "set --repo so that it is kept in the stages storage"
        raise DocumentError(
            f"expected the pins of {asking.key.scope}, found none (looked in {looked}){_because(asking)}",
            hint="run `stagepin pin` here first; outside CI, --scope or --pipeline names whose pins to fetch"
            if asking.key.scope.is_local
            else f"{handed}, or {kept}",
        )
    return adopted


def adopt_or_create(
    asking: Asking,
    references: Sequence[ConfigReference],
    *,
    images: Sequence[str],
    tool: str,
    workspace: Workspace,
    store: PinStore | None,
    registry: Registry,
    clock: Clock,
    policy: PinPolicy = DEFAULT_POLICY,
    git: Sequence[GitReference] = (),
    remotes: GitRemotes | None = None,
) -> Adopted:
    """The one pin set of the scope; ``remotes`` are asked about the other git repositories in ``git``.

    Raises AnswerIsNo where the policy forbids it, InputError where the scope's pins lack a reference.
    """
    wanted = Wanted(references, git, remotes)
    asking = replace(asking, is_pinning=True)
    adopted = find_pins(asking, workspace, store, clock)
    if adopted is None and asking.checksum is not None:
        # Somebody pinned already and told us of what: it may not be seen everywhere yet.
        adopted = find_after_lag(lambda: find_pins(asking, workspace, store, clock), store, clock)
    if adopted is not None and not _is_outgrown(adopted.pins, wanted, policy, clock):
        _check(adopted, wanted, policy, clock, workspace)
        _copy(adopted.pins, policy, registry)
        if store is not None and _has_to_assure(adopted, asking, policy):
            _assure(asking, adopted, store, workspace)
        return adopted
    _may_resolve(asking, len(wanted), policy)
    created = PinSet(
        tool=tool,
        scope=asking.key.scope,
        pipeline=asking.key.pipeline,
        commit=asking.commit,
        created_at=clock.now(),
        images=tuple(images),
        pins=resolve_pins(wanted.references, registry, clock, policy.patience),
        keep=policy.keep,
        fork=asking.fork or "",
        git=wanted.resolve_git(clock),
    )
    # Before anybody reads the pins: whoever does may rely on the copies.
    _copy(created, policy, registry)
    adopted = Adopted(created, "resolved", format_pin_file(created))
    if store is not None and policy.publish:
        adopted = _publish(asking, adopted, store)
        _check(adopted, wanted, policy, clock, workspace)
    workspace.write_pins(adopted.document)
    return adopted


def _check(adopted: Adopted, wanted: Wanted, policy: PinPolicy, clock: Clock, workspace: Workspace) -> None:
    """Whether adopted pins are young enough and have every reference: said here, in the pin job, and not by the first build job."""
    if policy.max_age is not None:
        place = str(workspace.pins_path) if adopted.source == "workspace" else adopted.source
        adopted.pins.check_age(policy.max_age, clock.now(), Location(place))
    wanted.check(adopted.pins)


def _copy(pins: PinSet, policy: PinPolicy, registry: Registry) -> None:
    """Make sure of the copies the pins promise; those of another promise are not ours to make."""
    if policy.copy is not None and policy.keep is not None and pins.keep == policy.keep:
        policy.copy(pins, policy.keep, registry)


def _may_resolve(asking: Asking, count: int, policy: PinPolicy) -> None:
    if asking.checksum is not None:
        raise DocumentError(
            f"expected the pins of {asking.key.scope} whose checksum the pin job handed on, {asking.checksum}, found none",
            hint="bring them: the pin job's CI artifact or the repository it wrote to; a pin job itself is given no checksum",
        )
    if policy.locked:
        message = f"expected the pins of {asking.key.scope} to exist, found none: {count} references would have to be resolved"
        raise AnswerIsNo(message, hint="run `stagepin pin` without --locked in the pin job of this scope")


def _is_outgrown(pins: PinSet, wanted: Wanted, policy: PinPolicy, clock: Clock) -> bool:
    """Whether a ``local`` set is made anew: at a desk the configuration changes all day, and no other job reads the set.

    It lacks what the configuration names by now, or is older than the policy has it.
    """
    if not pins.scope.is_local:
        return False
    is_old = policy.max_age is not None and pins.is_expired(clock.now(), policy.max_age)
    return is_old or not wanted.is_covered(pins)


def find_after_lag(find: Callable[[], Found | None], store: PinStore | None, clock: Clock) -> Found | None:
    """Look once more where a replica may lag behind: an earlier job wrote what this one needs, so absence is not believed at once."""
    if store is None or not store.lag:
        return None
    clock.sleep(store.lag)
    return find()


def fetch_pins(asking: Asking, workspace: Workspace, store: PinStore | None, clock: Clock) -> Adopted:
    """The scope's pins from the store into the workspace, whatever it held.

    Raises InputError without a store, DocumentError without pins.
    """
    if store is None and asking.store_is_workspace and not asking.key.scope.is_local:
        hint = "name another with --store, STAGEPIN_STORE or `store` in .stagepin.yaml: stages-storage is the default"
        raise InputError("expected a store to fetch from, found the store workspace, which is where pins are fetched to", hint=hint)
    if store is None:
        found = "the scope local, whose pins stay in the workspace" if asking.key.scope.is_local else "no repository"
        hint = "set --repo or STAGEPIN_REPO to the stages storage, and outside CI say whose pins: --pipeline ID or --scope SCOPE"
        raise InputError(f"expected a repository and a scope to fetch from, found {found}", hint=hint)
    data = store.find_pins(asking.key)
    if data is None:
        data = find_after_lag(lambda: store.find_pins(asking.key), store, clock)
    if data is None:
        raise DocumentError(
            f"expected the pins of {asking.key.scope} in {store.name}, found none{_because(asking)}",
            hint="correct the remote (`git remote -v`) or name the repository and store the pin job used (--repo, --store)"
            if asking.doubt
            else "check --scope, --pipeline and --repo against the pin job's; pins exist once `stagepin pin` ran with that repository",
        )
    adopted = _adopt(asking, data, store.name, store.name)
    workspace.write_pins(data)
    return adopted


def _publish(asking: Asking, ours: Adopted, store: PinStore) -> Adopted:
    """Create if absent, then adopt what the store has: whoever won, every job of the scope reads the same document."""
    data = store.create_pins(asking.key, ours.document)
    return ours if data == ours.document else _adopt(asking, data, store.name, store.name)


def _has_to_assure(adopted: Adopted, asking: Asking, policy: PinPolicy) -> bool:
    # A scope that was asked for by name at a desk is somebody else's: their pins are read here, not filed.
    return adopted.source == "workspace" and policy.assure and policy.publish and not policy.locked and not asking.by_name


def _assure(asking: Asking, ours: Adopted, store: PinStore, workspace: Workspace) -> None:
    """See to it that the store has the workspace's pins. Raises DocumentError where it has others."""
    data = store.create_pins(asking.key, ours.document)
    if data == ours.document:
        return
    theirs = pin_checksum(_adopt(asking, data, store.name, store.name).pins)
    if theirs != pin_checksum(ours.pins):
        raise DocumentError(
            f"expected the pins {pin_checksum(ours.pins)} in the {store.name} too, found {theirs}: "
            f"the scope {asking.key.scope} has two pin sets",
            hint=f"remove {workspace.pins_path} and run `stagepin pin` again, which takes those of the store; "
            "what was built from the removed ones has to be built again",
            where=Location(str(workspace.pins_path)),
        )


def not_looked(asking: Asking) -> str:
    """Why no store was looked in: ``local`` pins and records have none, whatever --repo says."""
    if asking.key.scope.is_local:
        return "; those of the scope local are kept in the workspace alone"
    return "; the store workspace is no other place" if asking.store_is_workspace else "; no repository is set to look in"


def _because(asking: Asking) -> str:
    return f": {asking.doubt}" if asking.doubt else ""


def _adopt(asking: Asking, data: bytes, place: str, source: str) -> Adopted:
    pins = parse_pin_file(data, place)
    commit = None if asking.any_commit else asking.commit
    command = "pin` again" if asking.is_pinning else "fetch`"
    pins.check_ours(asking.key, commit, by_name=asking.by_name, where=Location(place), way_out=f"run `stagepin {command}")
    if asking.fork is not None:
        pins.check_fork(asking.fork, Location(place))
    if asking.checksum is not None and asking.checksum != pin_checksum(pins):
        raise DocumentError(
            f"expected the pins whose checksum the pin job handed on, {asking.checksum}, found {pin_checksum(pins)}",
            hint="somebody wrote other pins of this scope after the pin job: find out who, then run a new pipeline",
            where=Location(place),
        )
    return Adopted(pins, source, data)
