"""What the jobs of the simulated pipeline do: the product's own use cases, over one store, once; and what one run of them came to.

Roles: ``pin`` adopts or creates; ``need`` is any job that needs pins; ``fetch`` brings pins and record from the store; ``build`` needs pins
and files its record. Mutants put other functions in the place of these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ci_plugin.config.references import ConfigReference
from ci_plugin.errors import Location, StagepinError
from ci_plugin.forge.artifact_store import PINS_PATH, RECORD_PATH
from ci_plugin.pins.pin_file import parse_pin_file, pin_checksum
from ci_plugin.ports import Clock, PinStore
from ci_plugin.records.build_record import BuildRecord
from ci_plugin.records.record_file import format_record_file
from ci_plugin.services.pinning import Adopted, Asking, adopt_or_create, fetch_pins, get_pins
from ci_plugin.values.digest import Digest
from ci_plugin.values.manifest import DOCKER_MANIFEST, Descriptor
from ci_plugin.values.platform import DEFAULT_PLATFORM
from ci_plugin.values.reference import Reference, Repository, parse_reference
from tests.fakes.clock import FakeClock
from tests.model.gate import Desk, Gate
from tests.model.schedule import Fault
from tests.model.worlds import KEY, ArtifactWorld, World, retry
from tests.unit.services.memory_store import SilentRegistry

COMMIT = "a" * 40
LIE = "sha256:" + "0" * 64
_NOON = datetime(2026, 1, 2, 12, 0, 0, tzinfo=UTC)
_BASE = parse_reference("registry.example.com/base/alpine:latest")
_USE = ConfigReference(_BASE, "from", "app", Location("werf.yaml", 5), True, DEFAULT_PLATFORM)


class Upstream(SilentRegistry):
    """Implements ``ports.Registry`` for resolving alone; ``asked`` counts what this job resolved."""

    def __init__(self, gate: Gate, serve: Callable[[], Digest]) -> None:
        self.asked = 0
        self._gate = gate
        self._serve = serve
        self._retry = retry()

    def resolve(self, references: Collection[Reference]) -> Mapping[Reference, Descriptor | StagepinError]:
        self.asked += 1
        digest = self._retry.run(lambda: self._gate.read("resolve", lambda _: self._serve()))
        return {reference: Descriptor(digest, DOCKER_MANIFEST, 1) for reference in references}


@dataclass(slots=True)
class JobRun:
    """One run of one job. Steps count the calls of the whole simulation; a run in progress has no ``ended``.

    ``given``: the pin file its workspace began with. ``told``: the checksum it was handed. ``adopted``: the pin file it returned.
    ``resolved``: how often it asked what a tag means. ``filed``: what ``put_record`` said of ``made``, None where it was not asked.
    ``record``: the record it found.
    """

    slot: int
    role: str
    number: int
    started: int
    given: bytes | None = None
    told: str | None = None
    ended: int = -1
    adopted: bytes | None = None
    checksum: str | None = None
    error: BaseException | None = None
    is_killed: bool = False
    resolved: int = 0
    made: bytes | None = None
    filed: bool | None = None
    record: bytes | None = None
    written: list[bytes] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_success(self) -> bool:
        """Whether the CI would show it green."""
        return self.ended >= 0 and self.error is None and not self.is_killed

    def __str__(self) -> str:
        end = "killed" if self.is_killed else repr(self.error) if self.error else f"adopted {short(self.adopted)}"
        return f"job {self.slot} ({self.role}, run {self.number}, given {short(self.given)}, told {(self.told or 'nothing')[:15]}): {end}"


def short(document: bytes | None) -> str:
    """A pin file in eight characters, for people."""
    return "nothing" if document is None else Digest.of(document).hex[:8]


@dataclass(slots=True)
class Bench:
    """What a job has at hand in one run."""

    world: World
    gate: Gate
    desk: Desk
    store: PinStore
    upstream: Upstream
    clock: Clock
    asking: Asking
    run: JobRun


def pin(bench: Bench) -> Adopted:
    """The pin job: ``stagepin pin``."""
    return adopt_or_create(
        bench.asking,
        [_USE],
        images=["app"],
        tool="stagepin/model",
        workspace=bench.desk,
        store=bench.store,
        registry=bench.upstream,
        clock=bench.clock,
    )


def need(bench: Bench) -> Adopted:
    """Any job that needs pins."""
    return get_pins(bench.asking, bench.desk, bench.store, bench.clock)


@dataclass(frozen=True)
class Product:
    """What is under test; mutants replace one of these."""

    store: Callable[[World, Gate], PinStore] = lambda world, gate: world.store(gate)
    pin: Callable[[Bench], Adopted] = pin
    need: Callable[[Bench], Adopted] = need


def work(product: Product, bench: Bench) -> Adopted:
    """The whole of one run, and what the CI does at its end."""
    run = bench.run
    if run.role == "pin":
        adopted = product.pin(bench)
    elif run.role == "fetch":
        adopted = fetch_pins(bench.asking, bench.desk, bench.store, bench.clock)
        run.record = bench.store.find_record(KEY)
    else:
        adopted = product.need(bench)
    if run.role == "build" and bench.world.takes_records:
        bench.desk.record = run.made = record_of(run, adopted)
        run.filed = bench.store.put_record(KEY, bench.desk.record, adopted.document)
    if isinstance(bench.world, ArtifactWorld) and run.role in ("pin", "build"):
        # In the templates the pin job alone hands pins on, the build job its record.
        files = {PINS_PATH: bench.desk.pins} if run.role == "pin" else {RECORD_PATH: bench.desk.record}
        bench.world.hand_on(bench.gate, {path: data for path, data in files.items() if data is not None})
    return adopted


def record_of(run: JobRun, adopted: Adopted) -> bytes:
    """A record only this run could have made: it names a repository of its own."""
    pins = adopted.pins
    own = Repository("registry.example.com", f"group/app/job-{run.slot}-{run.number}")
    record = BuildRecord(pins.scope, pins.pipeline, pins.commit, own, pin_checksum(pins), complete=True, published=True, images={})
    return format_record_file(record)


@lru_cache(maxsize=4096)
def checksum_in(document: bytes) -> str:
    """The checksum of a pin file."""
    return pin_checksum(parse_pin_file(document, "the model"))


def clock_of(slot: int, *, skewed: bool) -> FakeClock:
    """Every job's own; skewed ones are years apart, and the later job's is the earlier time."""
    return FakeClock(_NOON - timedelta(days=400 * slot) if skewed else _NOON)
