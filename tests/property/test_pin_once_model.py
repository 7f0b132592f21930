"""Pin once, whatever strikes: pin jobs and readers of one pipeline over every store, call by call (docs/pin-once-model.md).

``STAGEPIN_MODEL_STEPS`` makes the random part longer: API calls for each store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ci_plugin.errors import DocumentError
from ci_plugin.pins.pin_file import pin_checksum
from ci_plugin.services.pinning import Asking, fetch_pins
from tests.model.crew import Crew
from tests.model.exhaustive import Coverage, Enumeration
from tests.model.gate import Desk, Gate
from tests.model.jobs import COMMIT, Bench, JobRun, Product, Upstream, clock_of, need, pin
from tests.model.mutants import MUTANTS, Mutant
from tests.model.rules import Violation, check
from tests.model.schedule import Fault, Script, Setup
from tests.model.search import LONGEST, PRODUCT, play, search
from tests.model.simulation import DIGESTS, MOST_JOBS, Simulation
from tests.model.worlds import KEY, WORLDS, World

STEPS = int(os.environ.get("STAGEPIN_MODEL_STEPS", "2500"))
MUTANT_STEPS = 6000
"""API calls in which a mistake must be found at random; the enumeration comes after that."""

RACING = "stages storage, racing pin jobs"
CALL_SITES = {
    "ci_plugin/forge/ref_store.py": (("self._git",), ("git ref",)),
    "ci_plugin/forge/package_store.py": (("self._packages",), ("generic package",)),
    "ci_plugin/forge/artifact_store.py": (("self._artifacts",), ("CI artifacts",)),
    "ci_plugin/registry/pin_store.py": (("self._registry",), tuple(name for name in WORLDS if name.startswith("stages"))),
    "ci_plugin/registry/project_tag.py": (("registry",), (RACING,)),
    "ci_plugin/services/pinning.py": (("workspace", "registry"), ("git ref", "generic package")),
}
"""Source file → what it calls a service through, and the worlds in which all of these calls are made."""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(MOST_JOBS) as crew:
        yield crew


@pytest.fixture(scope="module")
def enumerated(crew: Crew) -> Callable[[str], Coverage]:
    """All short stories of a world, told once."""
    told: dict[str, Coverage] = {}

    def enumerate_once(name: str) -> Coverage:
        if name not in told:
            told[name] = Enumeration(crew, WORLDS[name]).run()
        return told[name]

    return enumerate_once


@pytest.mark.parametrize("name", WORLDS)
def test_no_schedule_breaks_what_a_store_promises(crew: Crew, name: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(st.binary(min_size=LONGEST, max_size=LONGEST))
    def no_tape_breaks_a_rule(tape: bytes) -> None:
        play(crew, WORLDS[name](), tape)

    no_tape_breaks_a_rule()


@pytest.mark.parametrize("name", WORLDS)
def test_no_random_schedule_breaks_what_a_store_promises(crew: Crew, name: str) -> None:
    found = search(crew, WORLDS[name], seed=STEPS, steps=STEPS)
    assert not found.story, f"--world '{name}' --tape {found.tape.hex()}\n{found.story}"
    assert found.steps >= STEPS


@pytest.mark.parametrize("name", WORLDS)
def test_no_short_story_breaks_what_a_store_promises(enumerated: Callable[[str], Coverage], name: str) -> None:
    assert enumerated(name).simulations > 300


@pytest.mark.parametrize("path", CALL_SITES)
def test_every_call_site_is_struck_by_everything_that_may_strike_it(enumerated: Callable[[str], Coverage], path: str) -> None:
    receivers, worlds = CALL_SITES[path]
    coverage = Coverage()
    for name in worlds:
        coverage.add(enumerated(name))
    # Only a clone on a laptop asks for the project.
    assert coverage.missed(path, receivers, functions=["find_project"]) == []


def test_a_call_site_that_was_never_met_is_noticed(enumerated: Callable[[str], Coverage]) -> None:
    missed = enumerated(RACING).missed("ci_plugin/registry/project_tag.py", ["registry"])
    assert [text.partition(" ")[2] for text in missed] == ["registry.find_manifest: never called"]
    assert len(Coverage().missed("ci_plugin/forge/ref_store.py", ["self._git"])) > 10


@pytest.mark.parametrize(
    ("mutant", "name"),
    [pytest.param(mutant, name, id=f"{mutant.mistake}: {name}") for mutant in MUTANTS for name in mutant.worlds],
)
def test_the_model_finds_this_mistake(crew: Crew, mutant: Mutant, name: str) -> None:
    assert catch(crew, WORLDS[name], mutant.product), f"nobody noticed that {mutant.mistake}"


def catch(crew: Crew, make: Callable[[], World], product: Product) -> str:
    """The story of the first broken rule, or nothing."""
    found = search(crew, make, seed=1, steps=MUTANT_STEPS, product=product, is_shrunk=False)
    if found.story:
        return found.story
    try:
        Enumeration(crew, make, product).run()
    except Violation as violation:
        return str(violation)
    return ""


def test_a_shrunk_story_says_which_rule_broke_and_how(crew: Crew) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.worlds == ("git ref",))
    story = search(crew, WORLDS["git ref"], seed=1, steps=MUTANT_STEPS, product=mutant.product).story
    assert story.startswith("what a run returns is what the scope has: job ")
    assert "job 0 begins: pin, run 1" in story
    assert Fault.CRASH.value not in story, "no fault is needed to see this one"


def test_the_same_tape_tells_the_same_story(crew: Crew) -> None:
    tape = bytes(range(7, 7 + 13)) * 20
    assert play(crew, WORLDS["git ref"](), tape) == play(crew, WORLDS["git ref"](), tape) > 20


def test_racing_pin_jobs_may_pin_differently_in_a_registry_and_nowhere_else(crew: Crew) -> None:
    """The documented limit, and that the model can show it."""
    differ = {name for name, make in WORLDS.items() if any(len(pins) > 1 for pins in pinned_in_races(crew, make))}
    assert differ == {RACING}


def pinned_in_races(crew: Crew, make: Callable[[], World]) -> Iterator[set[str | None]]:
    """What two pin jobs returned, one of which ran to its end right before a call of the other, for every call."""
    setup = Setup(2, (), moving=True)
    for place in range(16):
        simulation = Simulation(crew, make(), setup, Script(setup, {}, {(0, place): "job 1"}), PRODUCT)
        simulation.go()
        check(simulation)
        yield {run.checksum for run in simulation.runs if run.started < simulation.calm}


class Quiet:
    """Implements ``gate.Turns``: nothing happens."""

    lag = 0

    def turn(self, slot: int, name: str, kinds: tuple[Fault, ...]) -> tuple[Fault, int]:
        return Fault.NONE, 0

    def postpone(self, slot: int, effect: Callable[[], object]) -> None:
        raise AssertionError("nothing is late here")

    def look(self) -> None:
        pass


def bench(world: World, role: str, told: str | None = None) -> Bench:
    gate = Gate(Quiet(), 0, role)
    asking = Asking(KEY, COMMIT, checksum=told)
    upstream = Upstream(gate, lambda: DIGESTS[0])
    return Bench(world, gate, Desk(gate), world.store(gate), upstream, clock_of(0, skewed=False), asking, JobRun(0, role, 1, 0))


@pytest.mark.parametrize("name", WORLDS)
def test_when_somebody_deleted_the_pins_no_job_that_knows_of_them_makes_others(name: str) -> None:
    world = WORLDS[name]()
    first = bench(world, "pin")
    checksum = checksum_of(first)
    world.delete()
    for told in (None, checksum):
        reader = bench(world, "need", told)
        with pytest.raises(DocumentError, match=r"^expected the pins of pipeline:1001, found none"):
            need(reader)
        with pytest.raises(DocumentError, match=r"^expected the pins of pipeline:1001 in .*, found none"):
            fetch_pins(reader.asking, reader.desk, reader.store, reader.clock)
        assert reader.desk.pins is None
    again = bench(world, "pin", checksum)
    with pytest.raises(DocumentError, match=r"^expected the pins of pipeline:1001 whose checksum the pin job handed on, .*, found none"):
        pin(again)
    assert (again.upstream.asked, again.desk.pins, world.truth()) == (0, None, None)


def checksum_of(job: Bench) -> str:
    """The checksum of what a pin job adopts."""
    return pin_checksum(pin(job).pins)
