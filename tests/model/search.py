"""Random tapes over a world until a rule breaks, and the shortest tape that still breaks one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.model.crew import Crew
from tests.model.jobs import Product
from tests.model.rules import Violation, check
from tests.model.schedule import HEADER, Tape
from tests.model.simulation import Simulation
from tests.model.worlds import World

LONGEST = HEADER + 260
"""Bytes of a tape: 130 decisions; most pipelines are over before."""

PRODUCT = Product()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: API steps and simulations; the tape and story of the first violation, empty where there was none."""

    steps: int
    simulations: int
    tape: bytes = b""
    story: str = ""


def play(crew: Crew, world: World, tape: bytes, product: Product = PRODUCT) -> int:
    """One simulation, judged by the rules; returns its API steps. Raises Violation."""
    decider = Tape(tape)
    simulation = Simulation(crew, world, decider.setup, decider, product)
    simulation.go()
    check(simulation)
    return simulation.steps


def search(crew: Crew, make: Callable[[], World], seed: int, steps: int, product: Product = PRODUCT, *, is_shrunk: bool = True) -> Found:
    """At least so many API steps of random tapes, or until a rule breaks."""
    done = 0
    for count, tape in enumerate(_tapes(seed)):
        if done >= steps:
            return Found(done, count)
        try:
            done += play(crew, make(), tape, product)
        except Violation:
            shortest = _shrink(tape, lambda shorter: _breaks(crew, make(), shorter, product)) if is_shrunk else tape
            return Found(done, count + 1, shortest, _story(crew, make(), shortest, product))
    raise AssertionError("tapes never end")


def _tapes(seed: int) -> Iterator[bytes]:
    source = random.Random(seed)  # noqa: S311 - the same tapes each time
    while True:
        yield source.randbytes(LONGEST)


def _breaks(crew: Crew, world: World, tape: bytes, product: Product) -> bool:
    return bool(_story(crew, world, tape, product))


def _story(crew: Crew, world: World, tape: bytes, product: Product) -> str:
    try:
        play(crew, world, tape, product)
    except Violation as violation:
        return str(violation)
    return ""


def _shrink(tape: bytes, still: Callable[[bytes], bool]) -> bytes:
    """The end cut off, pieces set to zero, bytes made smaller: zero is "nothing happens"."""
    before = b""
    while tape != before:
        before = tape
        for size in (64, 16, 4, 2, 1):
            for start in range(0, len(tape), size):
                smaller = tape[:start] + bytes(len(tape[start : start + size])) + tape[start + size :]
                if smaller != tape and still(smaller):
                    tape = smaller
        while tape.endswith(b"\0"):
            tape = tape[:-1]
    return tape
