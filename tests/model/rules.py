"""What must hold of every simulated pipeline, by what its world's store promises.

Everywhere
- Only jobs that pin resolve, at most once a run; one that began when the scope had pins, and saw them, does not.
- A run ends well, killed, or with one of our errors other than Bug; it ends well where nothing struck it that a retry does not get over.
- What a run returns was the scope's pins at some moment of that run, or was in its workspace when it began; never another set than the
  one whose checksum it was told; and it is what its workspace holds then.
- A record is filed beside the scope's pins alone, and one that was taken is there and stays.
- In the quiet part every job ends well with what the store holds.

One winner (compare-and-set, or one writer at a time): one pin set is ever the scope's, adopted or in a workspace.
CI artifacts: while one artifact with pins lives, the scope's pins do not change; once none lived, only where workspaces are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ci_plugin.errors import Bug, StagepinError
from tests.model.jobs import LIE, JobRun, checksum_in, short
from tests.model.schedule import PASSING, Fault
from tests.model.simulation import Simulation
from tests.model.worlds import EXPIRY

_TRANSIENT = 4
"""Faults and lost races in one run that the six tries of the retry policy get over, wherever they strike."""


class Violation(AssertionError):
    """A rule does not hold; the text is the rule and the whole story."""


def check(simulation: Simulation) -> None:
    """Raises Violation with everything that happened."""
    broken = list(dict.fromkeys(_broken(simulation)))
    if broken:
        story = "\n".join(line() for line in simulation.trace)
        raise Violation("\n".join(broken) + f"\n{simulation.setup}\n{story}")


def _broken(simulation: Simulation) -> Iterator[str]:
    for run in simulation.runs:
        yield from _ends(simulation, run)
        yield from _resolves(simulation, run)
        if run.is_success:
            yield from _adopts(simulation, run)
            yield from _records(simulation, run)
    yield from _stays(simulation)
    yield from _settles(simulation)


def _truths(simulation: Simulation, run: JobRun) -> list[bytes | None]:
    """The scope's pins at every moment of a run."""
    return _during(simulation.truths, run)


def _during(history: Sequence[tuple[int, bytes | None]], run: JobRun) -> list[bytes | None]:
    before = [document for step, document in history if step <= run.started]
    return [*before[-1:], *(document for step, document in history if run.started < step <= run.ended)]


def _ends(simulation: Simulation, run: JobRun) -> Iterator[str]:
    if run.ended < 0:
        yield f"every run ends: {run}"
    if run.error is not None and (not isinstance(run.error, StagepinError) or isinstance(run.error, Bug)):
        yield f"only errors a user can act on come out: {run}"
    if not run.is_success and _must_succeed(simulation, run):
        yield f"a run ends well where nothing struck that a retry does not get over: {run}"


def _must_succeed(simulation: Simulation, run: JobRun) -> bool:
    # A fast-forward that somebody else made first costs a try, too.
    lost_races = len(_during(simulation.records, run)) - 1 if run.role == "build" else 0
    if any(fault not in PASSING for fault in run.faults) or len(run.faults) + lost_races > _TRANSIENT or run.told == LIE:
        return False
    truths = _truths(simulation, run)
    possible = {checksum_in(document) for document in (*truths, run.given) if document is not None}
    if run.told is not None and run.role == "pin" and (Fault.STALE in run.faults or None in truths):
        # It knows there are pins, sees none, and stops: it must not make others.
        return False
    if run.told is not None and possible != {run.told}:
        return False
    if run.role == "pin":
        return True
    if _saw_expiry(simulation, run):
        # What was listed went before it was read, and what came instead was not listed.
        return False
    # A reader may come too early, or too late for a CI artifact; one stale look it gets over by waiting.
    return None not in truths and run.faults.count(Fault.STALE) <= 1


def _saw_expiry(simulation: Simulation, run: JobRun) -> bool:
    return any(run.started < step <= run.ended and name == EXPIRY for step, name in simulation.events)


def _resolves(simulation: Simulation, run: JobRun) -> Iterator[str]:
    if run.resolved and run.role != "pin":
        yield f"a job that needs pins never resolves: {run}"
    if run.resolved > 1:
        yield f"a pin job resolves once: {run}"
    if run.resolved and None not in _truths(simulation, run) and Fault.STALE not in run.faults:
        yield f"a pin job that finds pins does not resolve: {run}"


def _adopts(simulation: Simulation, run: JobRun) -> Iterator[str]:
    if run.adopted not in [*_truths(simulation, run), run.given] or run.adopted is None:
        yield f"what a run returns is what the scope has: {run}"
    if run.told is not None and run.checksum != run.told:
        yield f"nobody returns another set than the one it was told of: {run}"
    if (run.written[-1] if run.written else run.given) != run.adopted:
        yield f"the workspace holds what was adopted: {run}"


def _records(simulation: Simulation, run: JobRun) -> Iterator[str]:
    truths = _truths(simulation, run)
    # CI artifacts of other pins that a listing did not show, or that went before they were read, refuse no record.
    is_seen = simulation.world.tells_record or not (Fault.STALE in run.faults or _saw_expiry(simulation, run))
    if run.filed is True and is_seen and run.adopted not in truths and None not in truths:
        yield f"a record is filed beside the pins it was built from: {run}"
    if run.filed is False and truths == [run.adopted]:
        yield f"a record of the scope's own pins is taken: {run}"
    if run.filed is True and simulation.world.tells_record and run.made not in _during(simulation.records, run):
        yield f"a record that was taken is there: {run}"
    made = {other.made for other in simulation.runs if other.started < run.ended}
    if run.record is not None and run.record not in made:
        yield f"a record that is found was made by somebody: {run}"
    if run.record is None and run.role == "fetch" and run.started >= simulation.calm and _keeps_records(simulation, run):
        yield f"a record that was taken stays: {run}"


def _keeps_records(simulation: Simulation, run: JobRun) -> bool:
    return simulation.world.one_winner and any(other.filed for other in simulation.runs if other.ended <= run.started)


def _stays(simulation: Simulation) -> Iterator[str]:
    documents = list(dict.fromkeys(document for _, document in simulation.truths if document is not None))
    if simulation.world.one_winner:
        held = [(document, f"in the workspace of {run}") for run in simulation.runs for document in run.written]
        held += [(run.adopted, f"adopted by {run}") for run in simulation.runs if run.is_success and run.adopted]
        held += [(document, "in the store") for _, document in simulation.truths[1:] if document is not None]
        if any(document is None for _, document in simulation.truths[1:]):
            yield "pins that are there stay there"
        for document, place in held:
            if document != documents[0]:
                yield f"a scope has one pin set, {short(documents[0])}: found {short(document)} {place}"
    elif simulation.world.one_writer:
        yield from _stays_while_it_lives(simulation)


def _stays_while_it_lives(simulation: Simulation) -> Iterator[str]:
    later = simulation.truths[1:]
    for place, ((_, before), (_, after)) in enumerate(pairwise(later)):
        # An old workspace on the runner may hand on again what has expired everywhere else: then there are two.
        is_past_promise = simulation.setup.kept and any(document is None for _, document in later[:place])
        if before is not None and after is not None and before != after and not is_past_promise:
            yield f"while an artifact with pins lives they stay: {short(before)} became {short(after)}"


def _settles(simulation: Simulation) -> Iterator[str]:
    last = simulation.truths[-1][1]
    for run in simulation.runs:
        if run.started >= simulation.calm and (not run.is_success or run.adopted != last):
            yield f"when all is quiet every job ends well with the pins the scope has, {short(last)}: {run}"
