"""Every call of every store struck by everything that may strike it, alone and with a rival that runs to its end before any other call.

The calls are those of a run that nothing strikes, found by running it; then again with one of them failed, lost, late, stale, denied or
its job killed. A call *site* is the place in the product that makes the call: all sites a source file has must be met (``call_sites``).
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from tests.model.crew import Crew
from tests.model.jobs import Product
from tests.model.rules import check
from tests.model.schedule import PASSING, WRITES, Call, Fault, Script, Setup
from tests.model.search import PRODUCT
from tests.model.simulation import Simulation
from tests.model.worlds import World

ROOT = Path(__file__).parents[2]
_ROLES = ("need", "fetch", "build")
_PASSED_OVER = ("ci_plugin/retry.py",)


@dataclass(slots=True)
class Coverage:
    """Simulations and API steps run; by call site (file, line) which faults struck it and which could have."""

    simulations: int = 0
    steps: int = 0
    struck: dict[tuple[str, int], set[Fault]] = field(default_factory=dict)
    possible: dict[tuple[str, int], set[Fault]] = field(default_factory=dict)

    def observe(self, call: Call, fault: Fault) -> None:
        """Called at every call, in the job's own thread: the site is the nearest frame of the product."""
        site = _site(sys._getframe(1))
        self.possible.setdefault(site, set()).update(call.kinds)
        if fault is not Fault.NONE:
            self.struck.setdefault(site, set()).add(fault)

    def add(self, other: Coverage) -> None:
        """What another one saw counts, too."""
        self.simulations += other.simulations
        self.steps += other.steps
        for mine, theirs in ((self.struck, other.struck), (self.possible, other.possible)):
            for site, faults in theirs.items():
                mine.setdefault(site, set()).update(faults)

    def missed(self, path: str, receivers: Iterable[str], *, functions: Iterable[str] = ()) -> list[str]:
        """The call sites of a source file that were never reached, or not struck by everything that may strike them.

        ``functions``: those whose sites do not count, because no job of a pipeline calls them.
        """
        return [missed for site in call_sites(path, receivers, functions) if (missed := self._missed(path, *site))]

    def _missed(self, path: str, first: int, last: int, text: str) -> str:
        sites = [(path, line) for line in range(first, last + 1)]
        possible = set().union(*(self.possible.get(site, set()) for site in sites))
        left = possible - set().union(*(self.struck.get(site, set()) for site in sites))
        if possible and not left:
            return ""
        return f"{path}:{first} {text}: " + (", ".join(sorted(fault.name for fault in left)) or "never called")


def _site(frame: FrameType | None) -> tuple[str, int]:
    while frame is not None:
        _, found, path = frame.f_code.co_filename.rpartition("/ci_plugin/")
        if found and f"ci_plugin/{path}" not in _PASSED_OVER:
            return f"ci_plugin/{path}", frame.f_lineno
        frame = frame.f_back
    return "tests", 0


def call_sites(path: str, receivers: Iterable[str], without: Iterable[str] = ()) -> list[tuple[int, int, str]]:
    """First line, last line and text of every call in a source file on one of these receivers, such as ``self._git``."""
    wanted, passed = set(receivers), set(without)
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    named = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in passed]
    skipped = {id(inner) for function in named for inner in ast.walk(function)}
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in skipped)
    found = ((call, call.func) for call in calls if isinstance(call.func, ast.Attribute))
    return [(call.lineno, call.end_lineno or call.lineno, ast.unparse(func)) for call, func in found if ast.unparse(func.value) in wanted]


