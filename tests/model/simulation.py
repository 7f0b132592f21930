"""One pipeline over one world: jobs that begin, wait for each other's calls, end, crash and are tried again, as the decider has it.

Jobs run in threads of a crew that take turns, so that the product's own synchronous code is under test. Who goes on is decided before
every call. When everything is over, a quiet second part follows: what was postponed arrives, every job is run once more without faults.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ci_plugin.errors import StagepinError
from ci_plugin.services.pinning import Asking
from ci_plugin.values.digest import Digest
from tests.model.crew import Crew
from tests.model.gate import Crash, Desk, Gate
from tests.model.jobs import COMMIT, LIE, Bench, JobRun, Product, Upstream, checksum_in, clock_of, short, work
from tests.model.schedule import END, Call, Decider, Fault, Script, Setup
from tests.model.worlds import KEY, World

MOST_JOBS = 7
_MOST_RUNS = 3
_MOST_EVENTS = 4
DIGESTS = (Digest.of(b"monday"), Digest.of(b"tuesday"))


@dataclass(slots=True)
class _Slot:
    """One job of the pipeline: its role and what its runs left behind."""

    number: int
    role: str
    runs: list[JobRun] = field(default_factory=list)
    desk: Desk | None = None
    is_running: bool = False
    calls: int = 0


class Simulation:
    """Implements ``gate.Turns``. After ``go``: ``runs``, ``truths`` and ``records`` (clock, pins or record of the scope from then
    on), ``events`` (clock, what happened), ``trace`` for people.

    ``steps`` counts API calls, ``clock`` every call (files too); ``calm`` is the clock at which the quiet part began.
    """

    def __init__(self, crew: Crew, world: World, setup: Setup, decider: Decider, product: Product) -> None:
        self.world = world
        self.setup = setup
        self.lag = setup.lag
        self.steps = 0
        self.clock = 0
        self.calm = -1
        self.runs: list[JobRun] = []
        self.truths: list[tuple[int, bytes | None]] = [(0, None)]
        self.records: list[tuple[int, bytes | None]] = [(0, None)]
        self.trace: list[Callable[[], str]] = []
        self.calls: list[Call] = []
        self.events: list[tuple[int, str]] = []
        self.observe: Callable[[Call, Fault], None] | None = None
        self._crew = crew
        self._decider = decider
        self._product = product
        self._slots = [_Slot(number, role) for number, role in enumerate([*("pin",) * setup.writers, *setup.readers])]
        self._pending: list[tuple[int, Callable[[], object]]] = []
        self._events = 0
        self._digest = 0
        self._failure: BaseException | None = None
        self._only: list[int] | None = None

    def go(self) -> None:
        """Everything, the quiet part included."""
        self._play()
        while self._pending:
            self._deliver()
        self.world.pass_a_night()
        self.look()
        self.calm = self.clock
        self._decider = Script(self.setup)
        self.lag = 0
        firsts = {slot.role: slot for slot in reversed(self._slots)}
        for slot in sorted(firsts.values(), key=lambda slot: slot.number):
            self._only = [slot.number]
            self._play()

    def _play(self) -> None:
        if self._pass_on():
            self._crew.wait_for_all()
        if self._failure:
            raise self._failure

    # What gates call, in the thread of the job that has the turn.

    def turn(self, slot: int, name: str, kinds: tuple[Fault, ...]) -> tuple[Fault, int]:
        mine = self._slots[slot]
        number = mine.calls
        if not self._decider.stays(slot, number):
            self._yield_to_another(slot)
        mine.calls += 1
        self.clock += 1
        if not name.startswith("workspace."):
            self.steps += 1
        call = Call(slot, number, name, kinds)
        fault, behind = self._decider.strike(call)
        if fault is not Fault.NONE:
            mine.runs[-1].faults.append(fault)
        self.calls.append(call)
        if self.observe:
            self.observe(call, fault)
        self._tell("  job {}: {} {}", slot, name, fault.value if kinds else "finds nobody")
        return fault, behind

    def postpone(self, slot: int, effect: Callable[[], object]) -> None:
        self._pending.append((slot, effect))

    def look(self) -> None:
        now = self.world.truth()
        if now != self.truths[-1][1]:
            self.truths.append((self.clock, now))
            self._tell("  -> the scope's pins are {} now", _Short(now))
        record = self.world.record()
        if record != self.records[-1][1]:
            self.records.append((self.clock, record))
            self._tell("  -> the scope's record is {} now", _Short(record))

    def serve(self) -> Digest:
        """What the moving tag means now."""
        if self.setup.moving:
            self._digest += 1
        return DIGESTS[self._digest % 2]

    # Who goes on.

    def _yield_to_another(self, slot: int) -> None:
        chosen = self._choose()
        if chosen != slot:
            self._give(chosen)
            self._crew.wait(slot)

    def _pass_on(self) -> bool:
        """Give the turn to whoever is next; False where nobody is left."""
        self._decider.stays(-1, -1)
        chosen = self._choose()
        if chosen is None:
            return False
        self._give(chosen)
        return True

    def _give(self, chosen: int | None) -> None:
        assert chosen is not None
        slot = self._slots[chosen]
        if slot.is_running:
            self._crew.go_on(chosen)
        else:
            self._begin(slot)

    def _choose(self) -> int | None:
        """The job that goes on or begins; None at the end. Events that are chosen on the way happen."""
        while True:
            options = self._options()
            if not options:
                return None
            names = list(options)
            name = names[self._decider.pick(names)]
            if name.startswith("job "):
                return int(name[4:])
            if name == END:
                return None
            self._events += 1
            self._tell("  {}", name)
            self.events.append((self.clock, name))
            event = options[name]
            assert event
            event()
            self.look()
            # The choice that follows is made anew, by the next decision.
            self._decider.stays(-1, -1)

    def _options(self) -> dict[str, Callable[[], object] | None]:
        """Running jobs, jobs that have not begun, then the end where nothing runs, then second runs and events."""
        names = [slot for slot in self._slots if slot.is_running]
        fresh = [slot for slot in self._slots if self._may_begin(slot) and not self._runs_so_far(slot)]
        options: dict[str, Callable[[], object] | None] = {f"job {slot.number}": None for slot in (*names, *fresh)}
        if self._only is not None:
            return options
        if not options:
            options[END] = None
        options |= {f"job {slot.number}": None for slot in self._slots if self._may_begin(slot)}
        if self._events < _MOST_EVENTS:
            options |= self.world.events()
            options["the tag moves"] = self._move
        if self._pending:
            options["a late request arrives"] = self._deliver
        return options

    def _runs_so_far(self, slot: _Slot) -> int:
        return sum(run.started >= self.calm for run in slot.runs) if self.calm >= 0 else len(slot.runs)

    def _may_begin(self, slot: _Slot) -> bool:
        if slot.is_running or (self._only is not None and (slot.number not in self._only or self._runs_so_far(slot))):
            return False
        if self.calm < 0 and len(slot.runs) >= _MOST_RUNS:
            return False
        if self.world.one_writer and slot.role == "pin":
            return not any(other.is_running for other in self._slots if other.role == "pin")
        # A build job `needs` the pin job.
        return slot.role != "build" or any(run.role == "pin" and run.is_success for run in self.runs)

    def _move(self) -> None:
        self._digest += 1

    def _deliver(self) -> None:
        _, effect = self._pending.pop(0)
        self._arrive(effect)

    def _arrive(self, effect: Callable[[], object]) -> None:
        # A refusal that nobody hears is none.
        with suppress(StagepinError):
            effect()
        self.look()

    # One run of one job.

    def _begin(self, slot: _Slot) -> None:
        run = JobRun(slot.number, slot.role, len(slot.runs) + 1, self.clock, self._given(slot), self._told(slot))
        slot.runs.append(run)
        self.runs.append(run)
        slot.is_running, slot.calls = True, slot.calls if slot.runs[1:] else 0
        self._tell("job {} begins: {}, run {}", slot.number, slot.role, run.number)
        self._crew.begin(slot.number, lambda: self._run(slot, run))

    def _run(self, slot: _Slot, run: JobRun) -> None:
        try:
            self._work(slot, run)
            self._end(slot, run)
            if not self._pass_on():
                self._crew.finish()
        except BaseException as error:  # a fault of the simulation itself must not leave the caller waiting
            self._failure = error
            self._crew.give_up()

    def _work(self, slot: _Slot, run: JobRun) -> None:
        gate = Gate(self, slot.number, slot.role, may_lag=slot.role != "pin" or self.world.lags_for_pin_jobs)
        slot.desk = Desk(gate, run.given)
        upstream = Upstream(gate, self.serve)
        clock = clock_of(slot.number, skewed=self.setup.skewed)
        asking = Asking(KEY, COMMIT, checksum=run.told)
        bench = Bench(self.world, gate, slot.desk, self._product.store(self.world, gate), upstream, clock, asking, run)
        try:
            run.adopted = work(self._product, bench).document
        except Crash:
            run.is_killed = True
        except BaseException as error:  # whatever comes out is judged by the rules
            run.error = error
        run.resolved, run.written = upstream.asked, slot.desk.written

    def _end(self, slot: _Slot, run: JobRun) -> None:
        if self.world.one_writer:
            # With one writer by the job graph, a request of a job that ended is not under way any more.
            mine = [effect for number, effect in self._pending if number == slot.number]
            self._pending = [item for item in self._pending if item[0] != slot.number]
            for effect in mine:
                self._arrive(effect)
        self.look()
        run.ended, slot.is_running = self.clock, False
        if run.adopted is not None:
            run.checksum = checksum_in(run.adopted)
        self._tell("{}", run)

    def _given(self, slot: _Slot) -> bytes | None:
        """What is in the workspace at the start: nothing, what an earlier run left, or what the CI hands on from the pin job."""
        if self.calm >= 0:
            return None
        if self.setup.kept and slot.desk is not None:
            return slot.desk.pins
        if self.setup.handed_on and slot.role != "pin":
            pinned = [run for run in self.runs if run.role == "pin" and run.is_success]
            return pinned[-1].adopted if pinned else None
        return None

    def _told(self, slot: _Slot) -> str | None:
        if self.calm >= 0:
            return None
        if self.setup.lied_to and slot.number % 3 == 2:
            return LIE
        pinned = [run for run in self.runs if run.role == "pin" and run.is_success]
        return pinned[0].checksum if self.setup.told and pinned else None

    def _tell(self, text: str, *values: object) -> None:
        self.trace.append(lambda: text.format(*values))


@dataclass(frozen=True, slots=True)
class _Short:
    document: bytes | None

    def __str__(self) -> str:
        return short(self.document)