class Enumeration:
    """All short stories over one world; ``thorough`` ones take ten times as long. Every method raises Violation."""

    def __init__(self, crew: Crew, make: Callable[[], World], product: Product = PRODUCT, *, thorough: bool = False) -> None:
        self.coverage = Coverage()
        self._crew = crew
        self._make = make
        self._product = product
        self._thorough = thorough

    def run(self) -> Coverage:
        """Everything below."""
        self.queue_at_every_call()
        self.strike_every_call()
        self.disturb_every_call()
        self.restore_every_call()
        self.race_at_every_call()
        return self.coverage

    def strike_every_call(self) -> None:
        """One fault at every call of every kind of job: alone, and with a rival right after it.

        Thorough: also where jobs know the checksum.
        """
        for setup, victim, rival in _stories(thorough=self._thorough):
            for number, call in enumerate(self._calls(setup, victim)):
                for fault in call.kinds:
                    for place in (number + 1, -1):
                        self._play(Script(setup, {(victim, number): fault}, {(victim, place): f"job {rival}"}))

    def disturb_every_call(self) -> None:
        """A rival pin job, or an event of that world, before every call of a pin job, with a fault at that call or the next.

        Thorough: a fault at any call.
        """
        setup = Setup(2, ("need",), moving=True, lag=1)
        calls = self._calls(setup, 0)
        for before in ("job 1", *self._make().events()):
            for place in range(len(calls)):
                self._play(Script(setup, {}, {(0, place): before}))
                for number in range(len(calls)) if self._thorough else range(place, min(place + 2, len(calls))):
                    for fault in calls[number].kinds:
                        self._play(Script(setup, {(0, number): fault}, {(0, place): before}))

    def restore_every_call(self) -> None:
        """One fault at every call that is made only because garbage was collected at the worst moment."""
        for setup, victim, _ in _stories(thorough=False):
            for place, call in enumerate(self._calls(setup, victim)):
                if call.name == "put_manifest":
                    for number, fault in itertools.product(range(place, place + 4), WRITES):
                        self._play(Script(setup, {(victim, number): fault}, {(victim, place): "garbage is collected"}))

    def race_at_every_call(self) -> None:
        """A job waits before each of its calls while its like is struck at each of its own, and then goes first.

        Thorough: struck by what a retry does not get over, too, and builds wait before every call, not every third.
        """
        self._race(Setup(1, ("build", "build", "fetch"), moving=True, lag=1), 1, 2, step=1 if self._thorough else 3)
        if not self._make().one_writer:
            self._race(Setup(2, ("need",), moving=True, lag=1), 0, 1, step=1)

    def _race(self, setup: Setup, struck: int, waiting: int, step: int) -> None:
        calls = self._calls(setup, struck)
        for waits in range(1, len(calls), step):
            for number, call in enumerate(calls):
                for fault in call.kinds if self._thorough else [kind for kind in call.kinds if kind in PASSING]:
                    turns = {(struck, 0): f"job {waiting}", (waiting, waits): f"job {struck}", (struck, number + 1): f"job {waiting}"}
                    self._play(Script(setup, {(struck, number): fault}, turns))

    def queue_at_every_call(self) -> None:
        """Three pin jobs meet before the same call, for every call, and go on one after the other: the first and the last pin the same."""
        setup = Setup(3, ("need",), moving=True, lag=1)
        for place in range(len(self._calls(setup, 0)) + 1):
            self._play(Script(setup, {}, {(0, place): "job 1", (1, place): "job 2", (2, place): "job 0"}))

    def _calls(self, setup: Setup, victim: int) -> list[Call]:
        """The calls of the victim's first run where nothing strikes it, in order."""
        simulation = self._play(Script(setup))
        first = next(run for run in simulation.runs if run.slot == victim)
        return [call for call in simulation.calls[: first.ended] if call.slot == victim]

    def _play(self, script: Script) -> Simulation:
        simulation = Simulation(self._crew, self._make(), script.setup, script, self._product)
        simulation.observe = self.coverage.observe
        simulation.go()
        self.coverage.simulations += 1
        self.coverage.steps += simulation.steps
        check(simulation)
        return simulation


def _stories(*, thorough: bool) -> Iterator[tuple[Setup, int, int]]:
    """Setup, the job that is struck, its rival: two pin jobs, every kind of reader beside another, and jobs that know the checksum."""
    for told in (False, True) if thorough else (False,):
        yield Setup(2, (), moving=True, told=told, lag=1), 0, 1
        for role in _ROLES:
            yield Setup(1, (role, "build"), moving=True, told=told, lag=1), 1, 2
